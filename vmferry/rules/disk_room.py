"""Where a destination's free bytes come from, and how many arrivals may take: arithmetic of the rules and the planner.

A *store* is what several directories or pools draw on together. It is named by one of its directories, or, for a pool
below no directory whose free bytes were read, by `pool NAME`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vmferry.model.facts import Pool
from vmferry.model.host import Reservation
from vmferry.rules.case import Side

_VOLUME_GROUP = "logical"


@dataclass(frozen=True)
class Arrival:
    """A file or volume that a move makes on the destination; `store` None where nobody read what is free there."""

    dest_path: str
    store: str | None
    size_bytes: int
    is_layer: bool = False  # others build on it: it is one file for all VMs that bring it


def per_store(arrivals: Iterable[Arrival]) -> dict[str, int]:
    """Return store → bytes that arrive there."""
    taken: dict[str, int] = {}
    for arrival in arrivals:
        if arrival.store is not None:
            taken[arrival.store] = taken.get(arrival.store, 0) + arrival.size_bytes
    return taken


def store_of(side: Side, path: str) -> str | None:
    """Return the store that holds a path; None where nobody read what is free there.

    Directories with equal free bytes are one file system: read at once, to the byte. Two that are equal by chance are
    taken for one: that refuses, it never over-commits.
    """
    free = side.facts.storage_free_bytes
    holding = directory_of(side, path)
    return None if holding is None else min(d for d in free if free[d] == free[holding])


def directory_of(side: Side, path: str) -> str | None:
    """Return the directory whose free bytes were read that holds a path, the nearest one."""
    holding = [d for d in side.facts.storage_free_bytes if path.startswith(d.rstrip("/") + "/")]
    return max(holding, key=len, default=None)


def store_of_pool(side: Side, pool: Pool) -> str:
    """Return the store that a pool of the host draws on; pools of one directory, group or file system share one."""
    target = (pool.target or "").rstrip("/")
    if pool.kind != _VOLUME_GROUP and target:
        mount = side.mount_of(target)
        read = [d for d in side.facts.storage_free_bytes if mount is not None and side.mount_of(d) == mount]
        if found := store_of(side, f"{target}/") or (store_of(side, f"{read[0].rstrip('/')}/") if read else None):
            return found
    alike = [p for p in side.facts.pools if p.is_active and _is_alike(side, p, pool)]
    return f"pool {min((p.name for p in alike), default=pool.name)}"


def _is_alike(side: Side, pool: Pool, other: Pool) -> bool:
    """Whether two pools draw on the same bytes, as far as their targets tell."""
    if pool.name == other.name:
        return True
    if not pool.target or not other.target or (pool.kind == _VOLUME_GROUP) != (other.kind == _VOLUME_GROUP):
        return False
    if pool.target.rstrip("/") == other.target.rstrip("/"):
        return True
    mount = side.mount_of(pool.target)
    return pool.kind != _VOLUME_GROUP and mount is not None and mount == side.mount_of(other.target)


def disk_free_bytes(side: Side, reserved: Reservation, directory: str) -> int:
    """Return what copies into a directory of `storage_free_bytes` may take: free minus promises to open runs.

    Promises to another directory of the same file system count too, as do those to a directory that was not read:
    it may lie there. What a copy has written already is counted twice: that refuses, it never over-commits.
    """
    free = side.facts.storage_free_bytes
    promised = 0
    groups = {(p.target or "").rstrip("/") for p in side.facts.pools if p.kind == _VOLUME_GROUP}
    for promised_to, size in reserved.disk_bytes.items():
        if promised_to in groups:
            continue  # volumes of a volume group
        holding = directory_of(side, f"{promised_to}/")
        if holding is None or free[holding] == free[directory]:
            promised += size
    return max(0, free[directory] - promised)


def store_free_bytes(side: Side, reserved: Reservation, store: str) -> int | None:
    """Return what arrivals may take of a store; None where nothing tells, as with some kinds of pools.

    Of several pools the one with least counts: each tells what was free at its own last refresh.
    """
    if store in side.facts.storage_free_bytes:
        return disk_free_bytes(side, reserved, store)
    pools = [p for p in side.facts.pools if p.is_active and store_of_pool(side, p) == store]
    told = [p.available_bytes for p in pools if p.available_bytes is not None]
    targets = {(p.target or "").rstrip("/") for p in pools}
    promised = sum(size for place, size in reserved.disk_bytes.items() if place in targets)
    return max(0, min(told) - promised) if told else None


def free_stores(side: Side, reserved: Reservation) -> dict[str, int]:
    """Return store → bytes that arrivals may take, of all stores of a host of which that is known."""
    directories = (store_of(side, f"{d.rstrip('/')}/") for d in side.facts.storage_free_bytes)
    stores = {*directories, *(store_of_pool(side, pool) for pool in side.facts.pools if pool.is_active)}
    free = {store: store_free_bytes(side, reserved, store) for store in sorted(s for s in stores if s)}
    return {store: size for store, size in free.items() if size is not None}
