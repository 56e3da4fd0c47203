"""One VM's run on the simulated fleet: the scenarios, a vmferry process that works on it, and what must hold after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import LOCAL, Blow, Fault, Operation, SimulatedCrash, SimulatedFleet
from vmferry.adapters.simulated.texts import write_text
from vmferry.domxml.marks import marks_of
from vmferry.errors import NotFound, VmferryError
from vmferry.model.convergence import DEFAULT_POLICY, POLICIES, PolicyName
from vmferry.model.disks import CopyKind, FileCopy, LiveDisk
from vmferry.model.facts import Pool
from vmferry.model.journal import RunRecord, RunState
from vmferry.model.mark import VmMark
from vmferry.model.migration import DomainChanges, MigrationMode, MigrationOutcome, MigrationPlan, OutcomeKind
from vmferry.model.transport import Encryption, Switch
from vmferry.model.vm import DomainState
from vmferry.ports import World
from vmferry.steps.forward import run_step
from vmferry.steps.names import StepName
from vmferry.steps.recover import close, recover

SOURCE, DEST = "kvm1", "kvm2"
GROUP = Pool(name="vg0", kind="logical", target="/dev/vg0")
UNTOLD = "whether it is this run's cannot be told"
TOUCHING = tuple(step for step in StepName if step is not StepName.RESERVE)
_numbers = count(1)


@dataclass(frozen=True)
class Scenario:
    """A VM and how it is moved."""

    mode: MigrationMode
    state: DomainState = DomainState.RUNNING
    is_persistent: bool = True
    is_autostart: bool = False
    files: int = 0
    disks: int = 0
    has_more: bool = False  # the first file builds on a layer, the last disk is a logical volume, and there is a TPM
    title: str | None = None
    policy: PolicyName = DEFAULT_POLICY
    dirty_mib_s: float = 0.0

    @property
    def must_run(self) -> bool:
        """Whether the VM runs before and after."""
        return self.state is DomainState.RUNNING


SCENARIOS = {
    "live": Scenario(MigrationMode.LIVE, is_autostart=True),
    "live with changes": Scenario(MigrationMode.LIVE, title="on the other side"),
    "non-live": Scenario(MigrationMode.NON_LIVE, is_autostart=True),
    "paused": Scenario(MigrationMode.LIVE, state=DomainState.PAUSED),
    "suspended on the way": Scenario(MigrationMode.LIVE, policy=PolicyName.SUSPEND_IF_NEEDED, dirty_mib_s=400),
    "post-copy": Scenario(MigrationMode.LIVE, policy=PolicyName.POST_COPY, dirty_mib_s=400, is_autostart=True),
    "with local disks": Scenario(MigrationMode.LIVE, disks=2, is_autostart=True),
    "transient": Scenario(MigrationMode.LIVE, is_persistent=False),
    "offline": Scenario(MigrationMode.OFFLINE, state=DomainState.SHUTOFF, is_autostart=True, files=2),
    "offline with layer, TPM and volume": Scenario(
        MigrationMode.OFFLINE, state=DomainState.SHUTOFF, files=1, has_more=True
    ),
    "offline on shared storage": Scenario(MigrationMode.OFFLINE, state=DomainState.SHUTOFF),
}


class Voyage:
    """A fresh fleet with one VM, a journal, and the processes of vmferry that come and die.

    Given the path of a journal, every process opens it anew; given a journal, all share it (opening one costs
    more than all the rest), and only this voyage's run counts.
    """

    def __init__(self, scenario: Scenario, journal: Path | SqlJournal | None = None) -> None:
        number = next(_numbers)
        self.scenario = scenario
        self.vm, self.run = f"web{number}", f"20250101-000000-{number:08x}"
        self.fleet = SimulatedFleet.of(SOURCE, DEST)
        local = [f"{LOCAL}/{self.vm}-{n}.qcow2" for n in range(scenario.files)]
        mirrored = [f"{LOCAL}/{self.vm}-{n}.raw" for n in range(scenario.disks)]
        self.uuid: UUID = self.fleet.add_vm(
            SOURCE,
            self.vm,
            disks=(local + mirrored) or None,
            state=scenario.state,
            is_persistent=scenario.is_persistent,
            is_autostart=scenario.is_autostart,
            dirty_mib_s=scenario.dirty_mib_s,
            working_set_mib=512,
            xml=self._rich_xml(local) if scenario.has_more else None,
        )
        self.plan = self.make_plan(files=tuple(local), mirrored=tuple(mirrored))
        if scenario.has_more:
            self._add_more(local[0])
        self.before = self.files(DEST)
        self.outcome: MigrationOutcome | None = None
        self._journal = journal or memory_journal()
        self.world = self.process()

    def _rich_xml(self, local: list[str]) -> str:
        uuid = UUID(int=next(_numbers) << 64)
        text = write_text(self.vm, uuid, 1 << 20, disks=(*local, f"{GROUP.target}/{self.vm}"), bridge="br0")
        return text.replace("</devices>", "<tpm model='tpm-crb'><backend type='emulator'/></tpm></devices>")

    def _add_more(self, top: str) -> None:
        """Put a layer below the top, the TPM's state and a logical volume on the source, and into the plan."""
        base, volume = f"{LOCAL}/{self.vm}-base.qcow2", f"{GROUP.target}/{self.vm}"
        tpm = f"/var/lib/libvirt/swtpm/{self.uuid}/tpm2/tpm2-00.permall"
        self.fleet.add_file(SOURCE, base)
        self.fleet.add_file(SOURCE, tpm)
        self.fleet.add_file(SOURCE, volume, device_id=f"LVM-{self.vm}")
        overlay = self.fleet.hosts[SOURCE].file(top)
        assert overlay is not None
        overlay.backing = base
        for host in (SOURCE, DEST):
            self.fleet.set_offer(host, pools=(GROUP,))
        size = {"size_bytes": 10 << 30, "allocated_bytes": 1 << 30}
        pools = {"pool": "vg0", "volume": self.vm, "source_pool": "vg0", "source_volume": self.vm}
        more: tuple[dict[str, Any], ...] = (
            {"source_path": tpm, "kind": CopyKind.TPM},
            {"source_path": volume, "makes_volume": True, "is_device": True, **pools},
        )
        below = FileCopy(source_path=base, dest_path=base, kind=CopyKind.BACKING, **size)
        beside = (FileCopy(dest_path=one["source_path"], **size, **one) for one in more)
        self.plan = self.plan.model_copy(update={"files": (below, *self.plan.files, *beside)})

    def make_plan(self, files: tuple[str, ...] = (), mirrored: tuple[str, ...] = (), **given: Any) -> MigrationPlan:
        """Plan the move without preflight."""
        entry = self.fleet.inventory.find(DEST)
        assert entry is not None
        copies = tuple(
            FileCopy(source_path=path, dest_path=path, size_bytes=10 << 30, allocated_bytes=1 << 30) for path in files
        )
        disks = tuple(
            LiveDisk(target=f"vd{n}", source_path=path, dest_path=path, size_bytes=10 << 30, allocated_bytes=1 << 30)
            for n, path in enumerate(mirrored)
        )
        fields: dict[str, Any] = {
            "run": self.run,
            "vm": self.vm,
            "uuid": self.uuid,
            "source": SOURCE,
            "dest": DEST,
            "mode": self.scenario.mode,
            "mode_reason": "asked for",
            "state_before": self.scenario.state,
            "is_persistent": self.scenario.is_persistent,
            "is_autostart": self.scenario.is_autostart,
            "memory_kib": 1 << 20,
            "reserved_kib": 0,
            "changes": DomainChanges(title=self.scenario.title),
            "files": copies,
            "disks": disks,
            "encryption": Encryption.NONE if disks else entry.encryption,
            "peer_uri": entry.peer_uri,
            "migration_uri": f"tcp://{entry.migration_address}",
            "policy": self.scenario.policy,
            "switch": Switch.POSTCOPY if POLICIES[self.scenario.policy].may_postcopy else Switch.GUARDED,
            "deadline_s": 270.0,
        }
        return MigrationPlan(**{**fields, **given})

    def process(self) -> World:
        """Start a vmferry process with adapters of its own; those before it are dead."""
        journal = self._journal
        if isinstance(journal, Path):
            journal = SqlJournal(f"sqlite:///{journal}", owner=f"process-{next(_numbers)}", is_alive=lambda _: False)
        self.world = self.fleet.world(journal=journal)
        return self.world

    # working

    def sail(self) -> MigrationOutcome:
        """Run all six steps, as `tasks.one_vm` does."""
        self.world.journal.open_run(self.plan)
        for step in StepName:
            run_step(self.run, step, self.world)
        return close(self.world.journal.find(self.run), self.world, OutcomeKind.MOVED)

    def sail_or_settle(self) -> None:
        """Sail; what fails is settled; a crash ends this process, and the next one recovers."""
        try:
            try:
                self.sail()
            except VmferryError as error:
                self.outcome = recover(self.run, self.world, cause=str(error))
        except SimulatedCrash:
            self.process()
            self.recover_all()  # at once, while the world is still in the middle of it
        except VmferryError:
            return  # the journal itself failed: what is left is open, and a later recovery finds it

    def recover_all(self) -> None:
        """Do what `vmferry recover` does."""
        for record in self.unsettled():
            if self.world.journal.take_over(record.run):
                self.outcome = recover(record.run, self.world)

    # asking

    def unsettled(self) -> tuple[RunRecord, ...]:
        """Return the runs that are open or held."""
        return tuple(record for record in self.world.journal.unsettled() if record.run == self.run)

    def record(self) -> RunRecord | None:
        """Return the run; None when it was never opened."""
        try:
            return self.world.journal.find(self.run)
        except NotFound:
            return None

    def files(self, host: str) -> set[str]:
        """Return all paths of a host, directories that hold copies included."""
        mounts = self.fleet.hosts[host].mounts
        files = {f"{mount.rstrip('/')}/{path}" for mount, space in mounts.items() for path in space.files}
        made = {
            f"{mount}/{path}/" for mount, space in mounts.items() for path in space.directories if ".vmferry-" in path
        }
        return files | made

    def state_on(self, host: str) -> DomainState:
        """Return the VM's state on a host."""
        domain = self.fleet.domain(host, self.uuid)
        return DomainState.ABSENT if domain is None else domain.state

    def marks_on(self, host: str) -> tuple[VmMark, ...]:
        """Return the marks in the VM's definitions on a host."""
        domain = self.fleet.domain(host, self.uuid)
        xmls = (domain.live_xml, domain.persistent_xml) if domain is not None else ()
        return tuple(mark for xml in xmls if xml for mark in marks_of(xml))

    def autostart_on(self, host: str) -> bool:
        """Return the autostart flag on a host."""
        domain = self.fleet.domain(host, self.uuid)
        return domain is not None and domain.is_autostart


