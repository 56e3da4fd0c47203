"""The storage step: what has to be at the destination before the switch-over, proved equal to its original."""

from __future__ import annotations

import logging
import posixpath
import time
from concurrent.futures import ThreadPoolExecutor

from vmferry.errors import CopyFailed
from vmferry.model.disks import CopyKind, CopyOptions, FileCopy
from vmferry.model.effects import Effect, FileMade, Nothing
from vmferry.model.migration import MigrationPlan
from vmferry.ports import World
from vmferry.steps.images import make_images
from vmferry.steps.marks import telling_of_copy
from vmferry.steps.names import StepName, made
from vmferry.steps.volumes import fill_volume

logger = logging.getLogger("vmferry.steps")


def bring_storage(plan: MigrationPlan, world: World) -> Effect:
    """Copy files to staged names, verified, and give them their names; make the images that QEMU mirrors into."""
    for copy in plan.files:
        if copy.makes_volume:
            fill_volume(plan, copy, world)
        else:
            _copy_file(plan, copy, world)
            if copy.pool is not None:
                world.hypervisor(plan.dest).refresh_pool(copy.pool)  # a volume that libvirt has not seen is none
    make_images(plan, world)
    return Nothing()


def staging_path(plan: MigrationPlan, copy: FileCopy) -> str:
    """Return where a copy lies until it is verified: a directory named after the run, beside its final place."""
    directory = posixpath.join(posixpath.dirname(copy.dest_path), f".vmferry-{plan.run}")
    return posixpath.join(directory, posixpath.basename(copy.source_path))


def aside_path(plan: MigrationPlan, copy: FileCopy) -> str:
    """Return where the source's image lies after its move."""
    return f"{copy.source_path}.vmferry-moved-{plan.run}"


def _copy_file(plan: MigrationPlan, copy: FileCopy, world: World) -> None:
    """Bring one file; may be repeated: what this run has published counts as done, what it has staged is resumed."""
    there, staging = world.tools(plan.dest), staging_path(plan, copy)
    found = there.stat_files([staging, copy.dest_path])
    if (seen := found.get(copy.dest_path)) is not None:
        if seen.inode in _inodes(plan, copy, world):
            if staging in found:  # the process died between the link and the removal of the staged name
                there.remove_file(staging)
            return
        _must_be_same(plan, copy, world)
        return
    made(plan, world, StepName.STORAGE, FileMade(host=plan.dest, path=staging, uuid=plan.uuid))
    inode = _stage(plan, copy, staging, world)
    effect = FileMade(host=plan.dest, path=copy.dest_path, uuid=plan.uuid, inode=inode)
    made(plan, world, StepName.STORAGE, effect)
    try:
        there.publish(staging, copy.dest_path)
    except CopyFailed:
        if copy.kind is not CopyKind.BACKING:
            raise
        _must_be_same(plan, copy, world)  # another VM of the same template was faster
        there.remove_file(staging)


def _stage(plan: MigrationPlan, copy: FileCopy, staging: str, world: World) -> int:
    """Copy to the staged name, which proves the copy to be equal; return its inode."""
    dest = world.inventory.find(plan.dest)
    assert dest is not None, plan.dest
    there, started = world.tools(plan.dest), time.monotonic()
    options = CopyOptions(
        method=plan.copy_method,
        bandwidth_mib_s=plan.bandwidth_mib_s,
        # Where libvirt gives images no owner when a VM starts (dynamic_ownership = 0), QEMU could not open root's copy.
        keeps_owner=True,
    )
    world.tools(plan.source).copy_file(
        copy.source_path,
        dest,
        staging,
        options,
        telling_of_copy(plan, world),
    )
    staged = there.stat_files([staging]).get(staging)
    if staged is None:
        raise CopyFailed(f"vm {plan.vm}: {staging} is gone from {plan.dest}; the source is unchanged", vm=plan.vm)
    if copy.rebase is not None and copy.rebase_format is not None:
        there.rebase(staging, copy.rebase, copy.rebase_format)  # only now: the proof compares it with the original
    logger.info("vm %s: %s copied in %.1f s", plan.vm, copy.source_path, time.monotonic() - started)
    return staged.inode


def _must_be_same(plan: MigrationPlan, copy: FileCopy, world: World) -> None:
    """Take a layer that another VM has brought for our own, if it is the same to the bit; else refuse."""
    here, there = world.tools(plan.source), world.tools(plan.dest)
    if copy.kind is not CopyKind.BACKING:
        raise CopyFailed(
            f"vm {plan.vm}: {copy.dest_path} exists on {plan.dest} and is not overwritten; look at it and move it away",
            vm=plan.vm,
            host=plan.dest,
        )
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="digest") as pool:
        digests = (pool.submit(here.checksum, copy.source_path), pool.submit(there.checksum, copy.dest_path))
    if digests[0].result() != digests[1].result():
        raise CopyFailed(
            f"vm {plan.vm}: {copy.dest_path} exists on {plan.dest} with another content than {copy.source_path} on "
            f"{plan.source} and is not overwritten; compare `qemu-img info` of both, then move it away",
            vm=plan.vm,
            host=plan.dest,
        )
    logger.info("vm %s: %s is on %s already, the same to the bit", plan.vm, copy.dest_path, plan.dest)


def _inodes(plan: MigrationPlan, copy: FileCopy, world: World) -> set[int]:
    """Return the inodes under which this run has written down its copy."""
    effects = (row.effect for row in world.journal.rows(plan.run))
    return {
        effect.inode
        for effect in effects
        if isinstance(effect, FileMade)
        and (effect.host, effect.path) == (plan.dest, copy.dest_path)
        and effect.inode is not None
    }
