"""What a step left in the world, as data, so that another process can undo it."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from vmferry.model.base import Model


class FileMade(Model):
    """A file that this run makes on `host`; undo removes it after proving that no VM runs there.

    The row is written before the file appears, so `inode` is what proves that a file found at `path` is ours;
    None for files below this run's own staging directory.
    """

    kind: Literal["file-made"] = "file-made"
    host: str
    path: str
    uuid: UUID
    inode: int | None = None


class VolumeMade(Model):
    """A device that a pool of `host` makes for this run; undo deletes it when it is proved to be ours and in no use.

    The first row is written before the volume appears and has no `device_id`: libvirt makes no volume over another.
    The second one has what tells the device from every other (LVM's own UUIDs), so that no namesake is taken for it.
    """

    kind: Literal["volume-made"] = "volume-made"
    host: str
    pool: str
    volume: str
    path: str
    uuid: UUID
    device_id: str = ""


class VolumeKept(Model):
    """A block device of the source that a VM has left; nothing renames it, and vmferry never deletes one."""

    kind: Literal["volume-kept"] = "volume-kept"
    host: str
    path: str
    pool: str | None = None
    volume: str | None = None
    device_id: str = ""  # what tells it from a later device of that name; empty where nothing does


class DomainDefined(Model):
    """A persistent definition that this run made on `host`."""

    kind: Literal["domain-defined"] = "domain-defined"
    host: str
    uuid: UUID


class FileSetAside(Model):
    """A source image renamed after success, kept for the operator."""

    kind: Literal["file-set-aside"] = "file-set-aside"
    host: str
    path: str
    aside: str


class AutostartCleared(Model):
    """The source's autostart flag, taken away for the length of the run; undo sets it again.

    A source that reboots between the VM's arrival elsewhere and the removal of its definition would start a second
    copy.
    """

    kind: Literal["autostart-cleared"] = "autostart-cleared"
    host: str
    uuid: UUID


class VmStopped(Model):
    """A VM that ran on `host` and was asked to shut down, so that it can move offline; undo starts it again there."""

    kind: Literal["vm-stopped"] = "vm-stopped"
    host: str
    uuid: UUID


class VmMarked(Model):
    """The run's mark in the domain's XML on `host`; it travels with the XML."""

    kind: Literal["vm-marked"] = "vm-marked"
    host: str
    uuid: UUID


class DomainMoved(Model):
    """The pivot's result: where the VM is now, and what the move cost."""

    kind: Literal["domain-moved"] = "domain-moved"
    host: str
    uuid: UUID
    bytes_sent: int = 0
    downtime_ms: int | None = None
    seconds: float | None = None  # from the start of the migrate call to the VM running here


class Nothing(Model):
    """A step that left nothing to undo."""

    kind: Literal["nothing"] = "nothing"


Effect = Annotated[
    FileMade
    | VolumeMade
    | VolumeKept
    | DomainDefined
    | FileSetAside
    | AutostartCleared
    | VmStopped
    | VmMarked
    | DomainMoved
    | Nothing,
    Field(discriminator="kind"),
]
