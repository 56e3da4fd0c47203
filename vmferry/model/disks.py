"""What of a VM's storage travels with it: files copied before the switch-over, and images that QEMU mirrors."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from vmferry.model.base import Model


class CopyKind(StrEnum):
    """What a copied file is to its VM."""

    IMAGE = "image"
    BACKING = "backing file"
    NVRAM = "NVRAM"
    TPM = "TPM state"


class CopyMethod(StrEnum):
    """How a file gets from host to host, fastest first."""

    EXTENTS = "extents"  # only what is allocated and not zero, over several ssh streams; resumed; Python on both hosts
    TAR = "tar"  # sparse tar through ssh
    SCP = "scp"  # as the reference does it: every byte, holes too
    RELAY = "relay"  # through the machine that runs vmferry, where the hosts cannot reach each other


class FileCopy(Model):
    """One file or block device that vmferry itself copies to the destination before the switch-over."""

    source_path: str
    dest_path: str
    size_bytes: int
    allocated_bytes: int
    kind: CopyKind = CopyKind.IMAGE
    target: str = ""  # the disk's target in the guest (vda), of an image or a backing file
    format: str | None = None  # qcow2, raw, … as the domain XML or the layer above names it
    # Path on the destination of the file that this one builds on, where its header has to be told (`qemu-img rebase
    # -u`); None where the header is right as it is.
    rebase: str | None = None
    rebase_format: str | None = None
    # Pool of the destination in which libvirt makes or refreshes the volume; None for a plain file.
    pool: str | None = None
    volume: str | None = None
    makes_volume: bool = False  # the pool makes a device, which is written in place
    # Pool of the source that the original is a volume of.
    source_pool: str | None = None
    source_volume: str | None = None
    is_device: bool = False  # the source is a block device: nothing tells where it is empty; it is not renamed
    # Other VMs of the source use it too (a common base): it stays in its place after the move.
    is_kept: bool = False


class LiveDisk(Model):
    """One image that QEMU mirrors to the destination while the VM runs; made there empty before, by vmferry."""

    target: str
    source_path: str
    dest_path: str
    size_bytes: int  # what the guest sees: must be the same on both sides, to the byte
    allocated_bytes: int = 0
    format: str = "raw"
    options: dict[str, str] = Field(default_factory=dict, description="qemu-img create -o, as the original has them")
    owner: str = ""  # user:group of the original, by name; libvirt gives the file to QEMU itself where it is to do so
    mode: int | None = None  # permission bits of the original
    # What the new image builds on, on the destination: then only the top layer is mirrored (shallow).
    backing: str | None = None
    backing_format: str | None = None
    pool: str | None = None
    volume: str | None = None


class CopyOptions(Model):
    """How one file is to be copied."""

    method: CopyMethod | None = None  # None: the fastest that both hosts can do
    bandwidth_mib_s: int | None = None
    # The copy keeps the owner of the original, by name; else it belongs to the ssh user. The mode is kept in any case.
    keeps_owner: bool = False
    is_device: bool = False  # staging is a block device that exists already: written in place, from 0 to its size


class CopyStats(Model):
    """One sample of a running copy."""

    path: str
    total_bytes: int  # allocated bytes of the original
    done_bytes: int  # of these: known to be at the destination
    sent_bytes: int = 0  # over the wire in this attempt
    elapsed_s: float = 0.0


class CopyDone(Model):
    """A copy that is proved to equal its original, all of it written to the destination's disk."""

    method: CopyMethod
    reason: str  # why this method
    sent_bytes: int = 0
    resumed_bytes: int = 0  # found at the destination from an earlier attempt, proved and not sent again
    seconds: float = 0.0
    streams: int = 1
