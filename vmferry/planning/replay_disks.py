"""The part of replay that adds up disks: what moves write on a destination, and what is free there. Pure.

It shares with the planner which files are shared, where they land and which disks are mirrored, as the rules say: a
second opinion would only find that the two differ. Sizes, and what draws on the same bytes, are worked out again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vmferry.model.evacuation import Move
from vmferry.model.facts import Pool
from vmferry.model.host import HostFacts
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import Vm
from vmferry.rules.case import Case, Fleet
from vmferry.rules.landing import Landing, landing
from vmferry.rules.mirroring import mirrored
from vmferry.rules.sharing import is_shared, tpm_files


@dataclass(frozen=True)
class Written:
    """A file, or a volume of `pool`, that a move makes on its destination."""

    path: str
    size_bytes: int
    pool: Pool | None = None
    is_layer: bool = False


def over_committed(facts: HostFacts, written: Iterable[Written], promised: dict[str, int]) -> Iterator[str]:
    """Say which file system or volume group of a host cannot hold what is written there beside what is promised.

    A layer is one file, however many VMs build on it.
    """
    once = {file.path: file for file in written if file.is_layer}
    taken: Counter[str] = Counter()
    for file in (*(f for f in written if not f.is_layer), *once.values()):
        taken[_source_of_bytes(facts, file)] += file.size_bytes
    for key, size in taken.items():
        free, kept = _free(facts, key), _promised(facts, promised, key)
        if size and free is not None and size + kept > free:
            named = ", ".join(d for d in sorted(facts.storage_free_bytes) if _of_directory(facts, d) == key) or key
            yield f"{facts.name} is over-committed: {size} bytes arrive in {named}, {free} are free, {kept} promised"


def _source_of_bytes(facts: HostFacts, file: Written) -> str:
    """Return what a file takes its bytes from: equal for all that draw on the same; empty where nobody knows."""
    if file.pool is not None and file.pool.kind == "logical":
        return _of_pool(facts, file.pool)
    under = [d for d in facts.storage_free_bytes if file.path.startswith(d.rstrip("/") + "/")]
    if under:
        return _of_directory(facts, max(under, key=len))
    return _of_pool(facts, file.pool) if file.pool is not None else ""


def _of_directory(facts: HostFacts, directory: str) -> str:
    """Directories with equal free bytes draw on one file system."""
    return f"file system with {facts.storage_free_bytes[directory]} bytes free"


def _of_pool(facts: HostFacts, pool: Pool) -> str:
    """A volume group is known by its directory, other pools by the file system that their directory lies on."""
    place = (pool.target or "").rstrip("/")
    if not place or pool.kind == "logical":
        return f"volume group {place or pool.name}"
    above = [d for d in facts.storage_free_bytes if f"{place}/".startswith(d.rstrip("/") + "/")]
    if above:
        return _of_directory(facts, max(above, key=len))
    mount = facts.system.mount_of(place)
    if mount is None:
        return f"directory {place}"
    beside = [d for d in facts.storage_free_bytes if facts.system.mount_of(d) == mount]
    return _of_directory(facts, beside[0]) if beside else f"mount {mount.path}"


def _free(facts: HostFacts, key: str) -> int | None:
    for directory, free in facts.storage_free_bytes.items():
        if _of_directory(facts, directory) == key:
            return free
    told = [p.available_bytes for p in facts.pools if p.is_active and _of_pool(facts, p) == key]
    return min((size for size in told if size is not None), default=None)


def _promised(facts: HostFacts, promised: dict[str, int], key: str) -> int:
    """Return the bytes that open runs may still write where `key` stands for.

    A promise to a place below no directory that was read may lie on any file system.
    """
    kept, known = 0, {d.rstrip("/"): d for d in facts.storage_free_bytes}
    groups = {(p.target or "").rstrip("/"): p for p in facts.pools if p.kind == "logical"}
    pools = {(p.target or "").rstrip("/") for p in facts.pools if p.is_active and _of_pool(facts, p) == key}
    is_directory = any(_of_directory(facts, d) == key for d in facts.storage_free_bytes)
    for place, size in promised.items():
        above = [place.rsplit("/", n)[0] for n in range(place.count("/") + 1)]
        nearest = next((known[d] for d in above if d in known), None)
        if not is_directory or place in groups:
            kept += size if place in pools else 0
        elif nearest is None or _of_directory(facts, nearest) == key:
            kept += size
    return kept


def what_is_written(fleet: Fleet, move: Move, vm: Vm) -> list[Written]:
    """Return what a move makes on its destination, as far as the pair was read; a layer that lies there is none."""
    if not {move.source, move.dest} <= set(fleet.sides):
        return []
    case = fleet.case(vm, move.source, move.dest, move.mode, policy=move.policy)
    if case.pair is None:
        return []
    return _copied(case) if move.mode is MigrationMode.OFFLINE else _mirrored(case)


def _mirrored(case: Case) -> list[Written]:
    mirrors = mirrored(case)
    images = [Written(m.dest_path, m.file.allocated_bytes) for m in mirrors if m.file is not None]
    below = {layer for mirror in mirrors for layer in mirror.layers}
    return images + [layer for path in sorted(below) for layer in _layer(case, path)]


def _layer(case: Case, path: str) -> Iterator[Written]:
    assert case.pair is not None
    here, there = case.pair.source_files.get(path), case.pair.dest_files.get(path)
    if here is not None and (there is None or here.size_bytes != there.size_bytes):
        yield Written(path, here.allocated_bytes, is_layer=True)


def _copied(case: Case) -> list[Written]:
    assert case.pair is not None
    vm, kinds = case.vm, ("file", "block", "volume")
    images = [d for d in vm.disks if d.kind in kinds and d.device in ("disk", "lun") and d.source]
    places = [(d, found) for d in images if isinstance(found := landing(case, d), Landing)]
    below = {path for d in images for path in d.backing if path.startswith("/")}
    written = []
    for disk, lands in places:
        here = case.pair.source_files.get(lands.path)
        if here is None or lands.path in below or is_shared(case, lands.path, lands.dest_path,
                                                            is_read_only=disk.is_readonly):  # fmt: skip
            continue
        size = here.size_bytes if lands.makes_volume or here.is_block else here.allocated_bytes
        written.append(Written(lands.dest_path, size, lands.dest_pool))
    for path in sorted(below):
        written += [] if is_shared(case, path, path, is_read_only=True) else _layer(case, path)
    for path in (*((vm.nvram,) if vm.nvram else ()), *tpm_files(vm)):
        here = case.pair.source_files.get(path)
        if here is not None and not is_shared(case, path, path):
            written.append(Written(path, here.allocated_bytes))
    return written
