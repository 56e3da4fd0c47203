"""Volumes of a simulated host's pools: files, or devices, below the pool's target."""

from __future__ import annotations

from vmferry.adapters.simulated.files import SimFile
from vmferry.adapters.simulated.state import SimHost
from vmferry.errors import CopyFailed, PermanentError
from vmferry.model.facts import Pool


def create_volume(host: SimHost, pool: str, name: str, size_bytes: int) -> str:
    """Make an empty volume; never over one that is there."""
    found = next((p for p in host.offer.pools if p.name == pool and p.is_active and p.target), None)
    if found is None:
        raise CopyFailed(f"volume {name} of pool {pool} on {host.name}: no active pool of that name", host=host.name)
    path = f"{found.target}/{name}"
    if host.file(path) is not None:
        raise CopyFailed(f"volume {name} of pool {pool} on {host.name}: exists already", host=host.name)
    is_block = found.kind == "logical"
    made = SimFile(b"", size_bytes, size_bytes if is_block else 0, is_block=is_block, is_whole=False)
    if is_block:
        made.device_id = f"LVM-{made.inode:064d}"
    host.put(path, made)
    return path


def delete_volume(host: SimHost, pool: str, name: str) -> None:
    """Remove a volume; no-op when it is gone."""
    found = next((p for p in host.offer.pools if p.name == pool and p.target), None)
    if found is not None:
        host.take(f"{found.target}/{name}")


def refresh_pool(host: SimHost, pool: str) -> None:
    """Refuse what libvirt refuses: a pool that is not there or not active."""
    _active(host, pool)


def _active(host: SimHost, pool: str) -> Pool:
    found = next((p for p in host.offer.pools if p.name == pool), None)
    if found is None or not found.is_active:
        raise PermanentError(f"host {host.name}: pool {pool} is not active", host=host.name)
    return found
