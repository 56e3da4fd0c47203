"""What a host sees of its peers: captured answers, a real probe of this machine, and networks between namespaces."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.adapters.sshd import Sshd, free_port, make_key, write_client_config
from vmferry.adapters.ssh_networks import Tried, judge_network
from vmferry.adapters.ssh_peers import LANES, PROBE, parse_probe, ping_words, port_words, probe_arguments
from vmferry.adapters.ssh_tools import SshTools
from vmferry.model.facts import BridgeQuestion, Peer, PeerReach, SameNetwork
from vmferry.settings import Settings

US = "\x1f"
MAC, OTHER = "52:54:00:00:00:02", "4a:af:9a:85:6b:d2"
V6, V4 = "fe80::5054:ff:fe00:2", "10.8.0.2"


def peer(host: str = "b", **fields: Any) -> Peer:
    return Peer(**{"host": host, "address": "127.0.0.1", "uri": "test:///default", **fields})


def question(*targets: str, mac: str | None = MAC) -> BridgeQuestion:
    return BridgeQuestion(bridge="br0", dest_bridge="br1", targets=targets or (V6, V4), mac=mac)


# words


@pytest.mark.parametrize(
    ("said", "words"),
    [
        # Debian 12, iputils 20221126, LC_ALL=C.UTF-8, lines joined by blanks.
        (
            "PING 192.0.2.77 (192.0.2.77) 56(84) bytes of data.  --- 192.0.2.77 ping statistics --- 2 packets "
            "transmitted, 0 received, 100% packet loss, time 201ms",
            "2 packets transmitted, 0 received, 100% packet loss",
        ),
        (
            "PING 10.9.9.2 (10.9.9.2) 1472(1500) bytes of data. ping: local error: message too long, mtu=1400 ping: "
            "local error: message too long, mtu=1400  --- 10.9.9.2 ping statistics --- 2 packets transmitted, 0 "
            "received, +2 errors, 100% packet loss, time 200ms",
            "Message too long, mtu=1400",
        ),
        (
            "PING 10.9.9.2 (10.9.9.2) 1472(1500) bytes of data. ping: sendmsg: No buffer space available ping: "
            "sendmsg: No buffer space available  --- 10.9.9.2 ping statistics --- 2 packets transmitted, 0 received, "
            "100% packet loss, time 4014ms",
            "sendmsg: No buffer space available; 2 packets transmitted, 0 received, 100% packet loss",
        ),
        ("ping: no.such.invalid: Name or service not known", "no.such.invalid: Name or service not known"),
        ("ping: connect: Network is unreachable", "connect: Network is unreachable"),
        # By hand: what routers answer, and a host without ping.
        (
            "PING 10.1.0.9 (10.1.0.9) 1472(1500) bytes of data. From 10.0.0.1 icmp_seq=1 Frag needed and DF set (mtu = "
            "1420)  --- 10.1.0.9 ping statistics --- 2 packets transmitted, 0 received, +1 errors, 100% packet loss",
            "Message too long, mtu=1420",
        ),
        (
            "PING 10.1.0.9 (10.1.0.9) 56(84) bytes of data. From 10.0.0.5 icmp_seq=1 Destination Host Unreachable From "
            "10.0.0.5 icmp_seq=2 Destination Host Unreachable  --- 10.1.0.9 ping statistics --- 2 packets transmitted, "
            "0 received, +2 errors, 100% packet loss, time 1002ms",
            "Destination Host Unreachable; 2 packets transmitted, 0 received, +2 errors, 100% packet loss",
        ),
        ("timeout: failed to run command 'ping': No such file or directory", None),
        ("", "no answer (exit code 1)"),
    ],
)
def test_a_ping_that_failed_is_told_in_a_few_words(said: str, words: str | None) -> None:
    assert ping_words("1", said) == (said if words is None else words)


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        ("0", "", ""),
        ("1", "10.9.9.2: connect: Connection refused 10.9.9.2: line 1: /dev/tcp/10.9.9.2/1: Connection refused", ""),
        (
            "1",
            "10.9.9.2: connect: No route to host 10.9.9.2: line 1: /dev/tcp/10.9.9.2/1: No route to host",
            "No route to host",
        ),
        ("124", "", "no answer within 3 s"),
        ("2", "", "exit code 2"),
    ],
)
def test_a_port_that_refuses_is_open_to_us_one_that_is_filtered_is_not(code: str, said: str, words: str) -> None:
    """A REJECT of firewalld says "No route to host", a DROP says nothing: both measured with nftables."""
    assert port_words(code, said) == words


# answers


def record(*fields: object) -> str:
    return US.join(map(str, fields)) + "\0"


def heard(text: str, *peers: Peer) -> dict[str, PeerReach]:
    return parse_probe(text, peers, 5)


def test_answers_are_sorted_by_peer_whatever_their_order() -> None:
    text = (
        record(1, "ping", 0, "")
        + record(0, "libvirt", 1, "error: failed to connect to the hypervisor  error: no route")
        + record(1, "path", "eth0", 1500, 1, "ping: local error: message too long, mtu=1400")
        + record(1, "libvirt", 0, "kvm3")
        + record(0, "ping", 1, "ping: connect: Network is unreachable")
    )
    found = heard(text, peer("b", address="10.0.0.2"), peer("c"))
    assert (found["b"].ping.is_ok, found["b"].ping.detail) == (False, "10.0.0.2: connect: Network is unreachable")
    assert found["b"].libvirt.detail == "error: failed to connect to the hypervisor error: no route"
    assert found["b"].path_mtu is None
    assert (found["c"].ping.is_ok, found["c"].libvirt.is_ok, found["c"].ports) == (True, True, None)
    assert found["c"].path_mtu is not None
    assert (found["c"].path_mtu.device, found["c"].path_mtu.mtu) == ("eth0", 1500)
    assert found["c"].path_mtu.full_size.detail == "Message too long, mtu=1400"


def test_ports_are_told_together_and_one_that_was_not_tried_is_not_open() -> None:
    text = (
        record(0, "port", 1, 124, "") + record(0, "port", 2, 1, "x: Connection refused") + record(0, "port", 3, 124, "")
    )
    ports = heard(text, peer(ports=(1, 2, 3, 4)))["b"].ports
    assert ports is not None
    assert ports.detail == "port 1, 3 of 127.0.0.1: no answer within 3 s; port 4 of 127.0.0.1: not tried"
    assert not ports.is_ok


def test_a_libvirt_that_does_not_answer_in_time_says_so() -> None:
    assert heard(record(0, "libvirt", 124, ""), peer())["b"].libvirt.detail == "no answer within 5 s"


@pytest.mark.parametrize(
    "text", ["", "\0", "9\x1fping\x1f0\x1f\0", "x\x1fping\x1f0\x1f\0", "0\x1fping\0", "-1\x1fping\x1f0\x1f"]
)
def test_what_was_not_heard_counts_as_not_reached(text: str) -> None:
    found = heard(text, peer(ports=(1,), bridges=(question(),)))["b"]
    assert not found.ping.is_ok and not found.libvirt.is_ok
    assert found.ports is not None and not found.ports.is_ok
    assert found.networks[0].is_same is None
    assert "without an answer" in found.ping.detail and "without an answer" in found.networks[0].detail


# networks


def verdict(*tried: Tried, mac: str | None = MAC) -> SameNetwork:
    return judge_network(question(*(one.target for one in tried), mac=mac), tried)


def neighbour(target: str, mac: str, state: str) -> str:
    """Debian 12, iproute2 6.1: `ip neighbour show to TARGET dev br0`."""
    return f"{target} lladdr {mac} {state} "


def test_an_answer_from_the_bridge_itself_proves_one_network() -> None:
    for target in (V6, V4):
        answered = Tried(target, is_answered=True, neighbour=neighbour(target, MAC, "REACHABLE"))
        assert verdict(answered).is_same is True
        assert verdict(answered).detail == f"{target} answered on br0 as {MAC}"


def test_a_neighbour_that_ignores_pings_proves_it_too() -> None:
    silent = Tried(V4, words="no", has_own_address=True, neighbour=neighbour(V4, MAC, "REACHABLE"))
    assert verdict(silent).is_same is True
    assert verdict(silent).detail == f"{V4} is a neighbour on br0 as {MAC}"


@pytest.mark.parametrize("line", [neighbour(V4, MAC, "STALE"), neighbour(V4, MAC, "PROBE"), f"{V4} FAILED ", ""])
def test_a_neighbour_of_former_times_proves_nothing(line: str) -> None:
    assert verdict(Tried(V4, words="no", has_own_address=True, neighbour=line)).is_same is False


def test_an_answer_through_a_router_proves_nothing() -> None:
    assert verdict(Tried(V4, is_answered=True, has_own_address=True)).is_same is None
    assert verdict(Tried(V6, is_answered=True, has_own_address=True)).is_same is True  # no router carries link-local


def test_an_answer_from_another_card_of_the_destination_proves_nothing() -> None:
    """Linux answers ARP for all of its addresses on all of its cards: measured between two namespaces."""
    for is_answered in (True, False):
        found = verdict(Tried(V4, is_answered=is_answered, neighbour=neighbour(V4, OTHER, "REACHABLE")))
        assert found.is_same is None
        assert found.detail == f"{V4} is answered on br0 by {OTHER}, but br1 is {MAC}"
    unknown = verdict(Tried(V4, is_answered=True, neighbour=neighbour(V4, OTHER, "REACHABLE")), mac=None)
    assert unknown.is_same is True


def test_silence_tells_two_networks_only_where_there_is_an_address_to_ask_from() -> None:
    assert verdict(Tried(V4, words="no answer", has_own_address=True)).is_same is False
    assert verdict(Tried(V4, words="no answer")).is_same is None
    assert verdict(Tried(V4, is_missing=True)).detail == "there is no device br0 on the source"


def test_one_proof_outweighs_silence_and_silence_what_could_not_be_told() -> None:
    proof = Tried(V4, is_answered=True, neighbour=neighbour(V4, MAC, "REACHABLE"))
    silence, unknown = Tried(V6, words="no", has_own_address=True), Tried("10.8.0.3")
    assert verdict(silence, proof, unknown).is_same is True
    assert verdict(unknown, silence).is_same is False
    assert verdict(unknown).is_same is None


def test_a_bridge_without_an_address_cannot_be_tried() -> None:
    nothing = judge_network(question().model_copy(update={"targets": ()}), [])
    assert (nothing.is_same, nothing.detail) == (None, "br1 has no address to try")


# the script


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sshd, Path]]:
    root = tmp_path_factory.mktemp("peers")
    key = make_key(root / "id")
    config = write_client_config(root / "config", key, root / "known_hosts")
    started = Sshd(root / "one", key).start()
    (root / "known_hosts").write_text(started.known_as())
    try:
        yield started, config
    finally:
        started.stop()


@pytest.fixture
def tools(sshd: tuple[Sshd, Path]) -> Iterator[SshTools]:
    opened = SshTools(sshd[0].entry("one"), Settings(connect_timeout_s=1, call_timeout_s=30), ssh_config=str(sshd[1]))
    yield opened
    opened.close()


def test_peers_are_tried_from_the_host_in_one_command(tools: SshTools, sshd: tuple[Sshd, Path]) -> None:
    here = peer("here", ports=(sshd[0].port, free_port()))
    nowhere = peer("nowhere", address="no.such.invalid", uri="nonsense://x", ports=(1,))
    found = tools.probe_peers([here, nowhere])
    assert found["here"].ping.is_ok and found["here"].libvirt.is_ok
    assert found["here"].ports is not None and found["here"].ports.is_ok, "one listens, the other refuses"
    path = found["here"].path_mtu
    assert path is not None and path.full_size.is_ok
    assert (path.device, path.mtu) == ("lo", int(Path("/sys/class/net/lo/mtu").read_text()))
    assert not found["nowhere"].ping.is_ok and found["nowhere"].path_mtu is None
    assert not found["nowhere"].libvirt.is_ok
    assert found["nowhere"].ports is not None and not found["nowhere"].ports.is_ok


def test_what_stands_in_a_question_is_data(tools: SshTools, tmp_path: Path) -> None:
    evil = f"$(touch {tmp_path}/a); `touch {tmp_path}/b` *"
    odd = BridgeQuestion(bridge=evil, dest_bridge=evil, targets=("127.0.0.1", evil, f"::1%`touch {tmp_path}/c`"))
    dots = BridgeQuestion(bridge="../../etc", dest_bridge="-f", targets=("::1",))
    found = tools.probe_peers([peer(address=evil, uri=evil, ports=(1,), bridges=(odd, dots)), peer("c")])
    assert list(tmp_path.iterdir()) == []
    assert not found["b"].ping.is_ok and not found["b"].libvirt.is_ok
    assert [network.is_same for network in found["b"].networks] == [None, None]
    assert found["c"].ping.is_ok and found["c"].libvirt.is_ok


def test_more_peers_than_are_tried_at_once_are_all_answered(tools: SshTools) -> None:
    peers = [peer(f"h{n}", ports=(1,)) for n in range(2 * LANES + 1)]
    found = tools.probe_peers(peers)
    assert [*found] == [one.host for one in peers]
    assert all(
        reach.ping.is_ok and reach.libvirt.is_ok and reach.ports == found["h0"].ports for reach in found.values()
    )
    assert tools.probe_peers([]) == {}


def test_a_libvirt_that_hangs_is_given_up(tools: SshTools) -> None:
    began = time.monotonic()
    found = tools.probe_peers([peer(uri="test+ssh://127.0.0.1/default?command=/bin/false"), peer("c")])
    assert not found["b"].libvirt.is_ok and found["c"].libvirt.is_ok
    assert time.monotonic() - began < 15


def test_a_busy_sshd_is_tried_again(tmp_path: Path) -> None:
    """MaxStartups drops a connection before it says what it is: OpenSSH 9.2 on Debian 12."""
    virsh = tmp_path / "virsh"
    dropped = "error: Cannot recv data: kex_exchange_identification: read: Connection reset by peer"
    first, second = f"touch {tmp_path}/tried; echo '{dropped}' >&2; exit 1", "echo kvm2"
    virsh.write_text(f"#!/bin/sh\nif [ -e {tmp_path}/tried ]; then {second}; else {first}; fi\n")
    virsh.chmod(0o755)
    argv = ["bash", "-c", PROBE.text, "probe", "5", "8", *probe_arguments([peer()])]
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=60)
    assert heard(done.stdout, peer())["b"].libvirt.is_ok


# networks of two hosts


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces: br0 and br0 are one network; br1 of the first is plugged into br2 of the second."""
    names = (f"vfp{os.getpid()}a", f"vfp{os.getpid()}b")
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
            for bridge in ("br0", "br1", "br2"):
                ip("-n", name, "link", "add", bridge, "type", "bridge")
                ip("-n", name, "link", "set", bridge, "up")
        for cable, ends in {"p0": ("br0", "br0"), "p1": ("br1", "br2")}.items():
            ip("link", "add", cable, "netns", names[0], "type", "veth", "peer", "name", cable, "netns", names[1])
            for name, bridge in zip(names, ends, strict=True):
                ip("-n", name, "link", "set", cable, "master", bridge, "up")
        for number, name in enumerate(names, 1):
            for bridge in ("br0", "br1"):
                ip("-n", name, "addr", "add", f"10.8.{bridge[-1]}.{number}/24", "dev", bridge)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def ask(host: str, there: str, bridge: str, family: str) -> BridgeQuestion:
    (link,) = json.loads(ip("-n", there, "-json", "address", "show", "dev", bridge))
    found = [a["local"] for a in link["addr_info"] if a["family"] == family]
    return BridgeQuestion(bridge=host, dest_bridge=bridge, targets=tuple(found), mac=link["address"])


