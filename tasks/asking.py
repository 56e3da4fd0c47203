"""Wait for a person: a paused flow run is resumed in the Prefect UI, or by `prefect flow-run resume`."""

from __future__ import annotations

from prefect import pause_flow_run, runtime
from prefect.artifacts import create_markdown_artifact
from prefect.exceptions import FlowPauseTimeout

from vmferry.errors import NotAgreed
from vmferry.model.returning import ReturnReport
from vmferry.reporting.returning import markdown_return

_POLL_S = 2


def agreed(plan: ReturnReport, minutes: float) -> None:
    """Show the plan and wait until somebody resumes the run; raises NotAgreed without an answer in time."""
    text = f"{markdown_return(plan)}\n\nTo go on, resume this flow run; without an answer nothing moves.\n"
    create_markdown_artifact(text, key="return-plan", description=plan.headline)
    await_person(f"return of VMs to {plan.host}", minutes)


def await_person(what: str, minutes: float) -> None:
    """Pause until somebody resumes the run; raises NotAgreed when nobody does in time."""
    try:
        pause_flow_run(timeout=round(minutes * 60), poll_interval=_POLL_S)
    except FlowPauseTimeout as error:
        raise NotAgreed(
            f"{what}: nobody resumed flow run {runtime.flow_run.id} within {minutes:g} min; nothing further was done; "
            "start it again when somebody is there"
        ) from error
