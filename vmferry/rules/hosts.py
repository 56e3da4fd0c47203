"""Rules about the two hosts themselves, whatever the VM is."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from vmferry.model.findings import Severity
from vmferry.rules.case import Case
from vmferry.rules.rule import Rule, Scope, always
from vmferry.rules.sources import FACTS


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
            f"{case.cordon.owner}: {case.cordon.reason}; choose another host or run `vmferry uncordon "
            f"{case.dest.name}`"
        )


def already_moving(case: Case) -> Iterator[str]:
    """No open run holds the VM."""
    if case.open_run is not None:
        yield (
            f"vm {case.vm.name} is already moving in run {case.open_run}; wait for it, or run `vmferry "
            "recover` when its worker is dead"
        )


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
    ),
    Rule("hypervisor", hypervisor, always(Severity.BLOCK), "reference 9.5: both hosts use KVM"),
    Rule(
        "user-session",
        user_session,
        always(Severity.BLOCK),
        "reference 9.3: user session",
        scope=Scope.HOSTS,
        is_final=True,
    ),
    Rule("cordoned", cordoned, always(Severity.BLOCK), "failure mode 48", scope=Scope.HOSTS),
)