def probe(host: str, *questions: BridgeQuestion) -> list[bool | None]:
    peers = [peer(bridges=questions)]
    argv = ["ip", "netns", "exec", host, "env", "LC_ALL=C.UTF-8", "bash", "-c", PROBE.text, "probe", "2", "8"]
    done = subprocess.run([*argv, *probe_arguments(peers)], check=True, capture_output=True, text=True, timeout=60)
    return [network.is_same for network in heard(done.stdout, *peers)["b"].networks]


def wait_for_addresses(host: str) -> None:
    """Wait until duplicate address detection has let the bridges have their link-local addresses."""
    for _ in range(100):
        shown = json.loads(ip("-n", host, "-json", "-6", "address", "show"))
        ready = [
            link
            for link in shown
            for a in link["addr_info"]
            if not a.get("tentative") and link["ifname"] in ("br0", "br1", "br2")
        ]
        if len(ready) == 3:
            return
        time.sleep(0.1)
    raise AssertionError("no link-local addresses")


@pytest.mark.lab
def test_bridges_are_told_to_be_one_network_or_not(hosts: tuple[str, str]) -> None:
    here, there = hosts
    for host in hosts:
        wait_for_addresses(host)
    same = [ask("br0", there, "br0", family) for family in ("inet6", "inet")]
    crossed = [ask("br1", there, "br2", "inet6"), ask("br1", there, "br1", "inet6"), ask("br1", there, "br1", "inet")]
    # IPv4 is answered by br2, which is plugged into the same cable: that proves nothing of br1.
    assert probe(here, *same, *crossed) == [True, True, True, False, None]


@pytest.mark.lab
def test_a_neighbour_of_former_times_is_asked_again_before_it_is_believed(hosts: tuple[str, str]) -> None:
    here, there = hosts
    for host in hosts:
        wait_for_addresses(host)
    gone, silent = ask("br0", there, "br0", "inet6"), ask("br1", there, "br2", "inet6")
    for one in (gone, silent):
        known = (one.targets[0], "lladdr", str(one.mac), "nud", "stale")
        ip("-n", here, "neighbour", "replace", *known, "dev", one.bridge)
    assert probe(here, gone) == [True]
    # The far bridge only: here the carrier stays, and with it what was known a moment ago.
    ip("-n", there, "link", "set", "br0", "down")
    rules = "table ip6 t { chain i { type filter hook input priority 0; icmpv6 type echo-request drop; }; }"
    ip("netns", "exec", there, "nft", rules)
    assert probe(here, gone, silent) == [False, True]
