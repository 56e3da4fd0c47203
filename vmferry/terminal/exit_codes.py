"""How a command ends: one table for help, documentation and code."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

from vmferry.errors import (
    CopyFailed,
    LeftBehind,
    MoveFailed,
    UnsafeError,
    VmferryError,
)
from vmferry.model.evacuation import EvacuationReport
from vmferry.model.migration import MigrationOutcome, OutcomeKind

if TYPE_CHECKING:
    from vmferry.model.audit import FleetAudit


class ExitCode(IntEnum):
    """The process's exit status."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    REFUSED = 3
    LEFT_BEHIND = 4
    HELD = 5
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.DONE: "done",
    ExitCode.UNEXPECTED: "unexpected error; VMFERRY_DEBUG=1 shows the traceback",
    ExitCode.USAGE: "wrong usage of the command line",
    ExitCode.REFUSED: "invalid input, blocked by preflight, or a host does not answer: nothing was touched",
    ExitCode.LEFT_BEHIND: "something was left behind or rolled back (dry run, check, inspect: would be left behind)",
    ExitCode.HELD: "held: a human must look, the commands are shown",
    ExitCode.INTERRUPTED: "interrupted",
}

# One paragraph per line: typer joins the lines of a paragraph.
HELP = "Exit codes:\n\n" + "\n\n".join(f"{code:>5}  {text}" for code, text in MEANINGS.items())


def code_of_error(error: BaseException) -> ExitCode:
    """Sort an error by what may be done next (vmferry.errors)."""
    match error:
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED
        case UnsafeError():
            return ExitCode.HELD
        case LeftBehind() | MoveFailed() | CopyFailed():
            return ExitCode.LEFT_BEHIND
        case VmferryError():
            return ExitCode.REFUSED
    return ExitCode.UNEXPECTED


def code_of_outcomes(outcomes: Iterable[MigrationOutcome], *, is_recovery: bool = False) -> ExitCode:
    """The worst outcome decides; a recovery that rolled a run back has done its work."""
    kinds = {outcome.kind for outcome in outcomes}
    if OutcomeKind.HELD in kinds:
        return ExitCode.HELD
    if OutcomeKind.ROLLED_BACK in kinds and not is_recovery:
        return ExitCode.LEFT_BEHIND
    return ExitCode.DONE


def code_of_report(report: EvacuationReport) -> ExitCode:
    """Held before left behind before done; a dry run leaves behind what it cannot plan."""
    worst = code_of_outcomes(report.outcomes)
    if worst is ExitCode.HELD:
        return worst
    is_left = bool(report.stranded or report.not_started or (report.left and not report.is_dry_run))
    return ExitCode.LEFT_BEHIND if is_left else worst


def code_of_audit(audit: FleetAudit) -> ExitCode:
    """Alarms before hosts that were not read before VMs that can go nowhere and hosts that cannot be emptied."""
    if audit.alarms:
        return ExitCode.HELD
    if audit.movability.unread:
        return ExitCode.REFUSED
    is_stuck = audit.movability.immovable or any(emptying.stranded for emptying in audit.emptying)
    return ExitCode.LEFT_BEHIND if is_stuck else ExitCode.DONE
