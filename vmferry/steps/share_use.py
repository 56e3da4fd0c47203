"""The use of shared storage: VMs that are started from it, and what that means for the way back."""

from __future__ import annotations

from vmferry.errors import PermanentError
from vmferry.model.sharing import ShareRecord, ShareState, ShareUse, StepKind
from vmferry.model.vm import DomainState
from vmferry.ports.sharing import ShareWorld

# The journal's number of what uses the storage, and its notes.
USE_STEP = -2
_FROM, _BOOT, _USED, _BACK = "from ", "boot ", "used", "back"
BOOT_WATCH_S = 15.0  # a VM that cannot read its disk stops, or is paused, within seconds
_LOOK_EVERY_S = 1.0


def boot_vm(share: str, name: str, world: ShareWorld) -> None:
    """Start a VM on the source from the shared image, and see that it goes on running (reference 9.4).

    A VM that runs there already has booted. Raises PermanentError when it does not start or does not stay up.
    """
    plan = world.shares.find(share).plan
    source, uuid_ = plan.request.source, next(image.uuid for image in plan.images if image.vm == name)
    hypervisor = world.hypervisor(source)
    if not hypervisor.look(uuid_).state.is_active:
        world.shares.note(share, USE_STEP, f"{_BOOT}{uuid_}")
        ran = world.setup(source).run(["virsh", "-q", "-c", "qemu:///system", "start", name], 120)
        if ran.exit_code != 0:
            raise PermanentError(f"vm {name}: does not start from the shared image: {ran.complaint}", vm=name)
    waited = 0.0
    while waited < BOOT_WATCH_S:
        world.clock.sleep(_LOOK_EVERY_S)
        waited += _LOOK_EVERY_S
        seen = hypervisor.look(uuid_)
        if seen.is_reachable and seen.state not in (DomainState.RUNNING, DomainState.BLOCKED):
            raise PermanentError(
                f"vm {name}: is {seen.words()} {waited:.0f} s after its start from the shared image; see "
                f"/var/log/libvirt/qemu/{name}.log on {source}",
                vm=name,
                host=source,
            )


def end_boots(share: str, world: ShareWorld) -> None:
    """End the VMs that an attempt has started and that were shut down before; those that others started stay."""
    plan, started = world.shares.find(share).plan, set[str]()
    for note in world.shares.notes(share, USE_STEP):
        started = set() if note == _USED else started | {note.removeprefix(_BOOT)}
    for image in plan.images:
        if str(image.uuid) in started:
            world.hypervisor(plan.request.source).destroy(image.uuid)


def mark_used(share: str, world: ShareWorld) -> None:
    """Write down that it is shared, and that VMs use it from now on."""
    keep_images(share, world)
    world.shares.turn(share, ShareState.SHARED)


def keep_images(share: str, world: ShareWorld) -> None:
    """Write down that VMs may have written to the images: no copy is discarded any more, nor an original put back."""
    record = world.shares.find(share)
    for index in record.begun:
        if record.plan.steps[index].kind in (StepKind.COPY, StepKind.ASIDE):
            world.shares.undone(share, index)
    world.shares.note(share, USE_STEP, _USED)


def was_used(share: str, world: ShareWorld) -> bool:
    """Whether VMs may have written to the images on the server."""
    return use_of(share, world).is_used


def use_of(share: str, world: ShareWorld) -> ShareUse:
    """Return what the journal says of the use of a share, and of the attempt that is not over."""
    use = ShareUse(first=0)
    for note in world.shares.notes(share, USE_STEP):
        if note == _USED:
            use = ShareUse(is_used=True)
        elif note == _BACK:
            use = use.model_copy(update={"is_going_back": True})
        elif note.startswith(_FROM):
            use = ShareUse(is_used=use.is_used, first=int(note.removeprefix(_FROM)))
        else:
            use = use.model_copy(update={"started": (*use.started, note.removeprefix(_BOOT))})
    return use


def begin_more(share: str, first: int, world: ShareWorld) -> None:
    """Write down, before a share in use gets more steps, which is the first of them: only those are taken back."""
    world.shares.note(share, USE_STEP, f"{_FROM}{first}")


def begin_back(share: str, world: ShareWorld) -> None:
    """Write down that a share in use is taken back from now on."""
    world.shares.note(share, USE_STEP, _BACK)


def end_back(share: str, world: ShareWorld) -> None:
    """Write down that it is in use as before: it could not be taken back."""
    world.shares.note(share, USE_STEP, _USED)
    world.shares.turn(share, ShareState.SHARED)


def keep_what_runs(record: ShareRecord, world: ShareWorld) -> bool:
    """Look whether a VM runs from a share that counts as unused; then it is used, and no image of it is discarded.

    So somebody who starts a VM while its share waits for the end of its undo loses nothing of what it writes.
    """
    request, share = record.plan.request, record.plan.share
    if was_used(share, world):
        return False
    mounted = {record.plan.steps[i].host for i in record.begun if record.plan.steps[i].kind is StepKind.MOUNT}
    for host in (h for h in request.clients if h in mounted):
        if not any(world.hypervisor(host).look(image.uuid).state.is_active for image in record.plan.images):
            continue
        if world.setup(host).read_sharing(request.directory, request.mount_at, record.plan.server_address).mount:
            keep_images(share, world)
            return True
    return False
