"""Share VM images over NFS (reference 9.4): read → plan → journaled steps → proof; any failure is taken back."""

from __future__ import annotations

from prefect import flow

from tasks import _wiring
from tasks.events import telling
from tasks.nfs import (
    boot_vm,
    claim_share,
    do_steps,
    give_up,
    mark_shared,
    plan_sharing,
    prove_by_move,
    prove_shared,
    publish_share,
    settle_dead,
)
from tasks.report import label_run
from tasks.window import in_thread
from vmferry.model.sharing import IMAGES, SHARED_IMAGES, NfsVersion, ShareOutcome, SharePlan, ShareRequest, ShareState


@flow(name="share-storage", flow_run_name="{server} shares images with {source} and {dest}", validate_parameters=True)
def share_storage(
    server: str,
    source: str,
    dest: str,
    vms: list[str] | None = None,
    directory: str = SHARED_IMAGES,
    mount_at: str = IMAGES,
    nfs: NfsVersion = NfsVersion.V3,
    firewall_is_open: bool = False,
    boot: bool = True,
    prove: bool = True,
    dry_run: bool = False,
    inventory: str | None = None,
) -> ShareOutcome:
    """Make a directory of one host the image storage of two others, with the images of VMs that are shut down.

    Args:
        server: Host that provides the storage; best one that is neither source nor destination.
        source: Host where the VMs are.
        dest: The other host that mounts it.
        vms: VMs, shut down, whose images go there.
        directory: The directory on the server.
        mount_at: Where both hosts mount it.
        nfs: Version 3 is mounted without NFS locks (reference 9.4); 4.2 cannot be told not to lock.
        firewall_is_open: The ports are open, where the server's firewall is not firewalld.
        boot: Start the VMs on the source, and see that they run.
        prove: Move one of them live to the destination.
        dry_run: Return the plan; nothing is touched.
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    request = ShareRequest(
        server=server,
        source=source,
        dest=dest,
        vms=tuple(vms or ()),
        directory=directory,
        mount_at=mount_at,
        nfs=nfs,
        firewall_is_open=firewall_is_open,
        boot=boot,
        prove=prove,
    )
    with _wiring.wired(inventory), telling():
        label_run(*(f"host:{host}" for host in request.hosts), *(f"vm:{vm}" for vm in request.vms))
        if not dry_run:
            settle_dead(request)
        plan = plan_sharing(request)
        if dry_run:
            return ShareOutcome(plan=plan, state=ShareState.OPEN, changed=False, notes=plan.notes)
        outcome = in_thread(_share, plan)
        publish_share(outcome)
        return outcome


def _share(wanted: SharePlan) -> ShareOutcome:
    """Do the steps and prove them; the first start of a VM is the pivot: before it everything is taken back."""
    plan, first = claim_share(wanted)
    booted = tuple(dict.fromkeys(image.vm for image in wanted.images)) if wanted.request.boot else ()
    try:
        do_steps(plan, first)
        prove_shared(plan.share)
        for vm in booted:
            boot_vm(plan.share, vm)
    except Exception as error:
        give_up(plan, first, error)
    mark_shared(plan.share)
    moved = prove_by_move(plan, booted[0]) if booted and wanted.request.prove else ""
    changed = bool(wanted.steps)
    return ShareOutcome(
        plan=wanted, state=ShareState.SHARED, changed=changed, booted=booted, moved=moved, notes=wanted.notes
    )
