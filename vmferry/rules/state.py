"""Rules about the state a VM is in and what hangs on it: jobs, snapshots, managed saves."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.findings import Severity
from vmferry.model.vm import DomainState, Vm
from vmferry.rules.case import Case
from vmferry.rules.rule import Rule, Scope, always, offline_only
from vmferry.rules.sources import ALLOWED, FACTS, IMAGES

_MOVABLE = (DomainState.RUNNING, DomainState.BLOCKED, DomainState.PAUSED)
# Reasons (virsh domstate --reason) for which a paused VM is simply at rest; every other means that libvirt,
# an I/O error or a crash holds it and that its memory is not to be trusted or is being written elsewhere.
_AT_REST = ("user", "from snapshot")
# What a paused VM's reason says about the job that paused it.
_JOBS = {
    "migrating": "migration",
    "saving": "save",
    "dumping": "memory dump",
    "creating snapshot": "snapshot",
    "post-copy": "migration in post-copy",
}
_NEXT = {
    DomainState.NOSTATE: "find out with `virsh domstate --reason`",
    DomainState.SHUTDOWN: "wait until it is shut off, then move it offline",
    DomainState.CRASHED: "look at its log, then start it or run `virsh destroy` and move it offline",
    DomainState.PMSUSPENDED: "wake it with `virsh dompmwakeup`, or shut it down and move it offline",
    DomainState.ABSENT: "look where it is with `virsh list --all`",
}


def xml_unreadable(case: Case) -> Iterator[str]:
    """The domain XML was understood; what vmferry cannot read it does not move."""
    for problem in (*case.vm.problems, *(p for p in case.arriving.problems if p not in case.vm.problems)):
        yield (
            f"vm {case.vm.name}: the domain XML cannot be read: {problem}; "
            f"see `virsh -c {case.source.host.uri} dumpxml {case.vm.name}`"
        )


def other_vm(case: Case) -> Iterator[str]:
    """The XML given for the destination is this VM's: same name, same UUID."""
    if (case.arriving.name, case.arriving.uuid) != (case.vm.name, case.vm.uuid):
        yield (
            f"vm {case.vm.name} ({case.vm.uuid}): the XML given for the destination is of {case.arriving.name} "
            f"({case.arriving.uuid}); make it from `virsh dumpxml --migratable {case.vm.name}` and keep both"
        )


def mode_state(case: Case) -> Iterator[str]:
    """A running VM moves live or non-live, a shut-off one offline.

    libvirt accepts an offline move of a *running* domain: it copies the definition and leaves the domain
    running.
    """
    if case.is_offline and case.vm.is_active:
        yield (
            f"vm {case.vm.name} is {case.vm.state}; an offline move would copy its definition and leave it "
            f"running on {case.source.name}; ask for live or non-live, or run `virsh shutdown "
            f"{case.vm.name}` first"
        )
    if not case.is_offline and not case.vm.is_active:
        yield (
            f"vm {case.vm.name} is {case.vm.state}; a {case.mode} move needs a running VM: ask for offline, or start it"
        )


def state_unmovable(case: Case) -> Iterator[str]:
    """The VM is running, at rest, or shut off; nothing in between."""
    vm = case.vm
    if vm.state in _NEXT:
        yield f"vm {vm.name} is {vm.state}{_reason(case)}; {_NEXT[vm.state]}"
    if vm.state is DomainState.PAUSED and vm.state_reason == "I/O error":
        yield (
            f"vm {vm.name} is paused by an I/O error: writes of its guest wait in QEMU; see which disk with `virsh -c "
            f"{case.source.host.uri} domblkerror {vm.name}` and why (`df -h`, kernel log), mend the storage, then "
            f"`virsh -c {case.source.host.uri} resume {vm.name}`"
        )
    elif vm.state is DomainState.PAUSED and vm.state_reason not in _AT_REST:
        yield (
            f"vm {vm.name} is paused{_reason(case)}; only a VM paused by its user moves; clear the cause, "
            f"then `virsh -c {case.source.host.uri} resume {vm.name}` (never while a migration is open: run "
            "`vmferry recover`)"
        )
    if vm.state in _MOVABLE and vm.state_reason.startswith("post-copy"):
        yield (
            f"vm {vm.name} is {vm.state}{_reason(case)}: its memory is split between two hosts; run `vmferry recover`"
        )


def _reason(case: Case) -> str:
    return f" ({case.vm.state_reason})" if case.vm.state_reason else ""


