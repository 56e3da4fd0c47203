"""Rules about the way from the source to the destination; not judged while the pair has not been read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmferry.model.deadline import default_deadline_s
from vmferry.model.facts import PathMtu
from vmferry.model.findings import Severity
from vmferry.rules.case import Case
from vmferry.rules.copies import copies
from vmferry.rules.rule import Rule, Scope, always, running

_IPV4_HEADERS, _IPV6_HEADERS = 28, 48  # IP and ICMP, bytes
# What ping says when a router, or the kernel by what a router told it, names the largest packet for this way.
_TOLD_MTU = re.compile(r"mtu\s*[=:]?\s*(\d+)", re.IGNORECASE)
_MBIT_PER_KIB = 1024 * 8 / 1e6


def ping(case: Case) -> Iterator[str]:
    """The source pings the destination's migration address."""
    if case.pair is not None and not case.pair.ping.is_ok:
        address = case.dest.host.migration_address
        yield (
            f"{case.source.name} cannot ping {case.dest.name}: {case.pair.ping.detail or 'no answer'}; "
            f"try `ping {address}` on {case.source.name} and check the firewall"
        )


def libvirt(case: Case) -> Iterator[str]:
    """The source opens the destination's libvirt: a peer-to-peer move is driven from there."""
    if case.pair is not None and not case.pair.libvirt.is_ok:
        yield (
            f"{case.source.name} cannot reach libvirt of {case.dest.name}: "
            f"{case.pair.libvirt.detail or 'no answer'}; try `virsh -c {case.dest.host.peer_uri} version` as "
            f"root on {case.source.name}"
        )


def migration_ports(case: Case) -> Iterator[str]:
    """No firewall is between the source and the destination's migration ports, where memory travels by them."""
    if case.pair is not None and case.pair.ports is not None and not case.pair.ports.is_ok:
        low, high = case.dest.facts.system.migration_ports
        yield (
            f"{case.source.name} cannot reach the migration ports {low}-{high}/tcp of {case.dest.name} "
            f"({case.dest.host.migration_address}): {case.pair.ports.detail or 'no answer'}; on {case.dest.name} run "
            f"`firewall-cmd --permanent --add-port={low}-{high}/tcp` and `firewall-cmd --reload`"
        )


def path_mtu(case: Case) -> Iterator[str]:
    """Packets as large as the source's network device sends reach the destination: a stream hangs on those dropped."""
    path = _narrow(case)
    if path is not None and _told_mtu(path) is None and _sends_data(case):
        small = case.pair is not None and case.pair.ping.is_ok
        also = "" if small else " (nor do small ones: see rule ping first)"
        yield (
            f"packets of {path.mtu} bytes, the MTU of {path.device} on {case.source.name}, do not reach "
            f"{case.dest.name}: {path.full_size.detail or 'no answer'}{also}; a move would hang; try "
            f"{_repeat(case, path)}, then set the smallest MTU of the way on {path.device}, or mend the switch or "
            "tunnel that drops them"
        )


def path_mtu_smaller(case: Case) -> Iterator[str]:
    """The way takes packets as large as the source's network device sends, none has to be made smaller."""
    path = _narrow(case)
    if path is not None and (told := _told_mtu(path)) is not None and _sends_data(case):
        yield (
            f"the way from {case.source.name} to {case.dest.name} takes packets of {told} bytes, {path.device} "
            f"sends {path.mtu}: TCP learns that from ICMP ({path.full_size.detail}) and hangs wherever a firewall "
            f"stops it; try {_repeat(case, path)}, or set the MTU of {path.device} to {told}"
        )


def _narrow(case: Case) -> PathMtu | None:
    """Return the way to the destination where a full-size packet did not arrive, else None."""
    path = case.pair.path_mtu if case.pair is not None else None
    return None if path is None or path.full_size.is_ok else path


