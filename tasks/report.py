"""What people read in the Prefect UI: progress, tables, the report with its picture."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx
from prefect import get_client, runtime, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from tasks._policy import ONCE
from tasks._wiring import settings
from vmferry.model.evacuation import EvacuationPlan, EvacuationReport
from vmferry.model.migration import MigrationOutcome
from vmferry.progress import Event, MoveEnded, MoveProgress, MoveStarted, listening
from vmferry.reporting.files import write_report
from vmferry.reporting.markdown import markdown_outcome, markdown_plan, markdown_report
from vmferry.reporting.timeline import timeline_svg

logger = logging.getLogger("vmferry.report")

_UPDATE_EVERY_S = 2.0


class ProgressArtifacts:
    """Keeps one progress artifact per VM and one for the whole operation; called by one thread."""

    def __init__(self, what: str, moves: int | None = None) -> None:
        self._total = max(1, moves or 0)
        self._ended = 0
        self._whole = _create(0.0, f"{what}: VMs moved") if moves is not None else None
        self._per_vm: dict[str, UUID] = {}
        self._last: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Take one event; a lost update is followed by the next."""
        match event:
            case MoveStarted():
                plan = event.plan
                self._per_vm[plan.run] = _create(0.0, f"{plan.vm}: {plan.source} → {plan.dest} ({plan.mode})")
            case MoveProgress():
                self._update(event.run, event.stats.percent)
            case MoveEnded():
                self._ended += 1
                self._update(event.outcome.run, 100.0, is_final=True)
                if self._whole is not None:
                    update_progress_artifact(self._whole, min(100.0, 100.0 * self._ended / self._total))
            case _:
                return

    def _update(self, run: str, percent: float, *, is_final: bool = False) -> None:
        now = time.monotonic()
        artifact = self._per_vm.get(run)
        if artifact is None or (not is_final and now - self._last.get(run, 0.0) < _UPDATE_EVERY_S):
            return
        self._last[run] = now
        update_progress_artifact(artifact, percent)


def _create(percent: float, description: str) -> UUID:
    created = create_progress_artifact(percent, description=description)
    assert isinstance(created, UUID)
    return created


@contextmanager
def progress_artifacts(what: str, moves: int | None = None) -> Iterator[None]:
    """Show the block's moves as progress artifacts of the flow run; with `moves`, one for all of them too."""
    with listening(ProgressArtifacts(what, moves)):
        yield


def label_run(*tags: str, name: str | None = None) -> None:
    """Give the flow run the tags, and the name, that are known only after reading; a label is not worth a run."""
    run = runtime.flow_run.id
    try:
        with get_client(sync_client=True) as client:
            known = client.read_flow_run(run).tags
            client.update_flow_run(run, name=name, tags=[*known, *(tag for tag in tags if tag not in known)])
    except (PrefectException, httpx.HTTPError) as error:
        logger.warning("the flow run was not labelled: %s", error)


@task(**ONCE, task_run_name="publish plan")
def publish_plan(plan: EvacuationPlan) -> None:
    """Show who goes where, and why."""
    create_markdown_artifact(markdown_plan(plan), key=_key("plan", plan.host), description=f"plan: empty {plan.host}")


@task(**ONCE, task_run_name="publish outcome of {outcome.vm}")
def publish_outcome(outcome: MigrationOutcome) -> None:
    """Show how one VM's run ended."""
    create_markdown_artifact(
        markdown_outcome(outcome), key=_key("move", outcome.vm), description=f"{outcome.vm}: {outcome.kind}"
    )


@task(**ONCE, task_run_name="publish report")
def publish_report(report: EvacuationReport, plan: EvacuationPlan) -> Path:
    """Show and save the report; return the path of its markdown file."""
    picture = base64.b64encode(timeline_svg(report).encode()).decode()
    text = f"{markdown_report(report, plan)}\n\n![timeline](data:image/svg+xml;base64,{picture})\n"
    create_markdown_artifact(text, key=_key("evacuation", report.host), description=f"evacuation of {report.host}")
    return write_report(settings().report_dir, report, plan)


def _key(kind: str, name: str) -> str:
    """Return an artifact key: lower case letters, digits and dashes only."""
    clean = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return f"{kind}-{clean}"