def active_job(case: Case) -> Iterator[str]:
    """No job runs on the VM: libvirt refuses a second one."""
    if case.vm.has_active_job:
        virsh = f"virsh -c {case.source.host.uri}"
        yield (
            f"vm {case.vm.name} has an active job ({_job(case.vm)}); wait for its end: `{virsh} domjobinfo "
            f"{case.vm.name}`, or end it: `{virsh} domjobabort {case.vm.name}`"
        )


def _job(vm: Vm) -> str:
    """Name the job as far as state and XML tell."""
    mirrors = [device.detail for device in vm.devices if device.kind == "mirror"]
    return "; ".join((_JOBS.get(vm.state_reason, "migration, backup, save or dump"), *mirrors))


def snapshots(case: Case) -> Iterator[str]:
    """The VM has no snapshots: libvirt refuses to migrate a domain with snapshots."""
    if case.vm.snapshots:
        virsh, name = f"virsh -c {case.source.host.uri}", case.vm.name
        yield (
            f"vm {name} has {case.vm.snapshots} snapshots; libvirt refuses to move it; see `{virsh} snapshot-list "
            f"{name} --tree` and delete or merge them; where images are shared their metadata can travel by hand, "
            f"parents first: `{virsh} snapshot-dumpxml {name} SNAP >SNAP.xml`, `{virsh} snapshot-delete {name} SNAP "
            f"--metadata`, and after the move `virsh snapshot-create {name} SNAP.xml --redefine`"
        )


def checkpoints(case: Case) -> Iterator[str]:
    """The VM has no checkpoints: their metadata is lost on both hosts without a word."""
    if case.vm.checkpoints:
        yield (
            f"vm {case.vm.name} has {case.vm.checkpoints} checkpoints; their metadata is lost by a move, so "
            "the next incremental backup fails; take a full backup afterwards, and first run `virsh -c "
            f"{case.source.host.uri} checkpoint-delete {case.vm.name} NAME --metadata` for each"
        )


def managed_save(case: Case) -> Iterator[str]:
    """No managed save image stays behind: it would be restored over the newer disk when the VM comes back."""
    if case.vm.has_managed_save:
        yield (
            f"vm {case.vm.name} has a managed save image on {case.source.name}, which a move does not carry; "
            f"start the VM and shut it down, or drop its memory with `virsh -c {case.source.host.uri} "
            f"managedsave-remove {case.vm.name}`"
        )


def transient_offline(case: Case) -> Iterator[str]:
    """A transient domain has no definition that an offline move could carry."""
    if not case.vm.is_persistent:
        yield (
            f"vm {case.vm.name} is transient: it has no definition to move offline; move it live, or define "
            f"it first: `virsh dumpxml {case.vm.name} >x.xml; virsh define x.xml`"
        )


RULES: tuple[Rule, ...] = (
    Rule(
        "xml-unreadable",
        xml_unreadable,
        always(Severity.BLOCK),
        "vmferry.domxml: what is not understood is not moved",
        scope=Scope.VM,
        is_final=True,
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "xml-other-vm",
        other_vm,
        always(Severity.BLOCK),
        "reference 9.5: --xml adjusts the VM's own XML",
        scope=Scope.VM,
        is_final=True,
    ),
    Rule(
        "mode-state",
        mode_state,
        always(Severity.BLOCK),
        f"{IMAGES}; {FACTS}: OFFLINE on a running domain",
        scope=Scope.VM,
        is_final=True,
    ),
    Rule(
        "state-unmovable",
        state_unmovable,
        always(Severity.BLOCK),
        f"{ALLOWED}; failure modes 3, 20",
        scope=Scope.VM,
        is_final=True,
    ),
    Rule("active-job", active_job, always(Severity.BLOCK), f"{ALLOWED}: block job; failure mode 41", scope=Scope.VM),
    Rule("snapshots", snapshots, always(Severity.BLOCK), f"{ALLOWED}: snapshots; failure mode 35", scope=Scope.VM),
    Rule(
        "checkpoints",
        checkpoints,
        always(Severity.BLOCK, upstream=Severity.WARN),
        f"{FACTS}: checkpoint metadata is lost",
        scope=Scope.VM,
    ),
    Rule(
        "managed-save",
        managed_save,
        always(Severity.BLOCK),
        f"{FACTS}: managed save restored over the newer disk",
        scope=Scope.VM,
        is_final=True,
        after_loss=Severity.WARN,
    ),
    Rule(
        "transient-offline",
        transient_offline,
        offline_only(Severity.BLOCK),
        "virDomainMigrate3: VIR_MIGRATE_OFFLINE",
        scope=Scope.VM,
    ),
)
