"""Rules about domains on the destination that have the VM's name or UUID."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.findings import Severity
from vmferry.rules.case import Case
from vmferry.rules.rule import Rule, always
from vmferry.rules.sources import FACTS


def two_copies(case: Case) -> Iterator[str]:
    """No other host has an active domain with this UUID: two copies would write to one disk."""
    there = case.dest.by_uuid.get(case.vm.uuid)
    hosts = (*((case.dest.name,) if there is not None and there.is_active else ()), *case.copies)
    if hosts:
        yield (
            f"ALARM: vm {case.vm.name} ({case.vm.uuid}) has a QEMU process on {', '.join(hosts)} and is "
            f"defined on {case.source.name} ({case.vm.state}): possibly two copies on one disk; do not start "
            "or resume anything, look with `virsh list --all` on every host named, then run `vmferry recover`"
        )


def stale_definition(case: Case) -> Iterator[str]:
    """The destination has no old definition of this VM: libvirt would silently replace it."""
    there = case.dest.by_uuid.get(case.vm.uuid)
    if there is not None and not there.is_active and there.name == case.vm.name:
        extra = (
            ", with a managed save image that would be restored over the newer disk" if there.has_managed_save else ""
        )
        yield (
            f"{case.dest.name} has an old definition of vm {case.vm.name} (same UUID, {there.state}{extra}), "
            "left by an earlier move; libvirt would replace it; if it is not needed run `virsh -c "
            f"{case.dest.host.uri} undefine {there.name} --keep-nvram --keep-tpm`"
        )


def uuid_taken(case: Case) -> Iterator[str]:
    """No domain of another name has this UUID on the destination."""
    there = case.dest.by_uuid.get(case.vm.uuid)
    if there is not None and there.name != case.vm.name:
        yield (
            f"UUID {case.vm.uuid} of vm {case.vm.name} belongs to domain {there.name} on {case.dest.name} "
            f"({there.state}): a renamed copy or a clone; compare `virsh dumpxml` of both, undefine the one "
            "not needed"
        )


def name_taken(case: Case) -> Iterator[str]:
    """No other domain has this name on the destination."""
    there = case.dest.by_name.get(case.vm.name)
    if there is not None and there.uuid != case.vm.uuid:
        yield (
            f"{case.dest.name} has another domain named {case.vm.name} (UUID {there.uuid}, {there.state}; "
            f"this one is {case.vm.uuid}); choose another host or rename one with `virsh domrename`"
        )


RULES: tuple[Rule, ...] = (
    Rule("two-copies", two_copies, always(Severity.BLOCK), "failure mode 1", is_final=True),
    Rule("stale-definition", stale_definition, always(Severity.BLOCK), f"{FACTS}: replaced; failure mode 24"),
    Rule("uuid-taken", uuid_taken, always(Severity.BLOCK), f"{FACTS}: ERR 9", is_final=True),
    Rule("name-taken", name_taken, always(Severity.BLOCK), f"{FACTS}: ERR 9", is_final=True),
)
