"""The journal, time, and everything a step may touch."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from vmferry.model.effects import Effect
from vmferry.model.host import Cordon, Inventory
from vmferry.model.journal import Mark, Row, RunRecord
from vmferry.model.migration import MigrationOutcome, MigrationPlan
from vmferry.model.probes import Probe
from vmferry.ports.hypervisor import Hypervisor
from vmferry.ports.operations import OperationsMemory
from vmferry.ports.tools import HostTools


class Journal(OperationsMemory, Protocol):
    """Durable memory of runs and cordons; every write is on disk when the call returns."""

    @property
    def owner(self) -> str:
        """This process, as `user@host:pid:start`."""
        ...

    def is_dead(self, owner: str) -> bool:
        """Whether an owner was a process of this machine and has ended; of others nobody here can tell."""
        ...

    def open_run(self, plan: MigrationPlan) -> None:
        """Open a run; raises AlreadyMoving when the VM has one that is not closed."""
        ...

    def write(self, run: str, step: str, mark: Mark, effect: Effect | None = None, note: str = "") -> None:
        """Append a row; raises UnsafeError when it cannot be written, or another process has taken the run over."""
        ...

    def rows(self, run: str) -> tuple[Row, ...]:
        """Return the rows of a run in the order of writing."""
        ...

    def find(self, run: str) -> RunRecord:
        """Return a run; raises NotFound."""
        ...

    def unsettled(self) -> tuple[RunRecord, ...]:
        """Return all runs that are open or held, oldest first."""
        ...

    def recent(self, limit: int) -> tuple[RunRecord, ...]:
        """Return the newest runs, newest first."""
        ...

    def take_over(self, run: str, *, lost_owner: str = "") -> bool:
        """Become the owner of an unsettled run whose owner is dead; False when its owner lives.

        Of a process on another machine nobody here can tell: `lost_owner` is one whose lease the caller has seen end.
        """
        ...

    def hold(self, run: str, reason: str) -> None:
        """Mark a run as waiting for a human."""
        ...

    def close_run(self, run: str, outcome: MigrationOutcome) -> None:
        """Close a run with its outcome."""
        ...

    def cordon(self, host: str, reason: str, ticket: str = "") -> None:
        """Close a host for arrivals; a second cordon of the same host keeps the first."""
        ...

    def uncordon(self, host: str) -> bool:
        """Open it again; False when it was not cordoned."""
        ...

    def cordons(self) -> tuple[Cordon, ...]:
        """Return the cordoned hosts."""
        ...


class Clock(Protocol):
    """Time, so that tests need not wait."""

    def now(self) -> datetime:
        """Return the present, UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class World(Protocol):
    """Everything a step may touch."""

    @property
    def inventory(self) -> Inventory:
        """The hosts that may be touched."""
        ...

    @property
    def journal(self) -> Journal:
        """The durable memory of runs."""
        ...

    @property
    def clock(self) -> Clock:
        """Time."""
        ...

    def hypervisor(self, host: str) -> Hypervisor:
        """Return the host's libvirt; connections are opened late and reused."""
        ...

    def tools(self, host: str) -> HostTools:
        """Return the host's ssh tools."""
        ...

    def ask_guest(self, probe: Probe) -> str:
        """Ask a guest over the network; return what is wrong, empty when it answers. Never raises."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...
