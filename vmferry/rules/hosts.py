"""Rules about the two hosts themselves, whatever the VM is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from urllib.parse import urlsplit

from vmferry.model.findings import Severity
from vmferry.rules.case import Case, Side
from vmferry.rules.rule import Rule, Scope, always
from vmferry.rules.sources import FACTS

# What libvirt's QEMU driver runs in: one daemon for all drivers, or one of its own (default since RHEL 9).
_DAEMONS = ("libvirtd", "virtqemud")
_CLOCK_LIMIT_MS = 1_000.0
_CLOCK_FAR_MS = 60_000.0
# vmferry's own ssh connections to a host besides those of moves: tools, and libvirt's control connection.
_TOOLS_LOGINS = 1


def hypervisor(case: Case) -> Iterator[str]:
    """The VM's hypervisor is allowed by the inventory and offered by libvirt, on both hosts."""
    kind = case.vm.domain_type
    if not kind:  # an unreadable VM: `xml-unreadable` says so
        return
    for side in (case.source, case.dest):
        allowed, offered = side.host.hypervisors, side.facts.domain_types
        if kind not in allowed:
            yield (
                f"vm {case.vm.name} is a {kind} domain; {side.name} is used for {', '.join(allowed)} only; "
                f"add {kind} to `hypervisors` of {side.name} in the inventory if that is meant"
            )
        if kind not in offered:
            yield (
                f"vm {case.vm.name} is a {kind} domain; {side.name} offers {', '.join(offered) or 'none'}; "
                f"run `virt-host-validate qemu` on {side.name}"
            )


def user_session(case: Case) -> Iterator[str]:
    """Both ends are libvirt's system instance, never a user session."""
    for side in (case.source, case.dest):
        for uri in dict.fromkeys((side.host.uri, side.host.peer_uri, side.facts.uri)):
            if urlsplit(uri).path.rstrip("/").endswith("/session"):
                yield (
                    f"{side.name} is reached as {uri}, a user session; moves between user sessions are "
                    f"unreliable; use qemu+ssh://{side.host.ssh.address}/system in the inventory"
                )


def same_machine(case: Case) -> Iterator[str]:
    """The destination is another machine, told by the host UUID, not by names."""
    if case.source.facts.uuid == case.dest.facts.uuid:
        yield (
            f"{case.source.name} and {case.dest.name} have the same host UUID {case.dest.facts.uuid}: one "
            "machine under two names, or cloned hosts; set `host_uuid` in /etc/libvirt/libvirtd.conf if "
            "they are two"
        )


def cordoned(case: Case) -> Iterator[str]:
    """The destination takes arrivals."""
    if case.cordon is not None:
        yield (
            f"{case.dest.name} is closed for arrivals since {case.cordon.since:%Y-%m-%d %H:%M} UTC by "
            f"{case.cordon.owner}: {case.cordon.words()}; choose another host or run `vmferry uncordon "
            f"{case.dest.name}`"
        )


def already_moving(case: Case) -> Iterator[str]:
    """No open run holds the VM."""
    if case.open_run is not None:
        # The journal has the run before the host has its mark: the owner is told once it is known.
        holder = "".join(f" ({mark.owner}, {mark.when})" for mark in case.vm.marks if mark.run == case.open_run)
        yield (
            f"vm {case.vm.name} is already moving in run {case.open_run}{holder}; wait for it, or run `vmferry "
            "recover` when its worker is dead"
        )


def libvirtd_service(case: Case) -> Iterator[str]:
    """libvirt comes back when a host is rebooted: its service is enabled, or its socket; where systemd told."""
    for side in (case.source, case.dest):
        units = [s for s in side.facts.system.services if s.name.partition(".")[0] in _DAEMONS]
        known = [unit for unit in units if unit.is_enabled is not None]
        # A socket that was stopped starts no daemon; a service that answers through it may itself be disabled.
        starts = [u for u in known if u.is_enabled and not (u.name.endswith(".socket") and u.is_active is False)]
        if known and not starts:
            unit = min(known, key=lambda u: (not u.is_active, u.name)).name.partition(".")[0] + ".service"
            have = ", ".join(f"{u.name} {'enabled but stopped' if u.is_enabled else 'disabled'}" for u in known)
            yield (
                f"libvirt of {side.name} runs but will not come back after a reboot ({have}): its VMs would stay "
                f"down; run `systemctl enable {unit}` on {side.name}"
            )


