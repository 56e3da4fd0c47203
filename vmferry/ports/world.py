"""The journal, time, and everything a step may touch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from vmferry.model.effects import Effect
from vmferry.model.host import Cordon, Inventory
from vmferry.model.journal import Mark, Row, RunRecord
from vmferry.model.migration import MigrationOutcome, MigrationPlan
from vmferry.model.probes import Probe
from vmferry.model.usage import HostCounters, Usage
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


class UsageStore(Protocol):
    """What hosts and VMs used, kept for a while; safe to use from many threads and processes."""

    def take(self, reading: HostCounters) -> int:
        """Keep what was used since the host's reading before; return how many samples were written.

        May be repeated: 0 where the reading before is only seconds old, or another process has kept the same span.
        """
        ...

    def read(self, spans: Sequence[tuple[int, int]], keys: Sequence[str] | None = None) -> tuple[Usage, ...]:
        """Return all hosts and VMs, or those of these keys, with their samples that touch one of the spans (from, to).

        Sorted by kind, name and key, samples by time. A subject without samples there is left out.
        """
        ...

    def tidy(self, now_s: int, *, keep_days: float) -> int:
        """Join old samples to hours, and remove those that are too old; return how many were joined or removed."""
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
    def usage(self) -> UsageStore:
        """What hosts and VMs used."""
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
