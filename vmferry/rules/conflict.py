"""Rules about other domains that have the VM's name or UUID."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.findings import Severity
from vmferry.model.vm import Vm
from vmferry.rules.case import Case
from vmferry.rules.rule import Rule, always
from vmferry.rules.sharing import is_media, save_image
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


def defined_elsewhere(case: Case) -> Iterator[str]:
    """No third host has a shut-off domain of this UUID: somebody could start it beside this one."""
    if case.defined_on:
        hosts = ", ".join(case.defined_on)
        yield (
            f"vm {case.vm.name} ({case.vm.uuid}) is defined on {hosts} too, shut off: started there it would be a "
            "second copy; look at it with `virsh dumpxml`, and if it is left from an earlier move run `virsh undefine "
            f"{case.vm.uuid} --keep-nvram --keep-tpm` on {hosts}"
        )


def _stale(case: Case) -> Vm | None:
    """Return the shut-off domain of the same name and UUID that the destination has."""
    there = case.dest.by_uuid.get(case.vm.uuid)
    return there if there is not None and not there.is_active and there.name == case.vm.name else None


def stale_definition(case: Case) -> Iterator[str]:
    """The destination has no old definition of this VM: libvirt would silently replace it."""
    there = _stale(case)
    if there is not None:
        undefine = f"`virsh -c {case.dest.host.uri} undefine {there.name} --keep-nvram --keep-tpm`"
        differs = _other_disks(case, there)
        advice = (
            f"its disks are not those of this VM ({differs}): it may be more than a leftover, so look at it first: "
            f"`virsh -c {case.dest.host.uri} dumpxml {there.name}`; when nobody needs it run {undefine}"
            if differs
            else f"libvirt would replace it; if it is not needed run {undefine}"
        )
        yield (
            f"{case.dest.name} has an old definition of vm {case.vm.name} (same name and UUID, {there.state}), left by "
            f"an earlier move; {advice}"
        )


def _other_disks(case: Case, there: Vm) -> str:
    """Say which images only one of the two definitions has; empty where they agree."""
    own = {case.dest_path(disk) for disk in case.vm.disks if disk.source and not is_media(disk)}
    old = {disk.source for disk in there.disks if disk.source and not is_media(disk)}
    sides = ((f"only on {case.dest.name}", old - own), (f"only on {case.source.name}", own - old))
    return "; ".join(f"{where}: {', '.join(sorted(paths))}" for where, paths in sides if paths)


def stale_managed_save(case: Case) -> Iterator[str]:
    """The destination has no managed save image of this name: its old memory would be restored over the newer disk.

    libvirt looks for the file when it starts a domain, whatever it says before; undefining leaves the file behind.
    """
    there, image = _stale(case), save_image(case.vm)
    has_file = case.pair is not None and image in case.pair.dest_files
    if there is not None and there.has_managed_save:
        remove = f"`virsh -c {case.dest.host.uri} managedsave-remove {there.name}`"
        whose = "an old definition of it with a managed save image"
    elif has_file:
        remove = f"`ssh {case.dest.host.ssh.address} mv {image} {image}.old`"
        whose = f"a managed save image of its name ({image})"
    else:
        return
    yield (
        f"vm {case.vm.name}: {case.dest.name} has {whose}: the next start there would restore that memory over the "
        f"newer disk; when nobody needs it run {remove}"
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
    Rule("two-copies", two_copies, always(Severity.BLOCK), "failure mode 1", is_final=True, after_loss=Severity.BLOCK),
    Rule("defined-elsewhere", defined_elsewhere, always(Severity.WARN), "failure modes 1, 24"),
    Rule(
        "stale-definition",
        stale_definition,
        always(Severity.BLOCK),
        f"{FACTS}: replaced; failure mode 24",
        after_loss=Severity.WARN,
    ),
    Rule(
        "stale-managed-save",
        stale_managed_save,
        always(Severity.BLOCK),
        f"{FACTS}: managed save restored over the newer disk",
        is_final=True,
        after_loss=Severity.BLOCK,
    ),
    Rule("uuid-taken", uuid_taken, always(Severity.BLOCK), f"{FACTS}: ERR 9", is_final=True, after_loss=Severity.BLOCK),
    Rule("name-taken", name_taken, always(Severity.BLOCK), f"{FACTS}: ERR 9", is_final=True, after_loss=Severity.BLOCK),
)
