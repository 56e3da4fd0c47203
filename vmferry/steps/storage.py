"""The storage step: what has to be at the destination before the switch-over, proved equal to its original."""

from __future__ import annotations

import logging
import posixpath
import time
from concurrent.futures import ThreadPoolExecutor

from vmferry.errors import CopyFailed
from vmferry.model.disks import CopyOptions, FileCopy
from vmferry.model.effects import Effect, FileMade, Nothing
from vmferry.model.migration import MigrationPlan
from vmferry.ports import World
from vmferry.progress import CopyProgress, publish
from vmferry.steps.images import make_images
from vmferry.steps.names import StepName, made

logger = logging.getLogger("vmferry.steps")


def bring_storage(plan: MigrationPlan, world: World) -> Effect:
    """Copy files to staged names, verified, and give them their names; make the images that QEMU mirrors into."""
    for copy in plan.files:
        _copy_file(plan, copy, world)
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
    dest = world.inventory.find(plan.dest)
    assert dest is not None, plan.dest
    here, there = world.tools(plan.source), world.tools(plan.dest)
    if copy.dest_path in there.stat_files([copy.dest_path]):
        raise CopyFailed(
            f"vm {plan.vm}: {copy.dest_path} exists on {plan.dest} and is not overwritten; look at it and move it away",
            vm=plan.vm,
            host=plan.dest,
        )
    staging = staging_path(plan, copy)
    made(plan, world, StepName.STORAGE, FileMade(host=plan.dest, path=staging, uuid=plan.uuid))
    started = time.monotonic()
    options = CopyOptions(method=plan.copy_method, bandwidth_mib_s=plan.bandwidth_mib_s)
    here.copy_file(
        copy.source_path,
        dest,
        staging,
        options,
        lambda stats: publish(CopyProgress(run=plan.run, vm=plan.vm, stats=stats)),
    )
    inode = _verify_copy(plan, copy, staging, world)
    logger.info("vm %s: %s copied in %.1f s", plan.vm, copy.source_path, time.monotonic() - started)
    effect = FileMade(host=plan.dest, path=copy.dest_path, uuid=plan.uuid, inode=inode)
    made(plan, world, StepName.STORAGE, effect)
    there.publish(staging, copy.dest_path)


def _verify_copy(plan: MigrationPlan, copy: FileCopy, staging: str, world: World) -> int:
    """Compare size and digest of both ends; return the staged file's inode."""
    here, there = world.tools(plan.source), world.tools(plan.dest)
    original = here.stat_files([copy.source_path]).get(copy.source_path)
    copied = there.stat_files([staging]).get(staging)
    if original is None or copied is None or original.size_bytes != copied.size_bytes:
        raise CopyFailed(
            f"vm {plan.vm}: copy of {copy.source_path} has {copied.size_bytes if copied else 'no'} bytes on "
            f"{plan.dest}, the original {original.size_bytes if original else 'no'}; the source is unchanged",
            vm=plan.vm,
        )
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="digest") as pool:
        digests = (pool.submit(here.checksum, copy.source_path), pool.submit(there.checksum, staging))
    if digests[0].result() != digests[1].result():
        raise CopyFailed(f"vm {plan.vm}: copy of {copy.source_path} differs on {plan.dest}; copy again", vm=plan.vm)
    return copied.inode
