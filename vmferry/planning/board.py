"""What is free on each destination while a plan grows; the only mutable thing in planning."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from vmferry.model.host import Reservation
from vmferry.planning.candidates import Candidate, Demand
from vmferry.rules.case import Fleet, Side
from vmferry.rules.disk_room import free_stores
from vmferry.rules.room import hugepages_free_kib, memory_free_kib, vcpus_free

_MIB = 1 << 20


@dataclass
class Room:
    """What one destination can still take; `total_kib` is what relative numbers refer to."""

    memory_kib: int
    total_kib: int
    vcpus: float
    disk: dict[str, int]  # store → free bytes; a store is not among them where nobody knows
    hugepages: dict[int, int]  # page size → free KiB; empty where the pools were not read
    placed: dict[str, Candidate] = field(default_factory=dict)  # by UUID, in the order of placing
    layers: Counter[str] = field(default_factory=Counter)  # path → how many of those placed build on it

    def fits(self, demand: Demand) -> bool:
        """Whether the demand fits beside what is placed; a resource that is not asked for is never short."""
        if demand.memory_kib > max(0, self.memory_kib) or demand.vcpus > max(0.0, self.vcpus):
            return False
        if demand.page_kib is not None and demand.hugepages_kib > self.hugepages.get(demand.page_kib, 0):
            return False
        return not self._lacking(demand)

    def disk_needed(self, demand: Demand) -> dict[str, int]:
        """Return store → bytes that the demand takes; nothing for a layer that a VM placed here brings anyway."""
        needed = dict(demand.disk)
        for layer in demand.layers:
            if layer.store is not None and not self.layers[layer.dest_path]:
                needed[layer.store] = needed.get(layer.store, 0) + layer.size_bytes
        return needed

    def _lacking(self, demand: Demand) -> list[tuple[str, int]]:
        """Return (store, bytes needed) where there is too little."""
        if not demand.disk and not demand.layers:
            return []
        needed = self.disk_needed(demand).items()
        return [(store, size) for store, size in needed if store in self.disk and size > max(0, self.disk[store])]

    def add(self, demand: Demand, sign: int) -> None:
        """Take (`sign` 1) or give back (-1) a demand."""
        self.memory_kib -= sign * demand.memory_kib
        self.vcpus -= sign * demand.vcpus
        if demand.page_kib is not None:
            self.hugepages[demand.page_kib] = self.hugepages.get(demand.page_kib, 0) - sign * demand.hugepages_kib
        layers = [layer.dest_path for layer in demand.layers]
        if sign < 0:
            self.layers.subtract(layers)  # before: its bytes are given back where nobody else builds on it
        for store, size in self.disk_needed(demand).items():
            if store in self.disk:
                self.disk[store] -= sign * size
        if sign > 0:
            self.layers.update(layers)

    def shortage(self, demand: Demand) -> str:
        """Say what is short, with numbers; empty when the demand fits."""
        short = []
        if demand.memory_kib > max(0, self.memory_kib):
            free, needed = self.memory_kib // 1024, -(-demand.memory_kib // 1024)
            short.append(f"has {free} MiB of memory, needs {needed} MiB")
        if demand.page_kib is not None and demand.hugepages_kib > self.hugepages.get(demand.page_kib, 0):
            free, needed = self.hugepages.get(demand.page_kib, 0), demand.hugepages_kib
            short.append(f"has {free // 1024} MiB of {demand.page_kib} KiB pages, needs {-(-needed // 1024)} MiB")
        if demand.vcpus > max(0.0, self.vcpus):
            short.append(f"may run {self.vcpus:g} more vCPUs, needs {demand.vcpus}")
        for store, size in self._lacking(demand):
            short.append(f"has {self.disk[store] // _MIB} MiB in {store}, needs {-(-size // _MIB)} MiB")
        return "; ".join(short)


def room_of(side: Side, reserved: Reservation) -> Room:
    """Return what arrivals may take of a host now."""
    return Room(
        memory_kib=memory_free_kib(side, reserved),
        total_kib=max(1, side.facts.memory_total_kib),
        vcpus=vcpus_free(side, reserved),
        disk=free_stores(side, reserved),
        hugepages={pool.size_kib: hugepages_free_kib(pool, reserved) for pool in side.facts.hugepages or ()},
    )


class Board:
    """All destinations and who is placed where."""

    def __init__(self, fleet: Fleet, dests: tuple[str, ...]) -> None:
        reserved = fleet.snapshot.reserved
        self.dest_of: dict[str, str] = {}
        self.rooms: dict[str, Room] = {}
        for name in dests:
            self.rooms[name] = room_of(fleet.side(name), reserved.get(name, Reservation()))

    def fits(self, candidate: Candidate, dest: str) -> bool:
        """Whether `dest` is feasible for the VM and has room beside what is placed."""
        demand = candidate.demands.get(dest)
        return demand is not None and self.rooms[dest].fits(demand)

    def place(self, candidate: Candidate, dest: str) -> None:
        """Put the VM on `dest`."""
        self.rooms[dest].add(candidate.demands[dest], 1)
        self.rooms[dest].placed[candidate.key] = candidate
        self.dest_of[candidate.key] = dest

    def lift(self, candidate: Candidate) -> str:
        """Take a placed VM off the board; return where it was."""
        dest = self.dest_of.pop(candidate.key)
        self.rooms[dest].add(candidate.demands[dest], -1)
        del self.rooms[dest].placed[candidate.key]
        return dest

    def free_share(self, candidate: Candidate, dest: str) -> float:
        """Return the smallest share of memory, huge pages and disk that stays free if the VM is put there; 0 to 1."""
        room, demand = self.rooms[dest], candidate.demands[dest]
        shares = [(room.memory_kib - demand.memory_kib) / room.total_kib]
        if demand.page_kib is not None and (pages := room.hugepages.get(demand.page_kib, 0)) > 0:
            shares.append(1 - demand.hugepages_kib / pages)
        needed = room.disk_needed(demand).items()
        shares += [1 - size / room.disk[store] for store, size in needed if room.disk.get(store, 0) > 0]
        return min(shares)
