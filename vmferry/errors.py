"""Errors, sorted by what may be done next (docs/decisions/0003)."""

from __future__ import annotations


class VmferryError(Exception):
    """Base of every error that vmferry raises on purpose.

    The message says who, what, the numbers with units, and the next command.
    `vm` and `host` have defaults because Prefect pickles exceptions between processes.
    """

    def __init__(self, message: str, *, vm: str | None = None, host: str | None = None) -> None:
        super().__init__(message)
        self.vm = vm
        self.host = host


class TransientError(VmferryError):
    """Nothing changed, or the step is repeatable: trying again is allowed."""


class PermanentError(VmferryError):
    """The world is known and trying again gives the same: undo, report, next VM."""


class UnsafeError(VmferryError):
    """The world is unknown, or two copies may run: nothing automatic may happen."""


class HostUnreachable(TransientError):
    """A host did not answer in time."""


class HostBusy(TransientError):
    """A host answered that another operation holds the VM; nothing changed."""


class InvalidInput(PermanentError):
    """A request or a file is wrong; `problems` holds every problem found, not only the first."""

    def __init__(
        self, message: str, *, problems: tuple[str, ...] = (), vm: str | None = None, host: str | None = None
    ) -> None:
        super().__init__(message, vm=vm, host=host)
        self.problems = problems or (message,)


class InventoryError(InvalidInput):
    """The inventory file is missing or wrong."""


class NotFound(PermanentError):
    """A VM, host, file or run does not exist."""


class ProgramMissing(PermanentError):
    """A host does not have a program; nothing was done."""


class PreflightBlocked(InvalidInput):
    """Preflight found blockers; nothing was touched."""


class Frozen(PermanentError):
    """Somebody has frozen the fleet: no move starts."""


class NotAgreed(PermanentError):
    """Nobody said in time that it may go on; nothing further was done."""


class AlreadyMoving(PermanentError):
    """An open run holds this VM."""


class CopyFailed(PermanentError):
    """A disk copy failed or did not verify; the source image is unchanged."""


class MoveFailed(PermanentError):
    """The move ended and the VM is where it was."""


class LeftBehind(PermanentError):
    """A run ended with VMs that were not moved or that wait for a human."""


class OutcomeUnknown(UnsafeError):
    """The answer to a write was lost: both hosts must be looked at."""


class Held(UnsafeError):
    """A run waits for a human; the message names the exact commands."""
