"""One VM's run on the simulated fleet: the scenarios, a vmferry process that works on it, and what must hold after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import LOCAL, SHARED, Fault, Operation, SimulatedCrash, SimulatedFleet
from vmferry.adapters.simulated.texts import write_text
from vmferry.domxml.marks import marks_of
from vmferry.errors import NotFound, VmferryError
from vmferry.model.convergence import DEFAULT_POLICY, PolicyName
from vmferry.model.disks import CopyKind, FileCopy, LiveDisk
from vmferry.model.facts import Pool
from vmferry.model.journal import RunRecord
from vmferry.model.mark import VmMark
from vmferry.model.migration import DomainChanges, MigrationMode, MigrationOutcome, MigrationPlan, OutcomeKind
from vmferry.model.transport import Encryption, Switch
from vmferry.model.vm import DomainState
from vmferry.ports import Journal, World
from vmferry.steps.forward import run_step
from vmferry.steps.names import StepName
from vmferry.steps.recover import close, recover

SOURCE, DEST = "kvm1", "kvm2"
GROUP = Pool(name="vg0", kind="logical", target="/dev/vg0")
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
    switch: Switch = Switch.GUARDED
    dirty_mib_s: float = 0.0

    @property
    def must_run(self) -> bool:
        """Whether the VM runs before and after."""
        return self.state is DomainState.RUNNING


SCENARIOS = {
    "live": Scenario(MigrationMode.LIVE, is_autostart=True),
    "live with locks": Scenario(MigrationMode.LIVE, switch=Switch.LIBVIRT, is_autostart=True),
    "live with changes": Scenario(MigrationMode.LIVE, title="on the other side"),
    "non-live": Scenario(MigrationMode.NON_LIVE, is_autostart=True),
    "paused": Scenario(MigrationMode.LIVE, state=DomainState.PAUSED),
    "suspended on the way": Scenario(MigrationMode.LIVE, policy=PolicyName.SUSPEND_IF_NEEDED, dirty_mib_s=400),
    "post-copy": Scenario(
        MigrationMode.LIVE, policy=PolicyName.POST_COPY, switch=Switch.POSTCOPY, dirty_mib_s=400, is_autostart=True
    ),
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

    def __init__(self, scenario: Scenario, journal: Path | Journal | None = None) -> None:
        number = next(_numbers)
        self.scenario = scenario
        self.vm, self.run = f"web{number}", f"20250101-000000-{number:08x}"
        self.fleet = SimulatedFleet.of(SOURCE, DEST)
        local = [f"{LOCAL}/{self.vm}-{n}.qcow2" for n in range(scenario.files)]
        mirrored = [f"{LOCAL}/{self.vm}-{n}.raw" for n in range(scenario.disks)]
        if scenario.switch is Switch.LIBVIRT:
            self.fleet.hosts[SOURCE].locate(f"{SHARED}/x")[0].has_locks = True
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
        self._opened = journal or memory_journal()
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

    def make_plan(self, files: Sequence[Any] = (), mirrored: Sequence[str] = (), **given: Any) -> MigrationPlan:
        """Plan the move without preflight."""
        usual = {"run": self.run, "source": SOURCE, "dest": DEST, "files": files, "mirrored": mirrored}
        return plan_move(self.fleet, self.scenario, self.vm, self.uuid, **{**usual, **given})

    def process(self) -> World:
        """Start a vmferry process with adapters of its own; those before it are dead."""
        journal = self._opened
        if isinstance(journal, Path):
            journal = SqlJournal(f"sqlite:///{journal}", owner=f"process-{next(_numbers)}", is_alive=lambda _: False)
        self.journal: Journal = journal  # as it is; the world's own one is behind the gate
        self.world = self.fleet.world(journal=journal)
        return self.world

    def go_on_with(self, journal: Journal) -> None:
        """Start a process with what a journal was at some moment."""
        self._opened, self.outcome = journal, None
        self.process()

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
        for record in self.world.journal.unsettled():
            if record.run == self.run and self.world.journal.take_over(record.run):
                self.outcome = recover(record.run, self.world)

    # asking

    def unsettled(self) -> tuple[RunRecord, ...]:
        """Return the runs that are open or held."""
        return tuple(record for record in self.journal.unsettled() if record.run == self.run)

    def record(self) -> RunRecord | None:
        """Return the run; None when it was never opened."""
        try:
            return self.journal.find(self.run)
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


def plan_move(
    fleet: SimulatedFleet,
    scenario: Scenario,
    vm: str,
    uuid: UUID,
    *,
    run: str,
    source: str,
    dest: str,
    files: Sequence[Any] = (),
    mirrored: Sequence[str] = (),
    **given: Any,
) -> MigrationPlan:
    """Plan a move without preflight; files are copied to where they are at the source."""
    entry = fleet.inventory.find(dest)
    assert entry is not None
    size: dict[str, Any] = {"size_bytes": 10 << 30, "allocated_bytes": 1 << 30}
    copies = [one if isinstance(one, FileCopy) else FileCopy(source_path=one, dest_path=one, **size) for one in files]
    disks = [LiveDisk(target=f"vd{n}", source_path=path, dest_path=path, **size) for n, path in enumerate(mirrored)]
    fields: dict[str, Any] = {
        "run": run,
        "vm": vm,
        "uuid": uuid,
        "source": source,
        "dest": dest,
        "mode": scenario.mode,
        "mode_reason": "asked for",
        "state_before": scenario.state,
        "is_persistent": scenario.is_persistent,
        "is_autostart": scenario.is_autostart,
        "memory_kib": 1 << 20,
        "reserved_kib": 0,
        "changes": DomainChanges(title=scenario.title),
        "files": tuple(copies),
        "disks": tuple(disks),
        "encryption": Encryption.NONE if disks else entry.encryption,
        "peer_uri": entry.peer_uri,
        "migration_uri": f"tcp://{entry.migration_address}",
        "policy": scenario.policy,
        "switch": scenario.switch,
        "deadline_s": 270.0,
    }
    return MigrationPlan(**{**fields, **given})


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