def memory_journal() -> SqlJournal:
    """Return a journal in memory whose earlier owners are all dead."""
    return SqlJournal("sqlite://", owner="vmferry", is_alive=lambda _: False)


def enumerate_faults(scenario: Scenario, journal: SqlJournal | None = None) -> tuple[Fault, ...]:
    """Return every fault that can strike the scenario's run, by running it once."""
    voyage = Voyage(scenario, journal)
    voyage.sail()
    return tuple(counted(fault, voyage.fleet.operations()) for fault in voyage.fleet.faults())


def counted(fault: Fault, log: Sequence[Operation]) -> Fault:
    """Name the fault's place by host, call and how many of them, not by its number in the log.

    Two hosts are asked at the same time, in no fixed order: the same number may be another host in the next run.
    """
    assert fault.seq is not None
    at = log[fault.seq]
    place = Fault(does=fault.does, host=at.host, op=at.op, phase=at.phase, target=fault.target, peer=fault.peer)
    nth = sum(place.fits(operation) for operation in log[: fault.seq + 1])
    return place.model_copy(update={"nth": nth})


def wrongs_of(voyage: Voyage, fault: Fault) -> Iterator[str]:
    """Yield every broken promise after a run was settled with all hosts healed."""
    for problem in voyage.fleet.problems():
        yield problem.words()
    record = voyage.record()
    if record is not None and record.state is RunState.CLOSED:
        yield from (f"the mark is left on {host}" for host in (SOURCE, DEST) if voyage.marks_on(host))
    match record.state if record is not None else RunState.CLOSED:
        case RunState.OPEN:
            yield "the run is open: neither closed nor held"
        case RunState.HELD:
            yield from _held(voyage, fault)
        case RunState.CLOSED if record is not None and record.outcome is OutcomeKind.MOVED:
            yield from _moved(voyage, fault)
        case RunState.CLOSED:
            yield from _rolled_back(voyage, fault)


