"""What QEMU mirrors to the destination while a VM runs, and what has to lie there before: pure."""

from __future__ import annotations

from collections.abc import Sequence

from vmferry.model.convergence import Policy
from vmferry.model.disks import CopyKind, FileCopy, LiveDisk
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.rules.case import Case
from vmferry.rules.mirroring import Mirror, mirrored

_MIB = 2**20
_GIB = 2**30


def live_disks(case: Case) -> tuple[LiveDisk, ...]:
    """Return what QEMU mirrors while the VM runs; preflight blocked what cannot be."""
    return tuple(
        LiveDisk(
            target=mirror.disk.target,
            source_path=mirror.path,
            dest_path=mirror.dest_path,
            size_bytes=mirror.image.virtual_bytes,
            allocated_bytes=mirror.allocated_bytes,
            format=mirror.image.format,
            options=mirror.image.options,
            owner=mirror.image.owner,
            mode=mirror.image.mode,
            backing=mirror.image.backing,
            backing_format=mirror.image.backing_format,
        )
        for mirror in mirrored(case)
    )


def backing_copies(case: Case) -> tuple[FileCopy, ...]:
    """Return the layers below mirrored disks that vmferry copies before, the lowest first, each once.

    Nobody writes to them while the VM runs: a block job that would is refused by the rules of the VM's state.
    """
    found: dict[str, FileCopy] = {}
    for mirror in mirrored(case):
        for layer in reversed(mirror.layers):
            found.setdefault(layer, _layer(case, mirror, layer))
    return tuple(found.values())


def _layer(case: Case, mirror: Mirror, path: str) -> FileCopy:
    facts = case.pair.source_files.get(path) if case.pair is not None else None
    others = [name for name in case.source.file_users.get(path, ()) if name != case.vm.name]
    is_first = path == mirror.image.backing
    return FileCopy(
        source_path=path,
        dest_path=path,
        size_bytes=facts.size_bytes if facts else 0,
        allocated_bytes=facts.allocated_bytes if facts else 0,
        kind=CopyKind.BACKING,
        target=mirror.disk.target,
        format=mirror.image.backing_format if is_first else None,
        is_kept=bool(others),
    )


def mirror_deadline_s(disks: Sequence[LiveDisk], policy: Policy, bandwidth_mib_s: int | None) -> float:
    """Return the time that the disks may take beside the memory.

    By what they have allocated at the policy's rate for memory, because a hole costs next to nothing; but under a
    cap QEMU counts holes as if they were sent (measured: 300 MiB with 40 MiB of data take 8 s at 40 MiB/s), so twice
    the virtual size at that rate.
    """
    allocated_s = policy.s_per_gib * sum(disk.allocated_bytes for disk in disks) / _GIB
    if bandwidth_mib_s is None:
        return allocated_s
    return allocated_s + 2 * sum(disk.size_bytes for disk in disks) / _MIB / bandwidth_mib_s


def whole_job(sample: JobStats, plan: MigrationPlan) -> JobStats:
    """Count the memory that is to come into a sample that was taken while disks are mirrored.

    libvirt's totals hold only what has begun: disks first, then memory too, so that the share of what is over would
    reach 100 % and fall back. An estimate: free pages cost nothing.
    """
    if not plan.disks or sample.iteration > 0 or sample.data_total_bytes > sample.disk_total_bytes:
        return sample
    memory = plan.memory_kib * 1024
    disks = sample.disk_total_bytes or sum(disk.size_bytes for disk in plan.disks)
    return sample.model_copy(
        update={
            "data_total_bytes": disks + memory,
            "data_remaining_bytes": disks - sample.disk_processed_bytes + memory,
            "disk_total_bytes": disks,
            "disk_remaining_bytes": disks - sample.disk_processed_bytes,
        }
    )


def mirrored_copies(plan: MigrationPlan) -> tuple[FileCopy, ...]:
    """Return the mirrored disks as the copies that they are once a move is over.

    A qcow2 copy may be a smaller file than its original: only a raw one must have the size that the guest sees.
    """
    return tuple(
        FileCopy(
            source_path=disk.source_path,
            dest_path=disk.dest_path,
            size_bytes=disk.size_bytes if disk.format == "raw" else 0,
            allocated_bytes=disk.allocated_bytes,
            target=disk.target,
            format=disk.format,
        )
        for disk in plan.disks
    )
