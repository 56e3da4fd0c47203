"""BtrPlace's own reconfiguration instances: read, solved by the packing solver, and checked by sums done anew.

`preserve` there raises what one VM is to get; `running` starts VMs that are ready; `spread` and `among` are as ours.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vmferry.solver.packing.board import NOWHERE, Apart, Board, Ints, Problem, make_board
from vmferry.solver.packing.placing import Placing, place_items, relieve


@dataclass(frozen=True)
class Instance:
    """The problem as numbers; `home` NOWHERE is a VM that waits to be started."""

    name: str
    demand: Ints
    capacity: Ints
    home: Ints
    online: Any
    spreads: tuple[tuple[int, ...], ...]
    amongs: tuple[tuple[tuple[int, ...], tuple[tuple[int, ...], ...]], ...]


def read(path: Path) -> Instance:
    """Return an instance; VMs and hosts are numbered in the order of their ids."""
    document = json.loads(gzip.decompress(path.read_bytes()))
    mapping = document["model"]["mapping"]
    hosts = sorted({int(h) for h in mapping["onlineNodes"]} | {int(h) for h in mapping["offlineNodes"]})
    at = {vm: int(h) for h, node in mapping["onlineNodes"].items() for vm in node["runningVMs"]}
    vms = sorted({*at, *mapping["readyVMs"]})
    host_no, vm_no = {h: n for n, h in enumerate(hosts)}, {v: n for n, v in enumerate(vms)}
    views = [v for v in document["model"]["views"] if v["id"] == "shareableResource"]
    demand = np.array([[int(v["vms"].get(str(vm), v["defConsumption"])) for v in views] for vm in vms], np.int64)
    capacity = np.array([[int(v["nodes"].get(str(h), v["defCapacity"])) for v in views] for h in hosts], np.int64)
    names = [v["rcId"] for v in views]
    online = np.array([str(h) in mapping["onlineNodes"] for h in hosts], np.bool_)
    spreads, amongs = [], []
    for c in document["constraints"]:
        match c["id"]:
            case "preserve":
                row, column = vm_no[c["vm"]], names.index(c["rc"])
                demand[row, column] = max(int(demand[row, column]), int(c["amount"]))
            case "spread":
                spreads.append(tuple(vm_no[v] for v in c["vms"]))
            case "among":
                parts = tuple(tuple(host_no[h] for h in part if h in host_no) for part in c["parts"])
                amongs.append((tuple(vm_no[v] for v in c["vms"]), parts))
            case "offline":
                online[host_no[c["node"]]] = False
            case "online" | "running":
                pass
            case other:
                raise ValueError(f"{path.name}: constraint {other} is not known here")
    home = np.array([host_no[at[v]] if v in at else NOWHERE for v in vms], np.int64)
    return Instance(path.name, demand, capacity, home, online, tuple(dict.fromkeys(spreads)), tuple(amongs))


def board_of(one: Instance) -> Board:
    """Return the board; each `among` is fenced to the part that holds most of its VMs, equal fences share a row."""
    rows: dict[bytes, int] = {one.online.tobytes(): 0}
    allowed = [one.online]
    row = np.zeros(len(one.home), np.int64)
    for members, parts in one.amongs:
        there = Counter(int(one.home[vm]) for vm in members)
        part = max(parts, key=lambda hosts: sum(there[h] for h in hosts))
        mask = np.zeros(len(one.capacity), np.bool_)
        mask[list(part)] = True
        for vm in members:
            both = mask & allowed[row[vm]]
            key = both.tobytes()
            if key not in rows:
                rows[key] = len(allowed)
                allowed.append(both)
            row[vm] = rows[key]
    apart = [Apart(members) for members in one.spreads]
    return make_board(Problem(one.demand, one.capacity, one.home, np.array(allowed), row, apart=apart))


def solve(board: Board, online: Any) -> Ints:
    """Return where every VM is: those that must leave, and those to be started, are placed; all others stay."""
    state, leaving = relieve(board)
    items = np.union1d(leaving, np.flatnonzero(board.home == NOWHERE))
    return place_items(state, Placing(items, online, most_extra=len(board.home))).board.where


def violations(one: Instance, where: Ints) -> list[str]:
    """Return every broken promise; written without the solver."""
    found = [f"vm {vm} runs nowhere" for vm in np.flatnonzero(where < 0)]
    found += [f"vm {vm} is on host {where[vm]}, which is off" for vm in np.flatnonzero(~one.online[where])]
    load: Counter[tuple[int, int]] = Counter()
    for vm, host in enumerate(where.tolist()):
        for resource, size in enumerate(one.demand[vm].tolist()):
            load[host, resource] += size
    for (host, resource), size in load.items():
        if size > one.capacity[host, resource]:
            found.append(f"host {host} holds {size} of resource {resource}, it has {one.capacity[host, resource]}")
    for members in one.spreads:
        places = [int(where[vm]) for vm in members]
        if len(set(places)) < len(places):
            found.append(f"VMs {members} share a host")
    for members, parts in one.amongs:
        hosts = {int(where[vm]) for vm in members}
        if not any(hosts <= set(part) for part in parts):
            found.append(f"VMs {members} are in no one part")
    return found
