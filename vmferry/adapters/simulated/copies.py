"""Copies of files between simulated hosts: resumed, counted, and into devices that exist already."""

from __future__ import annotations

import posixpath
from dataclasses import replace

from vmferry.adapters.simulated.files import SimFile, copy_of
from vmferry.adapters.simulated.ground import Ground
from vmferry.adapters.simulated.state import SimHost
from vmferry.errors import CopyFailed, HostUnreachable, PermanentError, TransientError
from vmferry.model.disks import CopyDone, CopyMethod, CopyOptions, CopyStats
from vmferry.ports import OnCopy

COPY_BYTES_S = 200 * 1024**2
_HALF = b"half "


def copy_file(
    ground: Ground, source: SimHost, dest: str, path: str, staging: str, options: CopyOptions, on_copy: OnCopy | None
) -> CopyDone:
    """Copy as `HostTools.copy_file` promises; a copy that breaks off leaves its half behind for the next attempt."""
    file, target = _original(source, path, staging, options), ground.hosts[dest]
    if not ground.is_linked(source.name, dest):
        raise TransientError(f"{source.name}: no connection to {dest}; try again", host=dest)
    old = target.file(staging)
    there = _there(file, old)
    if options.is_device:
        _into_device(file, old, staging, dest)
        is_whole = True
    else:
        is_whole = _into_file(ground, target, file, staging, there)
    total = file.allocated_bytes
    done = total if is_whole else total // 2
    for at, sent in ((there, 0), (done, done - there)):
        if on_copy is not None:
            on_copy(
                CopyStats(path=path, total_bytes=total, done_bytes=at, sent_bytes=sent, elapsed_s=sent / COPY_BYTES_S)
            )
    ground.advance((done - there) / COPY_BYTES_S)
    if not is_whole:
        raise CopyFailed(f"{staging}: no space left on {dest}", host=dest)
    return CopyDone(
        method=options.method or CopyMethod.EXTENTS,
        reason="simulated",
        sent_bytes=total - there,
        resumed_bytes=there,
        seconds=(total - there) / COPY_BYTES_S,
    )


def measure_link(ground: Ground, source: SimHost, dest: str, seconds: float) -> float:
    """Return what copies reach, MiB/s, after so many seconds of trying."""
    if not ground.is_linked(source.name, dest) or not ground.hosts[dest].is_powered:
        raise HostUnreachable(f"host {source.name}: no way to {dest}; nothing was measured", host=dest)
    ground.advance(seconds)
    return COPY_BYTES_S / 2**20


def _original(source: SimHost, path: str, staging: str, options: CopyOptions) -> SimFile:
    if not options.is_device and posixpath.basename(staging) != posixpath.basename(path):
        raise PermanentError(f"{path}: a staged copy keeps its name, not {staging}", host=source.name)
    file = source.file(path)
    if file is None:
        raise CopyFailed(f"{path} does not exist on {source.name}", host=source.name)
    return file


def _there(file: SimFile, old: SimFile | None) -> int:
    """Return how many bytes of the original an earlier attempt has brought."""
    if old is None or not old.is_copy:
        return 0
    if old.content == file.content and (old.is_block or old.size_bytes == file.size_bytes):
        return file.allocated_bytes
    return min(old.allocated_bytes, file.allocated_bytes) if old.content == _HALF + file.content else 0


def _into_device(file: SimFile, device: SimFile | None, path: str, dest: str) -> None:
    """Write over a device from its beginning; what tells it from others stays."""
    if device is None or not device.is_block:
        raise CopyFailed(f"{path} is not a block device on {dest}", host=dest)
    if device.size_bytes < file.size_bytes:
        raise CopyFailed(f"{path} has {device.size_bytes} bytes, the original {file.size_bytes}", host=dest)
    device.content, device.is_whole, device.is_copy = file.content, True, True


def _into_file(ground: Ground, target: SimHost, file: SimFile, staging: str, there: int) -> bool:
    """Make or complete the staged copy; return whether all of it fitted."""
    old = target.take(staging)
    if old is not None and not old.is_copy:
        ground.watch.overwritten(target.name, staging)
    is_whole = target.locate(staging)[0].free_bytes() >= file.allocated_bytes
    made = copy_of(file, is_whole=is_whole)
    target.put(staging, made if old is None or not there else replace(made, inode=old.inode))
    return is_whole
