"""Images at the destination for QEMU to mirror a running VM's disks into, and what becomes of the originals."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager

from vmferry.errors import CopyFailed, OutcomeUnknown, VmferryError
from vmferry.model.disks import FileCopy, LiveDisk
from vmferry.model.effects import FileMade, FileSetAside
from vmferry.model.migration import MigrationPlan
from vmferry.planning.mirroring import mirrored_copies
from vmferry.ports import World
from vmferry.steps.names import StepName, made


def make_images(plan: MigrationPlan, world: World) -> None:
    """Make an empty image for each mirrored disk; may be repeated until the move begins, as nobody writes before.

    An image is made under the run's own staging name and gets its final name by a hard link, which replaces nothing:
    libvirt would mirror onto whatever lies there. Its inode is in the journal before that name appears.
    """
    for disk in plan.disks:
        _make_image(plan, disk, world)


def _make_image(plan: MigrationPlan, disk: LiveDisk, world: World) -> None:
    tools, staging = world.tools(plan.dest), _staging(plan, disk)
    found = tools.stat_files([staging, disk.dest_path])
    ours = _inodes(plan, disk, world)
    if (there := found.get(disk.dest_path)) is not None:
        if there.inode in ours:
            return
        raise CopyFailed(
            f"vm {plan.vm}: {disk.dest_path} exists on {plan.dest} and is not written over; look whose it is with "
            f"`qemu-img info -U {disk.dest_path}`, then move it away",
            vm=plan.vm,
            host=plan.dest,
        )
    staged = found.get(staging)
    if staged is None or staged.inode not in ours:
        made(plan, world, StepName.STORAGE, FileMade(host=plan.dest, path=staging, uuid=plan.uuid))
        if staged is not None:
            tools.remove_file(staging)
        inode = tools.make_image(disk.model_copy(update={"dest_path": staging}))
        made(plan, world, StepName.STORAGE, FileMade(host=plan.dest, path=disk.dest_path, uuid=plan.uuid, inode=inode))
    tools.publish(staging, disk.dest_path)


def _inodes(plan: MigrationPlan, disk: LiveDisk, world: World) -> set[int]:
    """Return the inodes under which this run has written down its image."""
    effects = (row.effect for row in world.journal.rows(plan.run))
    return {
        effect.inode
        for effect in effects
        if isinstance(effect, FileMade)
        and (effect.host, effect.path) == (plan.dest, disk.dest_path)
        and effect.inode is not None
    }


def _staging(plan: MigrationPlan, disk: LiveDisk) -> str:
    directory, name = posixpath.split(disk.dest_path)
    return posixpath.join(directory, f".vmferry-{plan.run}", name)


def set_images_aside(plan: MigrationPlan, world: World) -> None:
    """Rename the originals at the source: nobody writes to them any more, and they are the operator's way back."""
    for disk in plan.disks:
        aside = f"{disk.source_path}.vmferry-moved-{plan.run}"
        made(plan, world, StepName.FINISH, FileSetAside(host=plan.source, path=disk.source_path, aside=aside))
        world.tools(plan.source).set_aside(disk.source_path, aside)


def kept_aside(plan: MigrationPlan) -> tuple[FileCopy, ...]:
    """Return whatever of the source's files a finished move has renamed."""
    return (*(copy for copy in plan.files if not copy.is_kept and not copy.is_device), *mirrored_copies(plan))


_FULL_BYTES = 16 * 2**20


@contextmanager
def telling_of_space(plan: MigrationPlan, world: World) -> Iterator[None]:
    """Say that the destination is full, where a move with mirrored disks ends in an error that does not.

    libvirt's own text is often lost while it cleans up ("End of file while reading data", measured).
    """
    try:
        yield
    except OutcomeUnknown as error:
        full = _full_directories(plan, world)
        if not full:
            raise
        raise OutcomeUnknown(
            f"{error}; No space left on {plan.dest} in {', '.join(full)}, where disks were mirrored to: make room",
            vm=plan.vm,
            host=plan.source,
        ) from error


def _full_directories(plan: MigrationPlan, world: World) -> tuple[str, ...]:
    directories = sorted({posixpath.dirname(disk.dest_path) for disk in plan.disks})
    if not directories:
        return ()
    try:
        free = world.tools(plan.dest).free_bytes(directories)
    except VmferryError:
        return ()  # it does not answer: that is told by whoever looks at both hosts
    return tuple(directory for directory in directories if free.get(directory, _FULL_BYTES) < _FULL_BYTES)
