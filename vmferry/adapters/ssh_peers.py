"""What a host sees of its peers, tried by one script on that host: ping, libvirt, ports, packet size, networks."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from vmferry.adapters.ssh_networks import Tried, judge_network
from vmferry.adapters.ssh_shell import Script
from vmferry.model.facts import PathMtu, Peer, PeerReach, Reach

# So many peers are tried at once. 50 hosts that all probe each other open as many ssh connections to each: sshd
# refuses some of them at random from the tenth on that has not logged in yet (MaxStartups 10:30:100).
LANES = 8

# Arguments: seconds for libvirt, lanes, and for each peer: address, URI, ports with blanks in between, number of
# bridges, and for each bridge its name and the targets with blanks in between. All numbers are made by vmferry, so
# arithmetic on them is safe; everything else is only ever quoted, or split at blanks with globbing off.
# Answers: records that end with NUL, their fields set apart by US; each is one short write, as jobs answer at once.
PROBE = Script(
    "probe-peers",
    r"""set -f
PATH=$PATH:/usr/sbin:/sbin
limit=$1 lanes=$2 peers=0 us=$'\x1f'
shift 2
while (( $# )); do
  address[peers]=$1 uri[peers]=$2 ports[peers]=$3 bridges[peers]=$4
  first[peers]=${#words[@]}
  words+=("${@:5:2*$4}")
  shift $(( 4 + 2 * $4 ))
  (( ++peers ))
done

tell() {
  local IFS=$us line
  line="$*"
  printf '%s\0' "${line//[$'\n\r\t']/ }"
}

end_of() { if (( ${#1} > 600 )); then printf '%s' "…${1: -600}"; else printf '%s' "$1"; fi; }

try_ping() {
  local said code
  said=$(timeout 10 ping -n -c 2 -i 0.2 -W 2 -- "${address[$1]}" 2>&1); code=$?
  tell "$1" ping "$code" "$(end_of "$said")"
}

try_libvirt() {
  local said code began=$SECONDS
  while true; do
    said=$(timeout -k 2 "$limit" virsh --quiet --connect "${uri[$1]}" hostname 2>&1 </dev/null); code=$?
    # A busy sshd drops new connections before it says what it is (MaxStartups); that passes.
    (( code )) && [[ $said == *_exchange_identification:* ]] && (( SECONDS - began < limit )) || break
    sleep "$(( RANDOM % 2 )).$(( RANDOM % 10 ))"
  done
  tell "$1" libvirt "$code" "$(end_of "$said")"
}

try_port() {
  local said code
  said=$(timeout 3 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "${address[$1]}" "$2" 2>&1); code=$?
  tell "$1" port "$2" "$code" "$(end_of "$said")"
}

try_path() {
  local number route device mtu extra=28 size said code
  read -r number _ < <(timeout 5 getent ahosts "${address[$1]}")
  route=$(ip -oneline route get "${number:-${address[$1]}}" 2>/dev/null)
  [[ $route =~ \ dev\ ([^ ]+) ]] || return 0
  device=${BASH_REMATCH[1]}
  read -r mtu <"/sys/class/net/$device/mtu" || return 0
  [[ $number == *:* ]] && extra=48
  size=$(( mtu < 65535 ? mtu : 65535 ))
  said=$(timeout 10 ping -n -M do -s $(( size - extra )) -c 2 -i 0.2 -W 2 -- "${address[$1]}" 2>&1); code=$?
  tell "$1" path "$device" "$mtu" "$code" "$(end_of "$said")"
}

try_network() {
  local family=-4 where=$4 said code own near tries=0
  [[ -d /sys/class/net/$3 && $3 != */* ]] || { tell "$1" network "$2" "$4" missing; return; }
  [[ $4 == *:* ]] && family=-6
  [[ $4 == [Ff][Ee]8* ]] && where=$4%$3
  own=$(ip $family -oneline address show dev "$3" 2>/dev/null | wc -l)
  # An entry outlives its last answer: REACHABLE by 45 s, and DELAY ends in REACHABLE without a question when an answer
  # came just before. Forgotten, as it would be in time, it has to be asked for now.
  near=$(ip neighbour show to "$4" dev "$3" 2>/dev/null)
  [[ -n $near && ! $near =~ PERMANENT|NOARP|extern_learn|managed ]] && ip neighbour del "$4" dev "$3" 2>/dev/null
  said=$(timeout 10 ping $family -n -c 2 -i 0.2 -W 2 -I "$3" -- "$where" 2>&1); code=$?
  near=$(ip neighbour show to "$4" dev "$3" 2>/dev/null)
  # While the kernel is still asking; in the end it says REACHABLE or FAILED.
  while (( code && tries++ < 18 )) && [[ $near == *DELAY* || $near == *PROBE* || $near == *INCOMPLETE* ]]; do
    sleep 0.5
    near=$(ip neighbour show to "$4" dev "$3" 2>/dev/null)
  done
  tell "$1" network "$2" "$4" "$code" "$own" "$near" "$(end_of "$said")"
}

try_peer() {
  local port question target from
  try_ping "$1" &
  try_libvirt "$1" &
  try_path "$1" &
  for port in ${ports[$1]}; do try_port "$1" "$port" & done
  for (( question = 0; question < bridges[$1]; question++ )); do
    from=$(( first[$1] + 2 * question ))
    for target in ${words[from + 1]}; do try_network "$1" "$question" "${words[from]}" "$target" & done
  done
  wait
}

lane() { local peer; for (( peer = $1; peer < peers; peer += lanes )); do try_peer "$peer"; done; }

for (( number = 0; number < lanes && number < peers; number++ )); do lane "$number" & done
wait
exit 0
""",
)


def probe_arguments(peers: Sequence[Peer]) -> list[str]:
    """Return the script's arguments for the peers, those before them left out."""
    words = []
    for peer in peers:
        words += [peer.address, peer.uri, " ".join(map(str, peer.ports)), str(len(peer.bridges))]
        for question in peer.bridges:
            words += [question.bridge, " ".join(t for t in question.targets if _is_address(t))]
    return words


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@dataclass
class _Heard:
    """What was heard of one peer."""

    ping: Reach | None = None
    libvirt: Reach | None = None
    path_mtu: PathMtu | None = None
    ports: dict[int, str] = field(default_factory=dict)  # port → why it is closed, empty: it is not
    tried: dict[int, list[Tried]] = field(default_factory=dict)  # number of the question → targets


def parse_probe(text: str, peers: Sequence[Peer], limit_s: int) -> dict[str, PeerReach]:
    """Return the answers by `Peer.host`; what a peer was not heard of counts as not reached."""
    heard = [_Heard() for _ in peers]
    for record in text.split("\0"):
        number, *fields = record.split("\x1f")
        if number.isdecimal() and int(number) < len(heard) and len(fields) >= 3:
            _hear(heard[int(number)], peers[int(number)].address, fields, limit_s)
    return {peer.host: _reach(peer, one) for peer, one in zip(peers, heard, strict=True)}


def _hear(heard: _Heard, address: str, fields: list[str], limit_s: int) -> None:
    match fields:
        case ["ping", code, said]:
            heard.ping = Reach(is_ok=code == "0", detail="" if code == "0" else f"{address}: {ping_words(code, said)}")
        case ["libvirt", code, said]:
            heard.libvirt = _libvirt(code, said, limit_s)
        case ["port", port, code, said]:
            heard.ports[int(port)] = port_words(code, said)
        case ["path", device, mtu, code, said]:
            full_size = Reach(is_ok=code == "0", detail="" if code == "0" else ping_words(code, said))
            heard.path_mtu = PathMtu(device=device, mtu=int(mtu), full_size=full_size)
        case ["network", question, target, *answer]:
            heard.tried.setdefault(int(question), []).append(_tried(target, answer))


def _libvirt(code: str, said: str, limit_s: int) -> Reach:
    if code == "0":
        return Reach(is_ok=True)
    late = f"no answer within {limit_s} s" if code in ("124", "137") else ""
    return Reach(is_ok=False, detail="; ".join(filter(None, (late, " ".join(said.split())))) or f"exit code {code}")


def _tried(target: str, answer: list[str]) -> Tried:
    match answer:
        case [code, own, near, said]:
            has_own = own.strip() not in ("", "0")
            words = "" if code == "0" else ping_words(code, said)
            return Tried(target, is_answered=code == "0", words=words, has_own_address=has_own, neighbour=near)
        case _:
            return Tried(target, is_missing=True)


def _reach(peer: Peer, heard: _Heard) -> PeerReach:
    silent = Reach(is_ok=False, detail=f"{peer.host}: the probe ended without an answer")
    networks = (judge_network(question, heard.tried.get(i, ())) for i, question in enumerate(peer.bridges))
    return PeerReach(
        ping=heard.ping or silent,
        libvirt=heard.libvirt or silent,
        ports=_ports(peer, heard) if peer.ports else None,
        path_mtu=heard.path_mtu,
        networks=tuple(networks),
    )


def _ports(peer: Peer, heard: _Heard) -> Reach:
    """Return ok when every port let us through; a refusal does too: nothing listens there before a migration.

    A firewall that answers with a TCP reset looks the same as nothing listening; firewalld and nftables do not by
    default.
    """
    why: dict[str, list[str]] = {}
    for port in peer.ports:
        if words := heard.ports.get(port, "not tried"):
            why.setdefault(words, []).append(str(port))
    detail = "; ".join(f"port {', '.join(ports)} of {peer.address}: {words}" for words, ports in why.items())
    return Reach(is_ok=not why, detail=detail)


def port_words(code: str, said: str) -> str:
    """Say why a TCP port is closed to us; empty when it is not."""
    if code == "0" or "Connection refused" in said:
        return ""
    if code in ("124", "137"):
        return "no answer within 3 s"
    return said.strip().rpartition(": ")[2] or f"exit code {code}"


_TOO_LONG = re.compile(r"(?:message too long, mtu[:=] ?|Frag needed and DF set \(mtu = |Packet too big: mtu=)(\d+)")
_SENTENCES = (
    re.compile(r"(Destination unreachable: [\w ]+?|Destination \w+ \w+|Packet filtered)(?= From| ---| {2}|$)"),
    re.compile(r"ping: ((?!Warning).+?)(?= ping:| ---| PING|$)"),
    re.compile(r"(\d+ packets transmitted, .*? packet loss)"),
)


def ping_words(code: str, said: str) -> str:
    """Say in a few words why a ping failed (iputils 2015 to 2024)."""
    if found := _TOO_LONG.search(said):
        return f"Message too long, mtu={found[1]}"
    words = [found[1].strip() for pattern in _SENTENCES if (found := pattern.search(said))]
    return "; ".join(dict.fromkeys(words)) or " ".join(said.split()) or f"no answer (exit code {code})"