def _held(voyage: Voyage, fault: Fault) -> Iterator[str]:
    """Only a fault that ends a QEMU needs a human, and one that leaves a volume of which nobody knows whose it is."""
    if voyage.outcome and UNTOLD in voyage.outcome.reason:
        if f"{GROUP.target}/{voyage.vm}" not in voyage.files(DEST) or voyage.state_on(DEST) is not DomainState.ABSENT:
            yield f"held without a reason: {voyage.outcome.reason}"
        return
    if fault.does not in (Blow.POWER_CUT, Blow.QEMU_KILLED):
        yield f"held after {fault.does}: {voyage.outcome and voyage.outcome.reason}"
    domain = voyage.fleet.domain(DEST, voyage.uuid)
    has_lost_memory = domain is not None and domain.reason == "post-copy failed"  # its guest stands still
    if voyage.fleet.running_on(voyage.uuid) and not has_lost_memory:
        yield f"held, but runs on {voyage.fleet.running_on(voyage.uuid)}"


def _moved(voyage: Voyage, fault: Fault) -> Iterator[str]:
    scenario, fleet = voyage.scenario, voyage.fleet
    # A destination that reboots at the end of an offline move starts the VM by its autostart flag.
    has_booted = fault.does is Blow.POWER_CUT and (fault.target or fault.host) == DEST and scenario.is_autostart
    if has_booted and voyage.state_on(DEST) is DomainState.RUNNING:
        scenario = replace(scenario, state=DomainState.RUNNING)
    if fleet.running_on(voyage.uuid) != ((DEST,) if scenario.must_run else ()):
        yield f"moved, but runs on {fleet.running_on(voyage.uuid)}"
    if voyage.state_on(DEST) is not scenario.state:
        yield f"moved, but {voyage.state_on(DEST)} at the destination"
    if voyage.state_on(SOURCE) is not DomainState.ABSENT:
        yield f"moved, but {voyage.state_on(SOURCE)} at the source"
    if fleet.defined_on(voyage.uuid) != ((DEST,) if scenario.is_persistent else ()):
        yield f"moved, but defined on {fleet.defined_on(voyage.uuid)}"
    if voyage.autostart_on(DEST) is not scenario.is_autostart:
        yield f"moved, but autostart is {voyage.autostart_on(DEST)}"
    brought = (*voyage.plan.files, *voyage.plan.disks)
    images = {copy.dest_path for copy in brought}
    if voyage.files(DEST) != voyage.before | images:
        yield f"moved, but the destination's files are {sorted(voyage.files(DEST))}"
    stays = {copy.source_path for copy in voyage.plan.files if copy.is_device}
    aside = {f"{copy.source_path}.vmferry-moved-{voyage.run}" for copy in brought if copy.source_path not in stays}
    if not aside <= voyage.files(SOURCE) or images & voyage.files(SOURCE) != stays:
        yield f"moved, but the source's files are {sorted(voyage.files(SOURCE))}"


