"""Look at the whole fleet: who could go where, what a host's loss would cost, what lies about, what changed."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks import _wiring
from tasks._inputs import unsearched
from tasks.audit import end_audit, judge_fleet, list_stored, publish_audit, read_whole_fleet, save_audit
from tasks.report import label_run
from vmferry.reporting.audit_words import finding_tags


@flow(name="audit-fleet", flow_run_name="audit fleet", validate_parameters=True)
def audit_fleet(inventory: str | None = None) -> State[Any]:
    """Tell what could be moved and what could not, without touching anything: read only, safe at any time.

    The run is Failed only when a VM runs on two hosts, or a migration left a copy that belongs to nobody. What else was
    found stands in its message and tags (`unmovable:3`, `stranded-by-loss:1`, `became-unmovable:2`), in its artifacts
    and in the report directory.

    Args:
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    with _wiring.wired(inventory):
        snapshot = read_whole_fleet()
        files = list_stored(unsearched(snapshot))
        found = judge_fleet(unsearched(snapshot), unsearched(files))
        publish_audit(unsearched(found))
        tags = finding_tags(found)
        label_run(*tags)
        headline = end_audit(found, save_audit(unsearched(found)))
    return Completed(message=headline, data=found, name="Completed" if not tags else "With findings")
