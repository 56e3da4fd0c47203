"""What sharing storage needs of a host and of the journal, beyond what moves need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vmferry.model.base import Model
from vmferry.model.sharing import ShareFacts, SharePlan, ShareRecord, ShareState
from vmferry.ports.world import World


class Ran(Model):
    """A program that has ended on a host."""

    exit_code: int
    complaint: str = ""  # what it said of its failure, in one line


class HostSetup(Protocol):
    """Reads and changes a host's own configuration, as root. Arguments are data, never shell text."""

    host: str

    def read_sharing(self, directory: str, mount_at: str, server_address: str) -> ShareFacts:
        """Read everything that a share depends on: one command, nothing changed."""
        ...

    def run(self, argv: Sequence[str], timeout_s: float) -> Ran:
        """Run a program to its end; raises OutcomeUnknown when the host is lost meanwhile."""
        ...

    def read_text(self, path: str) -> str | None:
        """Return a small text file; None: it is not there."""
        ...

    def swap_text(self, path: str, before: str | None, after: str | None, mode: str) -> bool:
        """Replace a file in one act if it still is `before`; False, and nothing changed, where it is not.

        Owner and mode of a file that is there stay. None: there is no file, or it is removed.
        """
        ...


class ShareJournal(Protocol):
    """Durable memory of shares; every write is on disk when the call returns."""

    def open_share(self, plan: SharePlan) -> None:
        """Open a share; raises AlreadyMoving when the same directory of the same server has one."""
        ...

    def find(self, share: str) -> ShareRecord:
        """Return a share; raises NotFound."""
        ...

    def shares(self) -> tuple[ShareRecord, ...]:
        """Return every share that is not undone, oldest first."""
        ...

    def extend(self, share: str, plan: SharePlan) -> None:
        """Replace the plan by one that has the same steps and more behind them."""
        ...

    def begin(self, share: str, step: int) -> None:
        """Write down, before a step touches the world, that it may have left something."""
        ...

    def note(self, share: str, step: int, text: str) -> None:
        """Write down what a step found out and its undo needs."""
        ...

    def notes(self, share: str, step: int) -> tuple[str, ...]:
        """Return the notes of a step."""
        ...

    def undone(self, share: str, step: int) -> None:
        """Write down that nothing of a step is left."""
        ...

    def turn(self, share: str, state: ShareState, reason: str = "") -> None:
        """Change the state of a share."""
        ...

    def take_over(self, share: str) -> bool:
        """Become the owner of a share; False when its owner lives and is somebody else."""
        ...


class ShareWorld(World, Protocol):
    """A world in which hosts may be configured."""

    @property
    def shares(self) -> ShareJournal:
        """The durable memory of shares."""
        ...

    def setup(self, host: str) -> HostSetup:
        """Return what changes a host's configuration."""
        ...
