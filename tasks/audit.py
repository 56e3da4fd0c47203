"""The audit's reading, judging and showing."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks._policy import ONCE, READ
from tasks._wiring import settings, world
from vmferry.errors import PermanentError, UnsafeError
from vmferry.model.audit import FleetAudit, Listing
from vmferry.model.host import FleetSnapshot
from vmferry.planning.audit import audit
from vmferry.reporting import audit_files
from vmferry.reporting.audit_markdown import markdown_audit, matrix_table
from vmferry.reporting.audit_picture import movability_svg
from vmferry.reporting.audit_words import audit_headline
from vmferry.steps import read, survey

logger = logging.getLogger("vmferry.audit")


@task(**READ, task_run_name="read whole fleet")
def read_whole_fleet() -> FleetSnapshot:
    """Read every host once, and what each sees of every other; VMs that seem to run twice are looked at again."""
    snapshot = survey.look_again(world(), read.read_fleet(world()))
    return read.read_all_pairs(world(), snapshot)


@task(**READ, task_run_name="list stored files")
def list_stored(snapshot: FleetSnapshot) -> tuple[Listing, ...]:
    """List the files below the inventory's storage directories, each shared group once."""
    return survey.list_stored(world(), snapshot)


@task(**READ, task_run_name="judge fleet")
def judge_fleet(snapshot: FleetSnapshot, files: Sequence[Listing]) -> FleetAudit:
    """Judge every move of the fleet and compare with the audit before."""
    before, notes = audit_files.load_before(settings().report_dir, snapshot.inventory.names())
    found = audit(snapshot, files, before)
    return found.model_copy(update={"notes": (*found.notes, *notes)})


@task(**ONCE, task_run_name="publish audit")
def publish_audit(found: FleetAudit) -> None:
    """Show the audit: report with picture, and the matrix as a table."""
    picture = base64.b64encode(movability_svg(found).encode()).decode()
    text = f"{markdown_audit(found)}\n![who could go where](data:image/svg+xml;base64,{picture})\n"
    create_markdown_artifact(text, key="audit-fleet", description=audit_headline(found))
    create_table_artifact(matrix_table(found), key="audit-movability", description="who could go where")


@task(**ONCE, task_run_name="save audit")
def save_audit(found: FleetAudit) -> Path | None:
    """Save what the next audit is compared with; None where that is impossible, so that an alarm is still told."""
    try:
        return audit_files.save_audit(settings().report_dir, found)
    except OSError as error:
        logger.error("the audit is not saved: %s", error)
        return None


def end_audit(found: FleetAudit, saved: Path | None) -> str:
    """Return the last line of a sound run; raises UnsafeError for alarms, PermanentError when not saved.

    Only a run that ends well removes old audits.
    """
    if found.alarms:
        raise UnsafeError("; ".join(alarm.message for alarm in found.alarms), vm=found.alarms[0].vm)
    if saved is None:
        place = audit_files.audits_dir(settings().report_dir)
        raise PermanentError(f"the audit was not saved below {place}: make it writable, or free space there")
    audit_files.remove_old(settings().report_dir)
    return audit_headline(found)
