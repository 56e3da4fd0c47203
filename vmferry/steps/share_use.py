"""The use of shared storage: VMs that are started from it, and what that means for the way back."""

from __future__ import annotations

from vmferry.errors import PermanentError
from vmferry.model.sharing import ShareState, StepKind
from vmferry.model.vm import DomainState
from vmferry.ports.sharing import ShareWorld

# The journal's number of what uses the storage, and its notes.
USE_STEP = -2
_BOOT, _USED = "boot ", "used"
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
    """Write down that VMs use the storage from now on: no copy is discarded any more, nor an original put back."""
    record = world.shares.find(share)
    for index in record.begun:
        if record.plan.steps[index].kind in (StepKind.COPY, StepKind.ASIDE):
            world.shares.undone(share, index)
    world.shares.note(share, USE_STEP, _USED)
    world.shares.turn(share, ShareState.SHARED)


def was_used(share: str, world: ShareWorld) -> bool:
    """Whether VMs may have written to the images on the server."""
    return _USED in world.shares.notes(share, USE_STEP)
