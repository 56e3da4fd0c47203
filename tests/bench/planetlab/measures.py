"""One day under a policy, with the measures of Beloglazov and Buyya (2012), as CloudSim computes them.

Energy: each host that is on draws its SPECpower watts for the whole step. SLATAH: the share of active time in which a
host's VMs ask for more than they get; what is overloaded at a step stays so until the last of the moves that relieve it
has arrived. PDM: a VM loses 10 % while it moves. SLAV = SLATAH × PDM, ESV = energy × SLAV.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tests.bench.planetlab.fleet import (
    CORE_MIPS,
    HOST_MB,
    HOST_MIPS,
    HOSTS,
    IS_G5,
    MOVE_MB_S,
    VM_MB,
    VM_MIPS,
    WATTS_G4,
    WATTS_G5,
    Floats,
    Ints,
    first_placement,
    kinds,
    watts,
)
from tests.bench.planetlab.traces import STEP_S, STEPS, Percents

_J_PER_KWH = 3.6e6

# (MIPS asked by each VM at each step until now, host of each VM, kind of each VM) → host of each VM.
Policy = Callable[[Floats, Ints, Ints], Ints]


@dataclass(frozen=True)
class Day:
    """What a day cost."""

    kwh: float
    moves: int
    slatah: float  # shares, not percent
    pdm: float
    hosts: float  # on, mean
    most_mb: float  # of any host at any time

    @property
    def slav(self) -> float:
        """SLA violation: both together."""
        return self.slatah * self.pdm

    @property
    def esv(self) -> float:
        """Energy and SLA violation together."""
        return self.kwh * self.slav

    def data(self) -> dict[str, Any]:
        """Return all figures."""
        return {**asdict(self), "slav": self.slav, "esv": self.esv}


def run_day(percents: Percents, policy: Policy) -> Day:
    """Play a day: at each step the policy sees what is asked now and was before, never what comes."""
    kind = kinds(len(percents))
    asked = percents / 100 * VM_MIPS[kind][:, None]
    move_s = VM_MB[kind] / MOVE_MB_S
    where = first_placement(kind)
    joules = overloaded_s = active_s = lost = most_mb = 0.0
    moves = on = 0
    for step in range(STEPS):
        now = asked[:, step]
        after = policy(asked[:, : step + 1], where.copy(), kind)
        moved = np.flatnonzero(after != where)
        wait_s = np.zeros(HOSTS)
        np.maximum.at(wait_s, where[moved], move_s[moved])
        before_over, before_active, _ = _loads(now, where)
        over, active, given = _loads(now, after)
        overloaded_s += wait_s[before_over & before_active].sum() + (STEP_S - wait_s)[over & active].sum()
        active_s += STEP_S * active.sum()
        lost += (0.1 * now * move_s)[moved].sum()
        moves += len(moved)
        where = after
        is_on = np.bincount(where, minlength=HOSTS) > 0
        joules += watts(given / HOST_MIPS)[is_on].sum() * STEP_S
        on += int(is_on.sum())
        most_mb = max(most_mb, float(np.bincount(where, VM_MB[kind], HOSTS).max()))
    return Day(
        kwh=joules / _J_PER_KWH,
        moves=moves,
        slatah=overloaded_s / active_s,
        pdm=lost / (asked.sum() * STEP_S),
        hosts=on / STEPS,
        most_mb=most_mb,
    )


def _loads(now: Floats, where: Ints) -> tuple[Any, Any, Floats]:
    """Return per host: whether its VMs get less than they ask, whether they ask at all, what they get (MIPS)."""
    wanted = np.bincount(where, now, HOSTS)
    of_cores = np.bincount(where, np.minimum(now, CORE_MIPS[where]), HOSTS)
    is_over = (of_cores > HOST_MIPS + 1e-6) | (of_cores < wanted - 1e-6)
    return is_over, wanted > 0, np.minimum(of_cores, HOST_MIPS)


def dvfs_as_cloudsim(percents: Percents) -> float:
    """Return the kWh that CloudSim 3.0.3 prints for DVFS alone: nobody moves; it tells whether these measures are its.

    Three of its habits, which are not vmferry's: a step's energy is the mean of its two ends, but nothing where the
    first end is idle; a VM that asks for nothing at two samples in a row is taken for ended and removed; the clock
    is 0.1 s ahead, so that samples are read between two of them.
    """
    kind = kinds(len(percents))
    where = first_placement(kind)
    after = np.concatenate([percents[:, 1:], percents[:, -1:]], axis=1)
    seen = (percents * (1 - 0.1 / STEP_S) + after * (0.1 / STEP_S)) / 100
    seen = np.where(np.cumsum(seen == 0, axis=1) > 0, 0.0, seen)
    drawn, shares = np.zeros((HOSTS, STEPS)), np.zeros((HOSTS, STEPS))
    for step in range(STEPS):
        load = np.bincount(where, seen[:, step] * VM_MIPS[kind], HOSTS)
        shares[:, step] = np.minimum(1, load / HOST_MIPS)
        drawn[:, step] = watts(shares[:, step])
    frames = np.where(shares[:, :-1] > 0, (drawn[:, :-1] + drawn[:, 1:]) / 2, 0)
    return float(frames.sum()) * STEP_S / _J_PER_KWH


def bound_of_cpu(percents: Percents) -> float:
    """Return the least kWh of any placement: every MIPS from a full G5, the most that a watt gives."""
    kind = kinds(len(percents))
    mips = (percents / 100 * VM_MIPS[kind][:, None]).sum()
    return float(mips) * WATTS_G5[-1] / HOST_MIPS[1] * STEP_S / _J_PER_KWH


@dataclass(frozen=True)
class LeastHosts:
    """How many hosts the memory of all VMs needs, whatever their CPU use."""

    by_sum: int
    g5: int  # for VMs that only a G5's core can carry
    all: int  # by counting


def least_hosts(vms: int) -> LeastHosts:
    """Return the hosts that hold the memory: by its sum, and by counting.

    A host holds at most four times 870 MB, and 1,740 MB is two of them: hosts ≥ ⌈units ÷ 4⌉, whatever the rest.
    """
    kind = kinds(vms)
    units = (VM_MB[kind] // 870).astype(int)
    most = int(HOST_MB // 870)
    fast = VM_MIPS[kind] > CORE_MIPS[0]
    by_sum = math.ceil(VM_MB[kind].sum() / HOST_MB)
    g5 = math.ceil(units[fast].sum() / most)
    return LeastHosts(by_sum=by_sum, g5=g5, all=max(by_sum, math.ceil(units.sum() / most)))


def bound_of_memory(percents: Percents) -> float:
    """Return the least kWh while all memory is held and each VM has a core as fast as it was sold.

    Idle watts of the least hosts, G4 where that is allowed; for what is used, the cheapest watt per MIPS above idle
    that either server has at any load. No placement pays less for either.
    """
    least = least_hosts(len(percents))
    asked = (percents / 100 * VM_MIPS[kinds(len(percents))][:, None]).sum(axis=0)
    g4 = min(least.all - least.g5, int((~IS_G5).sum()))
    idle = g4 * WATTS_G4[0] + (least.all - g4) * WATTS_G5[0]
    rises = [
        (curve[n] - curve[0]) / (n / 10 * mips)
        for curve, mips in ((WATTS_G4, HOST_MIPS[0]), (WATTS_G5, HOST_MIPS[1]))
        for n in range(1, 11)
    ]
    return float((idle + asked * min(rises)).sum()) * STEP_S / _J_PER_KWH


def bound_as_published(percents: Percents) -> float:
    """Return the bound of the project's own notes: as many G5 as the sum of memory needs, watts linear in load."""
    asked = (percents / 100 * VM_MIPS[kinds(len(percents))][:, None]).sum(axis=0)
    hosts = least_hosts(len(percents)).by_sum
    rise = (WATTS_G5[-1] - WATTS_G5[0]) / HOST_MIPS[1]
    return float((hosts * WATTS_G5[0] + asked * rise).sum()) * STEP_S / _J_PER_KWH
