"""A small fleet with VMs of every kind, two installations of vmferry, and what must always hold of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from uuid import UUID

from tests.unit.steps.ledger import Ledger
from tests.unit.steps.voyage import SCENARIOS, Scenario, plan_move
from vmferry.adapters.simulated import LOCAL, Blow, Fault, Harm, Operation, SimulatedCrash, SimulatedFleet
from vmferry.adapters.simulated.faults import Gate
from vmferry.errors import VmferryError
from vmferry.model.journal import RunState
from vmferry.model.migration import MigrationMode, MigrationOutcome, OutcomeKind
from vmferry.model.purge import Fate
from vmferry.model.vm import DomainState
from vmferry.ports import World
from vmferry.steps.forward import run_step
from vmferry.steps.names import StepName
from vmferry.steps.purge import list_left, remove_left
from vmferry.steps.recover import close, recover

HOSTS = ("kvm1", "kvm2", "kvm3")
FLIGHT_S = 120
KINDS = ("live", "non-live", "paused", "suspended on the way", "post-copy", "with local disks", "transient", "offline")
HUMAN = "a human"


@dataclass
class Vm:
    """One VM as its owner knows it."""

    name: str
    uuid: UUID
    scenario: Scenario
    files: tuple[str, ...]
    wants_to_run: bool
    is_excused: bool = False  # a fault or a human has stopped it


class MeddlingGate(Gate):
    """A gate at which somebody else may come in between, before the nth call from now."""

    def __init__(self, fleet: SimulatedFleet) -> None:
        super().__init__(fleet.now, fleet._strike)
        self._due: tuple[int, Callable[[], None]] | None = None

    def meddle(self, nth: int, act: Callable[[], None]) -> None:
        self._due = (nth, act)

    def forget(self) -> None:
        self._due = None

    def enter(self, operation: Operation) -> Blow | None:
        if self._due is not None:
            nth, act = self._due
            self._due = (nth - 1, act) if nth > 1 else None
            if nth <= 1:
                act()
        return super().enter(operation)


@dataclass
class Installation:
    """A vmferry with a journal of its own; each command is a new process."""

    fleet: SimulatedFleet
    name: str
    journal: Ledger = field(default_factory=Ledger)
    last: dict[str, MigrationOutcome] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=count)

    def world(self) -> World:
        return self.fleet.world(journal=self.journal)

    def move(self, vm: Vm, source: str, dest: str, stop_after: StepName | None = None) -> None:
        """Move a VM as `tasks.one_vm` does; what fails is settled, and so is what was cancelled after a step."""
        seen, world = self.fleet.domain(source, vm.uuid), self.world()
        if seen is None:
            return
        scenario = fitting(vm.scenario, seen.state, is_persistent=seen.persistent_xml is not None)
        run = f"20250101-0000{next(self.numbers):02d}-{self.name}"
        is_offline = scenario.mode is MigrationMode.OFFLINE
        disks = {"files": vm.files if is_offline else (), "mirrored": () if is_offline else vm.files}
        plan = plan_move(self.fleet, scenario, vm.name, vm.uuid, run=run, source=source, dest=dest, **disks)
        try:
            world.journal.open_run(plan)
        except VmferryError:
            return
        try:
            for step in StepName:
                run_step(run, step, world)
                if step is stop_after:
                    self.last[run] = recover(run, world, cause="cancelled")
                    return
            self.last[run] = close(world.journal.find(run), world, OutcomeKind.MOVED)
        except VmferryError as error:
            self.last[run] = recover(run, world, cause=str(error))

    def recover(self) -> None:
        """Do what `vmferry recover` does."""
        world = self.world()
        for record in world.journal.unsettled():
            if world.journal.take_over(record.run):
                self.last[record.run] = recover(record.run, world)

    def purge(self) -> None:
        """Do what `vmferry purge --remove` does."""
        world = self.world()
        for file in list_left(world, (), 0.0).files:
            if file.fate is Fate.REMOVABLE:
                remove_left(file, world)

    def held(self, vm: Vm) -> bool:
        return any(record.plan.uuid == vm.uuid for record in self.journal.unsettled())


def fitting(scenario: Scenario, state: DomainState, *, is_persistent: bool) -> Scenario:
    """Return how a VM is moved that stands so now: whoever plans sees what is there."""
    mode = scenario.mode if state is not DomainState.SHUTOFF else MigrationMode.OFFLINE
    if state is not DomainState.SHUTOFF and mode is MigrationMode.OFFLINE:
        mode = MigrationMode.LIVE
    return replace(scenario, mode=mode, state=state, is_persistent=is_persistent)


class Seas:
    """The fleet, its VMs, and what must always hold."""

    def __init__(self) -> None:
        self.fleet = SimulatedFleet.of(*HOSTS)
        self.fleet.gate = self.gate = MeddlingGate(self.fleet)
        self.vms = [self._launch(number, kind) for number, kind in enumerate(KINDS)]
        self.foreign = {(host, f"{LOCAL}/{name}"): name.encode() for host in HOSTS for name in ("iso", "vm9.qcow2")}
        for (host, path), content in self.foreign.items():
            self.fleet.add_file(host, path, content)
        self.ours = [Installation(self.fleet, "a"), Installation(self.fleet, "b")]
        self._seen = 0

    def _launch(self, number: int, kind: str) -> Vm:
        scenario, host = SCENARIOS[kind], HOSTS[number % len(HOSTS)]
        name = f"vm{number}"
        files = tuple(f"{LOCAL}/{name}-{n}.img" for n in range(scenario.files + scenario.disks))
        uuid = self.fleet.add_vm(
            host,
            name,
            disks=files or None,
            state=scenario.state,
            is_persistent=scenario.is_persistent,
            is_autostart=scenario.is_autostart,
            dirty_mib_s=scenario.dirty_mib_s,
            working_set_mib=512,
        )
        return Vm(name, uuid, scenario, files, wants_to_run=scenario.must_run)

    def as_process(self, act: Callable[[], None]) -> None:
        """Run a command of vmferry: it may fail, and it may be killed."""
        try:
            act()
        except (VmferryError, SimulatedCrash):
            pass
        finally:
            self.gate.forget()

    def as_human(self, act: Callable[[], None]) -> None:
        """Let somebody type a virsh command; libvirt may refuse it."""
        try:
            with self.fleet.watch.blaming(HUMAN):
                act()
        except VmferryError:
            pass

    def hosts_of(self, vm: Vm) -> Sequence[str]:
        return tuple(host for host in HOSTS if self.fleet.domain(host, vm.uuid) is not None)

    def is_busy(self, vm: Vm) -> bool:
        """Whether a move of the VM is in flight or a run of it is not settled."""
        return any(self.fleet.flight_of(vm.uuid, host) for host in HOSTS) or any(one.held(vm) for one in self.ours)

    def arm(self, fault: Fault | None) -> None:
        self.gate.disarm()
        if fault is not None:
            self.fleet.inject(fault)

    # what must hold

    def wrongs(self) -> list[str]:
        """Return what must never be, at any moment."""
        incidents = self.fleet.watch.incidents
        new, self._seen = incidents[self._seen :], len(incidents)
        for vm in self.vms:
            if any(p.harm is Harm.STOPPED and p.cause and p.subject == str(vm.uuid) for p in new):
                vm.is_excused = True
            if self.fleet.running_on(vm.uuid):
                vm.is_excused = False
        broken = [p.words() for p in new if not p.cause or p.harm is Harm.DOUBLE_RUN]
        for (host, path), content in self.foreign.items():
            file = self.fleet.hosts[host].file(path)
            if file is None or file.content != content:
                broken.append(f"{host}:{path} is somebody else's, and not as it was")
        return broken

    def repair(self) -> list[str]:
        """Repair everything, recover in both installations; return what then is not as promised."""
        self.arm(None)
        self.fleet.advance(FLIGHT_S)
        self.fleet.heal()
        for installation in self.ours:
            installation.recover()
        broken = self.wrongs()
        for installation in self.ours:
            broken += self._unsettled(installation)
        for vm in self.vms:
            running, is_held = self.fleet.running_on(vm.uuid), any(one.held(vm) for one in self.ours)
            if vm.wants_to_run and not vm.is_excused and not is_held and len(running) != 1:
                states = {host: self.fleet.domain(host, vm.uuid) for host in self.hosts_of(vm)}
                broken.append(f"{vm.name} ran, and now: { {h: (d.state, d.reason) for h, d in states.items() if d} }")
        return broken

    def _unsettled(self, installation: Installation) -> list[str]:
        found = []
        for record in installation.journal.unsettled():
            outcome = installation.last.get(record.run)
            if record.state is RunState.OPEN:
                found.append(f"run {record.run} is open")
            elif outcome is None or "vmferry recover" not in outcome.next_commands:
                found.append(f"run {record.run} is held without commands")
        return found
