"""Wait for a person: at the terminal, or until the paused flow run is resumed (UI, `prefect flow-run resume`)."""

from __future__ import annotations

import os
import select
import sys

from prefect import runtime
from prefect.artifacts import create_markdown_artifact
from prefect.exceptions import FlowPauseTimeout

from tasks.pausing import pause
from vmferry.errors import NotAgreed
from vmferry.model.returning import ReturnReport
from vmferry.reporting.returning import markdown_return


def agreed(plan: ReturnReport, minutes: float) -> None:
    """Show the plan and wait until somebody says yes; raises NotAgreed without an answer in time."""
    text = f"{markdown_return(plan)}\n\nTo go on, resume this flow run; without an answer nothing moves.\n"
    create_markdown_artifact(text, key="return-plan", description=plan.headline)
    moves = ", ".join(f"{move.vm} from {move.source}" for move in plan.planned)
    await_person(f"return to {plan.host}: {moves or 'nobody'}", minutes)


def await_person(what: str, minutes: float) -> None:
    """Wait until somebody says that it may go on; raises NotAgreed when nobody does in time."""
    if is_at_terminal():
        if not _is_answered(what, minutes):
            raise _nobody(what, minutes)
        return
    try:
        pause(None, round(minutes * 60))
    except FlowPauseTimeout as error:
        raise _nobody(what, minutes) from error


def is_at_terminal() -> bool:
    """Whether a person has typed the command that this process is; what a worker has started has none."""
    return "PREFECT__FLOW_RUN_ID" not in os.environ and sys.stdin is not None and sys.stdin.isatty()


def ask_line(question: str, seconds: float) -> str | None:
    """Ask at the terminal; return the line without its end, None when there is none in time or the input is closed."""
    print(question, end="", file=sys.stderr, flush=True)
    ready, _, _ = select.select([sys.stdin], [], [], max(0.0, seconds))
    line = sys.stdin.readline() if ready else ""
    return line.rstrip("\n") if line else None


def _is_answered(what: str, minutes: float) -> bool:
    """Ask at the terminal; an empty line is a yes, anything else is none."""
    return ask_line(f"{what}\nEnter to go on, anything else to stop ({minutes:g} min): ", minutes * 60) == ""


def _nobody(what: str, minutes: float) -> NotAgreed:
    return NotAgreed(
        f"{what}: nobody has said within {minutes:g} min that it may go on (flow run {runtime.flow_run.id}); nothing "
        "further was done; start it again when somebody is there"
    )
