"""QEMU's disk mirror on simulated hosts: empty images, what is half over, what is whole; as measured on libvirt 9.0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vmferry.adapters.simulated.files import SimFile
from vmferry.adapters.simulated.state import SimHost
from vmferry.adapters.simulated.watch import Watch
from vmferry.errors import CopyFailed, PermanentError
from vmferry.model.disks import LiveDisk
from vmferry.model.facts import ImageFacts, ImageFile
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.model.transport import Encryption

_EMPTY_BYTES = 196_608  # what qemu-img allocates for an empty qcow2
_MIB = 2**20


def read_images(host: SimHost, images: Sequence[ImageFile]) -> dict[str, ImageFacts]:
    """Return what `qemu-img info` tells of those images that exist."""
    found = {}
    for image in images:
        file = host.file(image.path)
        if file is not None and not file.is_block:
            found[image.path] = ImageFacts(
                path=image.path,
                format=image.format,
                virtual_bytes=file.size_bytes,
                backing=file.backing or None,
                backing_format="qcow2" if file.backing else None,
            )
    return found


def make_image(host: SimHost, disk: LiveDisk) -> int:
    """Make an empty image; return its inode."""
    if host.file(disk.dest_path) is not None:
        raise CopyFailed(f"{disk.dest_path} exists on {host.name}; nothing was overwritten", host=host.name)
    if disk.backing is not None and host.file(disk.backing) is None:
        raise CopyFailed(f"{disk.dest_path}: its backing file {disk.backing} is not on {host.name}", host=host.name)
    if host.locate(disk.dest_path)[0].free_bytes() < _EMPTY_BYTES:
        raise CopyFailed(f"{disk.dest_path}: no space left on {host.name}", host=host.name)
    image = SimFile(b"", disk.size_bytes, _EMPTY_BYTES, is_copy=True, is_whole=False, backing=disk.backing or "")
    host.put(disk.dest_path, image)
    return image.inode


def check_mirror(plan: MigrationPlan, disk: LiveDisk, source: SimHost, dest: SimHost, watch: Watch) -> None:
    """Raise what libvirt raises of a disk that is to be mirrored; note an image of somebody else that is hit."""
    if plan.encryption is Encryption.TUNNELLED:
        raise _refused(plan, "argument unsupported: argument key 'host' must not have null value (ERR 1)")
    here, there = source.file(disk.source_path), dest.file(disk.dest_path)
    if there is None:
        raise _refused(plan, f"no storage pool with matching target path {disk.dest_path!r} (ERR 49)")
    if here is None or here.size_bytes != there.size_bytes:
        raise _refused(plan, "Source and target image have different sizes (ERR 9)")
    if not there.is_copy or there.content:
        watch.overwritten(dest.name, disk.dest_path)


def fill_half(plan: MigrationPlan, source: SimHost, dest: SimHost) -> None:
    """Let the mirror of a plan's disks begin: what lies at the destination is half an image."""
    for disk in plan.disks:
        here, there = source.file(disk.source_path), dest.file(disk.dest_path)
        if here is not None and there is not None:
            half = here.allocated_bytes // 2
            dest.put(disk.dest_path, replace(there, content=b"half " + here.content, allocated_bytes=half))


def fill_whole(plan: MigrationPlan, source: SimHost, dest: SimHost) -> None:
    """Let the mirror be complete, as the source's CPUs stand still."""
    for disk in plan.disks:
        here, there = source.file(disk.source_path), dest.file(disk.dest_path)
        if here is not None and there is not None:
            whole = replace(there, content=here.content, allocated_bytes=here.allocated_bytes, is_whole=True)
            dest.put(disk.dest_path, whole)


def mirror_s(plan: MigrationPlan, rate_mib_s: float) -> float:
    """Return how long the disks take before memory begins; 0 without any."""
    return sum(disk.allocated_bytes for disk in plan.disks) / _MIB / rate_mib_s


def with_disks(stats: JobStats, plan: MigrationPlan, share: float) -> JobStats:
    """Add what of the disks is over, as libvirt adds both up; `share` 0 to 1."""
    total = sum(disk.size_bytes for disk in plan.disks)
    done = round(total * min(1.0, max(0.0, share)))
    return stats.model_copy(
        update={
            "data_total_bytes": stats.data_total_bytes + total,
            "data_processed_bytes": stats.data_processed_bytes + done,
            "data_remaining_bytes": stats.data_remaining_bytes + total - done,
            "disk_total_bytes": total,
            "disk_processed_bytes": done,
            "disk_remaining_bytes": total - done,
        }
    )


def _refused(plan: MigrationPlan, why: str) -> PermanentError:
    return PermanentError(f"vm {plan.vm}: {plan.source} → {plan.dest}: {why}", vm=plan.vm, host=plan.source)
