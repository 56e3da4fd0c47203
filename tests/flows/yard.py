"""A simulated fleet with a journal on disk, and vmferry processes that come, work on it, and may die."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from tasks import _wiring
from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import LOCAL, Blow, Fault, Operation, SimulatedFleet
from vmferry.adapters.usage_store import SqlUsage
from vmferry.model.journal import Mark, Row, RunRecord
from vmferry.model.migration import OutcomeKind
from vmferry.model.vm import DomainState
from vmferry.ports import World

HOSTS = ("kvm1", "kvm2", "kvm3")


class Yard:
    """Hosts of 16 GiB that share one directory; ask it where the VMs are and what the journal says."""

    def __init__(self, journal: Path) -> None:
        self.fleet = SimulatedFleet.of(*HOSTS)
        self._url = f"sqlite:///{journal}"
        self._alive: set[str] = set()
        self.journal = SqlJournal(self._url, owner="reader", is_alive=self._is_alive)

    # building

    def add(self, name: str, host: str = "kvm1", **given: Any) -> UUID:
        """Put a running VM of 1 GiB on a host, its disk on shared storage."""
        return self.fleet.add_vm(host, name, **given)

    def add_local(self, name: str, state: DomainState = DomainState.SHUTOFF, host: str = "kvm1") -> UUID:
        """Put a VM on a host, its disk in a directory of that host alone: shut off it can be copied, running not."""
        return self.add(name, host, disks=[f"{LOCAL}/{name}.qcow2"], state=state)

    def break_at(self, does: Blow, **where: object) -> None:
        """Arm a fault."""
        self.fleet.inject(Fault.model_validate({"does": does, **where}))

    @contextmanager
    def process(self, name: str = "vmferry-1") -> Iterator[World]:
        """Work as a vmferry process; when the block is left it is dead, whatever it left behind."""
        journal = SqlJournal(self._url, owner=name, is_alive=self._is_alive)
        self._alive.add(name)
        try:
            world = self.fleet.world(journal=journal, usage=SqlUsage(journal.engine))
            with _wiring.use(world):
                yield world
        finally:
            self._alive.discard(name)
            journal.close()

    def _is_alive(self, owner: str) -> bool:
        return owner in self._alive

    # asking

    def names_on(self, host: str) -> set[str]:
        """Return the names of all domains of a host, running or not."""
        return {domain.name for domain in self.fleet.hosts[host].domains.values()}

    def state_on(self, host: str, uuid: UUID) -> DomainState:
        """Return the state of a VM on a host."""
        domain = self.fleet.domain(host, uuid)
        return DomainState.ABSENT if domain is None else domain.state

    def where(self, uuid: UUID) -> tuple[str, ...]:
        """Return the hosts that know the VM at all."""
        return tuple(name for name in HOSTS if self.fleet.domain(name, uuid) is not None)

    def calls(self, op: str) -> tuple[Operation, ...]:
        """Return what was asked of the hosts; the moments inside a move do not count."""
        return tuple(o for o in self.fleet.log if o.op == op and not o.phase)

    def writes(self) -> tuple[str, ...]:
        """Return everything that changed something, except the markers that prove shared storage and go again."""
        return tuple(o.title for o in self.fleet.log if o.is_write and not _is_marking(o))

    def files(self) -> dict[str, tuple[str, ...]]:
        """Return the paths of all files per host."""
        found = {}
        for name, host in self.fleet.hosts.items():
            found[name] = tuple(f"{m}/{f}" for m, space in sorted(host.mounts.items()) for f in sorted(space.files))
        return found

    def runs(self) -> tuple[RunRecord, ...]:
        """Return all runs of the journal, newest first."""
        return self.journal.recent(100)

    def run_of(self, vm: str) -> RunRecord:
        """Return the only run of a VM."""
        (record,) = (record for record in self.runs() if record.plan.vm == vm)
        return record

    def outcomes(self) -> dict[str, OutcomeKind | None]:
        """Return how each VM's run ended; None: it has not."""
        return {record.plan.vm: record.outcome for record in self.runs()}

    def rows(self, vm: str, step: str, mark: Mark) -> tuple[Row, ...]:
        """Return the journal's rows of one step of a VM's run."""
        return tuple(r for r in self.journal.rows(self.run_of(vm).run) if r.step == step and r.mark is mark)

    def is_sound(self) -> bool:
        """Whether no VM ever ran twice or was lost, and no file was lost, except by an injected fault."""
        assert [problem.words() for problem in self.fleet.problems()] == []
        return True


def _is_marking(operation: Operation) -> bool:
    """Whether files came or went that are named as markers are, and no others."""
    paths = operation.subject.split(",")
    return operation.op in ("make_markers", "remove_markers") and all(".vmferry-marker-" in path for path in paths)
