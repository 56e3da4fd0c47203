"""What people read in the Prefect UI when something is planned or over: tables, the report with its picture."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import httpx
from prefect import get_client, runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.exceptions import PrefectException

from tasks._policy import ONCE
from tasks._wiring import settings
from vmferry.model.evacuation import EvacuationPlan, EvacuationReport
from vmferry.model.migration import MigrationOutcome
from vmferry.model.returning import ReturnReport
from vmferry.model.roll import RollReport
from vmferry.reporting.files import write_report
from vmferry.reporting.markdown import markdown_outcome, markdown_plan, markdown_report
from vmferry.reporting.returning import markdown_return
from vmferry.reporting.rolling import markdown_roll
from vmferry.reporting.timeline import timeline_svg

logger = logging.getLogger("vmferry.report")


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
    create_markdown_artifact(
        markdown_plan(plan), key=artifact_key("plan", plan.host), description=f"plan: empty {plan.host}"
    )


@task(**ONCE, task_run_name="publish outcome of {outcome.vm}")
def publish_outcome(outcome: MigrationOutcome) -> None:
    """Show how one VM's run ended."""
    create_markdown_artifact(
        markdown_outcome(outcome), key=artifact_key("move", outcome.vm), description=f"{outcome.vm}: {outcome.kind}"
    )


@task(**ONCE, task_run_name="publish report")
def publish_report(report: EvacuationReport, plan: EvacuationPlan) -> Path:
    """Show and save the report; return the path of its markdown file."""
    picture = base64.b64encode(timeline_svg(report).encode()).decode()
    text = f"{markdown_report(report, plan)}\n\n![timeline](data:image/svg+xml;base64,{picture})\n"
    create_markdown_artifact(
        text, key=artifact_key("evacuation", report.host), description=f"evacuation of {report.host}"
    )
    return write_report(settings().report_dir, report, plan)


@task(**ONCE, task_run_name="publish return to {report.host}")
def publish_return(report: ReturnReport) -> None:
    """Show who came home, and who did not and why."""
    create_markdown_artifact(
        markdown_return(report), key=artifact_key("return", report.host), description=report.headline
    )


@task(**ONCE, task_run_name="publish roll")
def publish_roll(report: RollReport) -> None:
    """Show how far each host has come."""
    create_markdown_artifact(markdown_roll(report), key="roll-hosts", description=report.headline[:200])


def artifact_key(kind: str, name: str) -> str:
    """Return an artifact key: lower case letters, digits and dashes only."""
    clean = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return f"{kind}-{clean}"
