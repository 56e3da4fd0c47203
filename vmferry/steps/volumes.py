"""Volumes that a pool of the destination makes for a move, and block devices of the source that a move leaves behind.

LVM cannot link or rename as files can, so a volume has its final name from the start. What proves it to be ours is the
identity of the device, which is in the journal before its content is.
"""

from __future__ import annotations

import logging
import time

from vmferry.errors import CopyFailed, UnsafeError, VmferryError
from vmferry.model.disks import CopyOptions, FileCopy
from vmferry.model.effects import VolumeKept, VolumeMade
from vmferry.model.facts import FileFacts
from vmferry.model.journal import Mark
from vmferry.model.migration import MigrationPlan
from vmferry.planning.places import named_paths
from vmferry.ports import World
from vmferry.steps.marks import telling_of_copy
from vmferry.steps.names import StepName, made

logger = logging.getLogger("vmferry.steps")


def fill_volume(plan: MigrationPlan, copy: FileCopy, world: World) -> None:
    """Let the pool make the volume and copy onto it; may be repeated: what is there already is not sent again."""
    dest = world.inventory.find(plan.dest)
    assert dest is not None and copy.pool is not None and copy.volume is not None, copy
    there, started = world.tools(plan.dest), time.monotonic()
    seen = there.stat_files([copy.dest_path]).get(copy.dest_path)
    if seen is None:
        _make(plan, copy, world)
    elif not _is_ours(seen, _identities(plan, copy.dest_path, world)):
        raise CopyFailed(
            f"vm {plan.vm}: volume {copy.volume} of pool {copy.pool} exists on {plan.dest} and is not written over; "
            f"look whose it is with `virsh vol-info --pool {copy.pool} {copy.volume}`, then choose another name",
            vm=plan.vm,
            host=plan.dest,
        )
    options = CopyOptions(method=plan.copy_method, bandwidth_mib_s=plan.bandwidth_mib_s, is_device=True)
    world.tools(plan.source).copy_file(
        copy.source_path,
        dest,
        copy.dest_path,
        options,
        telling_of_copy(plan, world),
    )
    logger.info("vm %s: %s copied in %.1f s", plan.vm, copy.source_path, time.monotonic() - started)


def _make(plan: MigrationPlan, copy: FileCopy, world: World) -> None:
    """Journal the intent, make the volume, journal its identity."""
    assert copy.pool is not None and copy.volume is not None, copy
    effect = VolumeMade(host=plan.dest, pool=copy.pool, volume=copy.volume, path=copy.dest_path, uuid=plan.uuid)
    made(plan, world, StepName.STORAGE, effect)
    try:
        path = world.hypervisor(plan.dest).create_volume(
            copy.pool, copy.volume, size_bytes=copy.size_bytes, format="raw"
        )
    except CopyFailed:
        # libvirt refused: nothing was made, so that what has this name is somebody else's.
        world.journal.write(plan.run, StepName.STORAGE, Mark.UNDONE, effect)
        raise
    seen = world.tools(plan.dest).stat_files([path]).get(path)
    if path != copy.dest_path or seen is None or not seen.is_block or not seen.device_id:
        raise CopyFailed(
            f"vm {plan.vm}: pool {copy.pool} of {plan.dest} made {path}, where a block device {copy.dest_path} with an "
            "identity was expected; nothing is copied onto it; look with `lsblk -o NAME,TYPE,UUID`",
            vm=plan.vm,
            host=plan.dest,
        )
    made(plan, world, StepName.STORAGE, effect.model_copy(update={"device_id": seen.device_id}))


def remove_volume(effect: VolumeMade, plan: MigrationPlan, world: World) -> None:
    """Delete a volume that is provably the one that this run made and that no domain names; no-op when it is gone.

    Raises UnsafeError where neither can be told: a process died, or an answer was lost, just while it was made.
    """
    seen = world.tools(effect.host).stat_files([effect.path]).get(effect.path)
    if seen is None:
        return
    known = _identities(plan, effect.path, world)
    if not _is_ours(seen, known):
        if known:
            return  # ours is gone: this one came later
        raise UnsafeError(
            f"vm {plan.vm}: volume {effect.volume} of pool {effect.pool} is on {effect.host}, and the run ended just "
            "while it was made: whether it is this run's cannot be told; look at it, and if nobody needs it run `virsh "
            f"vol-delete --pool {effect.pool} {effect.volume}` there and `vmferry recover`",
            vm=plan.vm,
            host=effect.host,
        )
    if users := _users(effect, seen, world):
        raise UnsafeError(
            f"vm {plan.vm}: volume {effect.volume} of pool {effect.pool} on {effect.host} is named by "
            f"{', '.join(users)} and is not deleted; take it out of that definition, then run `vmferry recover`",
            vm=plan.vm,
            host=effect.host,
        )
    world.hypervisor(effect.host).delete_volume(effect.pool, effect.volume)


def keep_volume(plan: MigrationPlan, copy: FileCopy, world: World) -> None:
    """Write down that a block device stays at the source with the VM's old content, for `vmferry purge` to tell."""
    seen = world.tools(plan.source).stat_files([copy.source_path]).get(copy.source_path)
    effect = VolumeKept(
        host=plan.source,
        path=copy.source_path,
        pool=copy.source_pool,
        volume=copy.source_volume,
        device_id=seen.device_id if seen is not None else "",
    )
    made(plan, world, StepName.FINISH, effect)


def refresh_source_pools(plan: MigrationPlan, world: World) -> None:
    """Let the source's pools see that volumes were renamed; a pool that cannot is no reason to fail a finished move."""
    for pool in sorted({copy.source_pool for copy in plan.files if copy.source_pool and not copy.is_device}):
        try:
            world.hypervisor(plan.source).refresh_pool(pool)
        except VmferryError as error:
            logger.warning("vm %s: pool %s of %s was not refreshed: %s", plan.vm, pool, plan.source, error)


def _users(effect: VolumeMade, seen: FileFacts, world: World) -> list[str]:
    """Return the domains there that name the device, by whatever path."""
    facts = world.hypervisor(effect.host).read_host()
    named = [(path, vm.name) for vm in facts.vms for path in named_paths(vm, facts)]
    nodes = sorted({path for path, _ in named if path.startswith("/dev/")})
    devices = world.tools(effect.host).stat_files(nodes) if nodes else {}
    same = {path for path, node in devices.items() if node.is_block and node.device_id == seen.device_id}
    return sorted({name for path, name in named if path == effect.path or path in same})


def _identities(plan: MigrationPlan, path: str, world: World) -> frozenset[str]:
    """Return the identities that this run has written down of the volume at a path."""
    effects = (row.effect for row in world.journal.rows(plan.run))
    return frozenset(
        effect.device_id
        for effect in effects
        if isinstance(effect, VolumeMade) and (effect.host, effect.path) == (plan.dest, path) and effect.device_id
    )


def _is_ours(seen: FileFacts, known: frozenset[str]) -> bool:
    return seen.is_block and seen.device_id in known