def clock_offset(case: Case) -> Iterator[str]:
    """The clocks of the two hosts agree within 1 s, as far as they could be read."""
    here, there = case.source.facts.system.clock, case.dest.facts.system.clock
    if here is None or there is None:
        return
    apart, error = abs(there.offset_ms - here.offset_ms), there.error_ms + here.error_ms
    if apart - error <= _CLOCK_LIMIT_MS:
        return
    far = "; TLS certificates and tickets may be refused" if apart - error > _CLOCK_FAR_MS else ""
    yield (
        f"the clocks of {case.source.name} and {case.dest.name} are {_seconds(apart, error)} apart "
        f"({case.source.name} {_seconds(here.offset_ms, here.error_ms, '+')}, {case.dest.name} "
        f"{_seconds(there.offset_ms, there.error_ms, '+')} against vmferry's machine); a guest that follows its "
        f"host's clock jumps by as much{far}; run `chronyc tracking` on both, then `chronyc makestep` on the wrong one"
    )


def _seconds(value_ms: float, error_ms: float, sign: str = "") -> str:
    """Return `+2.3 s ± 0.1 s`: with no more decimals than the error allows, the error rounded up; at least 1 ms."""
    decimals = max(0, 3 - math.floor(math.log10(max(1.0, error_ms))))
    error_s = math.ceil(max(1.0, error_ms) * 10**decimals / 1000) / 10**decimals
    return f"{value_ms / 1000:{sign}.{decimals}f} s ± {error_s:.{decimals}f} s"


def ssh_startups(case: Case) -> Iterator[str]:
    """sshd of both hosts takes all logins of the moves that the inventory allows at once, none is refused at random."""
    incoming, outgoing = case.dest.host.limits.incoming, case.source.host.limits.outgoing
    # To a destination each move may bring two: the source's libvirt, and the copy of a disk. To a source, vmferry
    # opens a connection of its own for each move (docs/decisions/0004).
    peer = _by_ssh(case.dest.host.peer_uri)
    yield from _startups(case.dest, incoming * (1 + peer), f"limits.incoming {incoming}")
    yield from _startups(case.source, outgoing * _by_ssh(case.source.host.uri), f"limits.outgoing {outgoing}")


def _startups(side: Side, of_moves: int, limit: str) -> Iterator[str]:
    sshd, own = side.facts.system.sshd, _TOOLS_LOGINS + _by_ssh(side.host.uri)
    if sshd is None or of_moves + own <= sshd.start:
        return
    wanted = 2 * (of_moves + own)
    some = f"{sshd.rate} % of them from {sshd.start} on and " if sshd.start < sshd.full else ""
    yield (
        f"up to {of_moves + own} ssh logins may be under way at {side.name} at once ({of_moves} for the moves that "
        f"{limit} allows, {own} of vmferry); its sshd refuses {some}all from {sshd.full} on; set `MaxStartups "
        f"{wanted}:30:{max(sshd.full, 2 * wanted)}` in /etc/ssh/sshd_config there and run `systemctl reload sshd`, or "
        "allow fewer moves at once"
    )


def _by_ssh(uri: str) -> int:
    """Return 1 for a libvirt URI whose connection logs in by ssh, else 0."""
    return int(urlsplit(uri).scheme.partition("+")[2] in ("ssh", "libssh", "libssh2"))


RULES: tuple[Rule, ...] = (
    Rule(
        "already-moving",
        already_moving,
        always(Severity.BLOCK),
        f"{FACTS}: ERR 55; failure mode 47",
        scope=Scope.VM,
        is_final=True,
    ),
    Rule(
        "same-machine",
        same_machine,
        always(Severity.BLOCK),
        f"{FACTS}: same host; failure mode 45",
        scope=Scope.HOSTS,
        is_final=True,
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "hypervisor",
        hypervisor,
        always(Severity.BLOCK),
        "reference 9.5: both hosts use KVM",
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "libvirtd-service",
        libvirtd_service,
        always(Severity.BLOCK, upstream=Severity.WARN),
        "reference 9.5, step 1: libvirtd enabled and running",
        scope=Scope.HOSTS,
    ),
    Rule(
        "user-session",
        user_session,
        always(Severity.BLOCK),
        "reference 9.3: user session",
        scope=Scope.HOSTS,
        is_final=True,
    ),
    Rule(
        "cordoned",
        cordoned,
        always(Severity.BLOCK),
        "failure mode 48",
        scope=Scope.HOSTS,
        after_loss=Severity.BLOCK,
    ),
    Rule("clock-offset", clock_offset, always(Severity.WARN), "failure mode 56", scope=Scope.HOSTS),
    Rule(
        "ssh-startups",
        ssh_startups,
        always(Severity.WARN),
        "failure mode 44; sshd_config(5) MaxStartups",
        scope=Scope.HOSTS,
    ),
)
