"""What items take and hosts hold, as arrays: memory, vCPUs, huge pages by size, disk by store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vmferry.model.host import Reservation
from vmferry.planning.board import Room, room_of
from vmferry.planning.candidates import Demand
from vmferry.planning.fleet.items import Item, home_memory, home_pages
from vmferry.rules.case import Fleet
from vmferry.solver.packing.board import Ints

MEMORY, VCPUS = 0, 1
MILLI = 1000  # vCPUs are counted in thousandths: ratios are not whole
_MIB_KIB = 1024


@dataclass(frozen=True)
class Resources:
    """Columns: memory KiB, vCPU thousandths, KiB of each page size, bytes of each host's stores in its own order."""

    names: tuple[str, ...]
    pages: tuple[int, ...]
    stores: tuple[tuple[str, ...], ...]  # per host
    demand: Ints  # [V, H, R]
    at_home: Ints  # [V, R]
    capacity: Ints  # [H, R]

    def lacking(self, host: int, resource: int, free: int, wanted: int) -> str:
        """Say what is short on a host, in the units of an operator."""
        if resource == MEMORY:
            return f"has {max(0, free) // _MIB_KIB} MiB of memory, needs {-(-wanted // _MIB_KIB)} MiB"
        if resource == VCPUS:
            return f"may run {max(0, free) / MILLI:g} more vCPUs, needs {wanted / MILLI:g}"
        if resource < 2 + len(self.pages):
            size = self.pages[resource - 2]
            return f"has {max(0, free) // 1024} MiB of {size} KiB pages, needs {-(-wanted // 1024)} MiB"
        store = self.stores[host][resource - 2 - len(self.pages)]
        return f"has {max(0, free) >> 20} MiB in {store}, needs {-(-wanted // (1 << 20))} MiB"


def read_resources(fleet: Fleet, hosts: Sequence[str], items: Sequence[Item]) -> Resources:
    """Return the arrays of a fleet; capacity is what is free now and what the items there would free by leaving."""
    rooms = [room_of(fleet.side(h), fleet.snapshot.reserved.get(h, Reservation())) for h in hosts]
    pages = tuple(sorted({size for room in rooms for size in room.hugepages}))
    stores = tuple(tuple(sorted(room.disk)) for room in rooms)
    names = ("memory", "vCPUs", *(f"{size} KiB pages" for size in pages))
    names += tuple(f"disk {n}" for n in range(max((len(s) for s in stores), default=0)))
    shape = Shape(pages, stores, len(names))
    freed = {host: home_memory(fleet, host) for host in hosts}
    leave = [_at_home(fleet, item, shape, freed[item.home]) for item in items]
    at_home = np.array(leave, np.int64).reshape(-1, len(names))
    demand = np.repeat(at_home[:, None, :], len(hosts), axis=1)  # where it may not go: bounds take the least of all
    place = {host: number for number, host in enumerate(hosts)}
    for number, item in enumerate(items):
        if columns := _wanted(item, place, shape):
            demand[number, list(columns)] = list(columns.values())
    capacity = np.array([_free(room, n, shape) for n, room in enumerate(rooms)], np.int64).reshape(-1, len(names))
    for number, item in enumerate(items):
        capacity[place[item.home]] += at_home[number]
        demand[number, place[item.home]] = at_home[number]
    return Resources(names, pages, stores, demand, at_home, capacity)


@dataclass(frozen=True)
class Shape:
    """Which column is what."""

    pages: tuple[int, ...]
    stores: tuple[tuple[str, ...], ...]
    width: int

    def store(self, host: int, name: str) -> int | None:
        """Return the column of a store; None where nobody knows what is free there."""
        return 2 + len(self.pages) + self.stores[host].index(name) if name in self.stores[host] else None


def _wanted(item: Item, place: Mapping[str, int], shape: Shape) -> dict[int, list[int]]:
    """Return host → what the item's VMs take there together, of the hosts that they may go to."""
    columns: dict[int, list[int]] = {}
    for candidate in item.candidates:
        for dest, wanted in candidate.demands.items():
            host = place.get(dest)
            if host is not None:
                column, others = _column(wanted, host, shape), columns.get(host)
                columns[host] = column if others is None else [a + b for a, b in zip(column, others, strict=True)]
    return columns


def _column(wanted: Demand, host: int, shape: Shape) -> list[int]:
    """Return what a demand takes; each VM with all layers that it brings: that refuses, it never over-commits."""
    column = [0] * shape.width
    column[MEMORY], column[VCPUS] = wanted.memory_kib, wanted.vcpus * MILLI
    if wanted.page_kib is not None:
        column[2 + shape.pages.index(wanted.page_kib)] = wanted.hugepages_kib
    layers = tuple((layer.store or "", layer.size_bytes) for layer in wanted.layers)
    for store, size in (*wanted.disk, *layers):
        place = shape.store(host, store)
        if place is not None:
            column[place] += size
    return column


def _free(room: Room, host: int, shape: Shape) -> list[int]:
    free = [room.memory_kib, int(room.vcpus * MILLI)] + [room.hugepages.get(size, 0) for size in shape.pages]
    free += [room.disk[store] for store in shape.stores[host]]
    return free + [0] * (shape.width - len(free))


def _at_home(fleet: Fleet, item: Item, shape: Shape, freed: dict[str, int]) -> list[int]:
    """Return what leaving frees; images stay where they are until they are purged."""
    column = [0] * shape.width
    for key, vm in zip(item.keys, item.vms, strict=True):
        column[MEMORY] += freed.get(key, 0)
        column[VCPUS] += vm.vcpus * MILLI if vm.is_active else 0
        for size, kib in home_pages(fleet, item.home, vm).items():
            if size in shape.pages:
                column[2 + shape.pages.index(size)] += kib
    return column
