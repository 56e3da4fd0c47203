"""What an installation remembers of its operations, beside the runs of single VMs."""

from __future__ import annotations

from typing import Protocol

from vmferry.model.operation import Freeze, Home, OperationKind, SavedOperation


class OperationsMemory(Protocol):
    """Durable like the journal, and in the same database: every vmferry that shares it sees the same."""

    def freeze(self, reason: str, ticket: str = "") -> Freeze:
        """Let no move start any more; return the freeze that holds: a second one keeps the first."""
        ...

    def unfreeze(self) -> bool:
        """Let moves start again; False when nothing was frozen here."""
        ...

    def frozen(self) -> Freeze | None:
        """Return the freeze; None when moves may start."""
        ...

    def remember_home(self, home: Home) -> None:
        """Write down, or change, where a VM belongs."""
        ...

    def homes(self, host: str | None = None) -> tuple[Home, ...]:
        """Return the homes written down, or those of the VMs that belong on one host; by VM."""
        ...

    def find_home(self, uuid: str) -> Home | None:
        """Return where a VM belongs; None where nothing is written down."""
        ...

    def forget_home(self, uuid: str) -> None:
        """Forget where a VM belongs; no-op where nothing is written down."""
        ...

    def last_run(self, uuid: str) -> str | None:
        """Return the newest run of a VM in this journal; None where there is none."""
        ...

    def save_operation(self, operation: SavedOperation) -> None:
        """Write an operation down, or what has become of it."""
        ...

    def operation(self, id: str) -> SavedOperation:
        """Return an operation; raises NotFound."""
        ...

    def last_operation(self, kind: OperationKind, subject: str) -> SavedOperation | None:
        """Return the newest operation of a kind on a subject; None where there is none."""
        ...
