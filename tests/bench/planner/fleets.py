"""Fleets with a seed, as arrays: hosts all alike, VMs of six sizes, groups of VMs that are to be apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vmferry.solver.packing.board import Apart, Board, Ints, Problem, make_board

SIZES_MIB = (1024, 2048, 4096, 8192, 16384, 32768)
SHARES = (0.2, 0.25, 0.25, 0.15, 0.1, 0.05)
GROUP = 4  # VMs that are to be apart, in each group


@dataclass(frozen=True)
class Fleet:
    """The board, and what the htools' text format needs besides."""

    board: Board
    groups: tuple[tuple[int, ...], ...]

    @property
    def filled(self) -> float:
        """Share of all memory that is taken."""
        return float(self.board.load[:, 0].sum() / self.board.capacity[:, 0].sum())


def make_fleet(
    hosts: int, vms: int, filled: float, seed: int, groups: int = 0, leaving: Sequence[int] = (), is_odd: bool = False
) -> Fleet:
    """Return a fleet of which `filled` of the memory of the hosts that stay is asked, and 40 % of the vCPUs.

    Each VM is put on a random host with room; members of a group never share one. Odd: sizes are no powers of two, so
    that what is left free on a host fits hardly any VM.
    """
    rng = np.random.default_rng(seed)
    memory = rng.choice(SIZES_MIB, size=vms, p=SHARES)
    memory = memory * rng.integers(12, 21, size=vms) // 16 if is_odd else memory
    cpus = rng.choice([1, 2, 4, 8], size=vms, p=[0.3, 0.4, 0.2, 0.1])
    disk = rng.integers(10, 200, size=vms)
    demand = np.stack([memory, cpus, disk], axis=1)
    room = np.array(
        [
            int(np.ceil(memory.sum() / filled / (hosts - len(leaving)))),
            int(cpus.sum() / hosts * 2.5),
            int(disk.sum()),  # on storage that all hosts share, as the peers count it
        ]
    )
    members = rng.permutation(vms)[: groups * GROUP].reshape(groups, GROUP) if groups else np.empty((0, GROUP), int)
    group_of = {int(v): n for n, group in enumerate(members) for v in group}
    home = _homes(rng, demand, room, hosts, group_of)
    apart = [Apart(tuple(int(v) for v in group)) for group in members]
    board = make_board(Problem(demand=demand, capacity=np.tile(room, (hosts, 1)), home=home, apart=apart))
    return Fleet(board, tuple(group.items for group in apart))


def _homes(rng: np.random.Generator, demand: Ints, room: Ints, hosts: int, group_of: dict[int, int]) -> Ints:
    home = np.full(len(demand), -1, np.int64)
    load = np.zeros((hosts, 3), np.int64)
    used: dict[int, set[int]] = {}
    for vm in np.argsort(-demand[:, 0], kind="stable"):
        taken = used.setdefault(group_of[int(vm)], set()) if int(vm) in group_of else set()
        start = int(rng.integers(hosts))
        for step in range(hosts):
            host = (start + step) % hosts
            if host not in taken and bool((load[host] + demand[vm] <= room).all()):
                home[vm] = host
                load[host] += demand[vm]
                taken.add(host)
                break
        else:
            raise RuntimeError(f"VM {vm} found no host: the fleet is too full for its seed")
    return home


def violations(fleet: Fleet, where: Ints) -> list[str]:
    """Return what is wrong with a placement; sums are done anew, nothing of the solver is used."""
    board = fleet.board
    found = []
    for host in range(board.capacity.shape[0]):
        there = np.flatnonzero(where == host)
        load = board.demand[there, 0, :].sum(axis=0)
        if bool((load > board.capacity[host]).any()):
            found.append(f"host {host} holds {load.tolist()}, it has {board.capacity[host].tolist()}")
    for number, group in enumerate(fleet.groups):
        places = [int(where[vm]) for vm in group]
        if len(set(places)) < len(places):
            found.append(f"group {number} shares a host: {places}")
    return found