def _rolled_back(voyage: Voyage, fault: Fault) -> Iterator[str]:
    scenario, fleet = voyage.scenario, voyage.fleet
    has_rebooted = fault.does is Blow.POWER_CUT and (fault.target or fault.host) == SOURCE
    if has_rebooted:
        yield from _rebooted(voyage)
    else:
        if fleet.running_on(voyage.uuid) != ((SOURCE,) if scenario.must_run else ()):
            yield f"rolled back, but runs on {fleet.running_on(voyage.uuid)}"
        if voyage.state_on(SOURCE) is not scenario.state:
            yield f"rolled back, but {voyage.state_on(SOURCE)} at the source"
    if voyage.state_on(DEST) is not DomainState.ABSENT:
        yield f"rolled back, but {voyage.state_on(DEST)} at the destination"
    if fleet.defined_on(voyage.uuid) != ((SOURCE,) if scenario.is_persistent else ()):
        yield f"rolled back, but defined on {fleet.defined_on(voyage.uuid)}"
    if voyage.autostart_on(SOURCE) is not scenario.is_autostart:
        yield f"rolled back, but autostart is {voyage.autostart_on(SOURCE)}"
    if voyage.files(DEST) != voyage.before:
        yield f"rolled back, but the destination's files are {sorted(voyage.files(DEST))}"


def _rebooted(voyage: Voyage) -> Iterator[str]:
    """A host that boots starts its VMs by their autostart flag, whatever they were before."""
    state = voyage.state_on(SOURCE)
    if state is DomainState.RUNNING and not voyage.scenario.is_autostart:
        yield "rolled back, and something started it at the source"
    is_untouched = not any(row.step in TOUCHING for row in voyage.world.journal.rows(voyage.run))
    if state is not DomainState.RUNNING and voyage.scenario.must_run and not is_untouched:
        yield f"rolled back, but {state} at the source"
