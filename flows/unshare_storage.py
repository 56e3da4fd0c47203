"""Take a share of storage back: unmount, bring the images home, restore every file; the way back of share-storage."""

from __future__ import annotations

from prefect import flow

from tasks import _wiring
from tasks.events import telling
from tasks.nfs import bring_home, end_share, find_homes, find_share, is_used, publish_share, undo_share, unmount_share
from tasks.report import label_run
from tasks.window import in_thread
from vmferry.model.sharing import ShareOutcome, ShareRecord


@flow(name="unshare-storage", flow_run_name="unshare {place}", validate_parameters=True)
def unshare_storage(place: str, dry_run: bool = False, inventory: str | None = None) -> ShareOutcome:
    """End a share: the images go to the hosts whose VMs use them, the hosts' files are as they were before.

    A share that failed half way or is held is taken back the same way; may be repeated.

    Args:
        place: server:directory, as kvm3:/var/lib/libvirt/shared-images.
        dry_run: Judge only; nothing is touched.
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    with _wiring.wired(inventory), telling():
        record = find_share(place)
        label_run(*(f"host:{host}" for host in record.plan.request.hosts))
        if dry_run:
            if is_used(record):
                find_homes(record)
            return ShareOutcome(plan=record.plan, state=record.state, changed=False)
        outcome = in_thread(_unshare, record)
        publish_share(outcome)
        return outcome


def _unshare(record: ShareRecord) -> ShareOutcome:
    """A share that is in use is unmounted on both hosts first, and stays shared when an image cannot come home."""
    kept: tuple[str, ...] = ()
    if is_used(record):
        images = find_homes(record)
        unmount_share(record.plan.share)
        kept = bring_home(record.plan.share, images)
    problems = undo_share(record.plan.share)
    return end_share(record.plan, problems, kept)