def _told_mtu(path: PathMtu) -> int | None:
    """Return the packet size that the way told; None where packets are dropped without a word."""
    told = [int(size) for size in _TOLD_MTU.findall(path.full_size.detail)]
    return min((size for size in told if size < path.mtu), default=None)


def _repeat(case: Case, path: PathMtu) -> str:
    address = case.dest.host.migration_address
    headers = _IPV6_HEADERS if ":" in address else _IPV4_HEADERS
    return f"`ping -M do -s {path.mtu - headers} {address}` on {case.source.name}"


def _sends_data(case: Case) -> bool:
    """Whether the move sends memory or files, not the definition alone."""
    return not case.is_offline or bool(copies(case))


def mtu_differs(case: Case) -> Iterator[str]:
    """Both ends of the way have the same MTU."""
    path, there = (case.pair.path_mtu if case.pair is not None else None), case.dest.arrival_link
    if path is not None and there is not None and path.mtu != there.mtu:
        yield (
            f"{path.device} of {case.source.name} has MTU {path.mtu}, {there.name} of {case.dest.name} with the "
            f"migration address has {there.mtu}; large packets of the one are dropped by the other or made smaller; "
            f"set one MTU: `ip link set {there.name} mtu {path.mtu}` on {case.dest.name}"
        )


def link_busy(case: Case) -> Iterator[str]:
    """The network devices at both ends have bandwidth left: a tenth of it, and enough to end before the deadline."""
    path = case.pair.path_mtu if case.pair is not None else None
    if path is None:
        return
    there = case.dest.arrival_link
    for side, device in ((case.source, path.device), (case.dest, there.name if there is not None else "")):
        link = side.carriers.get(device)
        if link is None or link.speed_mbit_s is None:
            continue
        free = max(0.0, link.speed_mbit_s - (link.used_mbit_s or 0.0))
        if (problem := _shortage(case, link.speed_mbit_s, free)) and _sends_data(case):
            yield (
                f"vm {case.vm.name}: {link.name} of {side.name} has {free:.0f} of {link.speed_mbit_s} Mbit/s left: "
                f"{problem}; see `ip -statistics link show {link.name}` there, move at a quieter time, or use another "
                "migration_address"
            )


def _shortage(case: Case, speed_mbit_s: int, free: float) -> str:
    """Say why the bandwidth that is left, Mbit/s, is too little; empty when it is enough."""
    if not case.is_offline:
        seconds = case.vm.memory_kib * _MBIT_PER_KIB / free if free else float("inf")
        deadline_s = default_deadline_s(case.vm.memory_kib)
        if seconds > deadline_s:
            takes = f"take {seconds:.0f} s" if free else "never arrive"
            return f"{case.vm.memory_kib // 1024} MiB of memory {takes}, a move is aborted after {deadline_s:.0f} s"
    return (
        "less than a tenth; the move and its neighbours will slow each other down" if free * 10 < speed_mbit_s else ""
    )


RULES: tuple[Rule, ...] = (
    Rule("ping", ping, always(Severity.BLOCK), "reference 9.5: reach each other, ping", scope=Scope.HOSTS),
    Rule("libvirt-reach", libvirt, always(Severity.BLOCK), "reference 9.5; failure mode 43", scope=Scope.HOSTS),
    Rule(
        "migration-ports",
        migration_ports,
        running(Severity.BLOCK),
        "reference 9.5: reach each other; failure mode 43; qemu.conf migration_port_min, _max",
        scope=Scope.HOSTS,
    ),
    Rule("path-mtu", path_mtu, always(Severity.BLOCK), "failure mode 32: MTU of the way"),
    Rule("path-mtu-smaller", path_mtu_smaller, always(Severity.WARN), "RFC 1191, RFC 2923: path MTU discovery"),
    Rule("mtu-differs", mtu_differs, running(Severity.WARN), "failure mode 32", scope=Scope.HOSTS),
    Rule("link-busy", link_busy, always(Severity.WARN), "failure modes 9, 10; KubeVirt's completion timeout"),
)
