"""What of a VM's storage has to be brought to the destination, decided from a judged case: pure."""

from __future__ import annotations

import posixpath

from vmferry.model.disks import FileCopy
from vmferry.rules.case import Case
from vmferry.rules.copies import copies


def file_copies(case: Case) -> tuple[FileCopy, ...]:
    """Return what vmferry itself copies before the switch-over; preflight blocked what was not found."""
    return tuple(
        FileCopy(
            source_path=copy.source_path,
            dest_path=copy.dest_path,
            size_bytes=copy.size_bytes or 0,
            allocated_bytes=copy.allocated_bytes or 0,
            kind=copy.kind,
            target=copy.target,
            format=copy.format,
            pool=copy.dest_pool.name if copy.dest_pool else None,
            volume=posixpath.basename(copy.dest_path) if copy.dest_pool else None,
            makes_volume=copy.makes_volume,
            source_pool=copy.source_pool.name if copy.source_pool else None,
            source_volume=posixpath.basename(copy.source_path) if copy.source_pool else None,
            is_device=copy.is_device,
            is_kept=copy.is_kept,
        )
        for copy in copies(case)
    )
