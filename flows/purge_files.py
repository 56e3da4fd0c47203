"""Remove what moves left aside: read → judge → look once more → remove, one file after the other."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from pydantic import Field

from tasks import _wiring
from tasks._inputs import unsearched
from tasks.events import telling
from tasks.purge import judge_left, must_be_whole, publish_purge, remove_all
from tasks.report import label_run
from vmferry.model.purge import PurgeReport


@flow(name="purge-files", flow_run_name="purge files", validate_parameters=True)
def purge_files(
    hosts: list[str] | None = None,
    older_than_days: Annotated[float, Field(ge=0, le=36500)] | None = None,
    dry_run: bool = True,
    inventory: str | None = None,
) -> PurgeReport:
    """Remove old images that moves set aside, once the VM and its copy are proved to be at the new place.

    Whatever is in doubt is kept, with the reason. All hosts are read, whichever are purged.

    Args:
        hosts: Hosts of the inventory whose files may go; all when empty.
        older_than_days: Only what runs left that ended so long ago; VMFERRY_PURGE_AFTER_DAYS (7) when empty.
        dry_run: Judge only; nothing is removed. Switch it off to remove.
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    with _wiring.wired(inventory), telling():
        label_run(*(f"host:{host}" for host in hosts or ()))
        report = judge_left(tuple(hosts or ()), older_than_days)
        if not dry_run:
            report = remove_all(report)
        publish_purge(unsearched(report))
    return must_be_whole(report)
