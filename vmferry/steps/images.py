"""Empty images at the destination, for QEMU to mirror a running VM's disks into."""

from __future__ import annotations

from vmferry.model.effects import FileMade
from vmferry.model.migration import MigrationPlan
from vmferry.ports import World
from vmferry.steps.names import StepName, made


def make_images(plan: MigrationPlan, world: World) -> None:
    """Make an image for each mirrored disk; each is in the journal before it can be written to."""
    for disk in plan.disks:
        inode = world.tools(plan.dest).make_image(disk)
        made(plan, world, StepName.STORAGE, FileMade(host=plan.dest, path=disk.dest_path, uuid=plan.uuid, inode=inode))
