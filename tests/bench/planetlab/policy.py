"""vmferry's planning on CloudSim's fleet: its forecast of demand, its packing kernels, its judgement of worth.

Every three hours: consolidate. At every step: relieve hosts that are overloaded now. Nothing is tuned to a day; the
figures here are those of an operator who starts without any history. Where memory is enforced it is what is scarce, and
does not change: one consolidation is all there is to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
)
from tests.bench.planetlab.measures import Policy
from tests.bench.planetlab.traces import STEP_S
from vmferry.model.usage import Demand, UsageSample
from vmferry.model.worth import HostPrice, MovePrice, WorthPolicy
from vmferry.planning.demand import DAY_S, DemandPolicy, Peers, Sizing, forecast_demand
from vmferry.planning.relief import Load, leaving
from vmferry.planning.worth import cost_per_useful_hour, judge_emptying, price
from vmferry.solver.packing.backend import kernels_for
from vmferry.solver.packing.board import Board, Problem, make_board
from vmferry.solver.packing.emptying import Emptying, empty_hosts
from vmferry.solver.packing.kernels import EMPTIEST, TIGHTEST

EVERY_STEPS = 36
_DEMAND = DemandPolicy(horizon_s=EVERY_STEPS * STEP_S, recent_s=DAY_S, days=0, known_after_s=0, learn_s=3600)
_WORTH = WorthPolicy(hours=EVERY_STEPS * STEP_S / 3600, max_moves=2000)
_MIPS_PER_CPU = 500.0  # the smallest VM is one vCPU
_MILLI = 1000
_RELIEVED = 0.95  # of a host's capacity
_PRICES = {
    str(h): HostPrice(host=str(h), idle_watts=WATTS_G5[0] if IS_G5[h] else WATTS_G4[0], max_watts=135.0)
    for h in range(HOSTS)
}


@dataclass
class Planner:
    """A policy for a day; `has_memory`: hosts are no fuller than their memory allows, as in the real world."""

    has_memory: bool = False
    _samples: list[list[UsageSample]] = field(default_factory=list)

    def __call__(self, asked: Floats, where: Ints, kind: Ints) -> Ints:
        """Return where every VM should be now."""
        step = asked.shape[1] - 1
        self._note(asked[:, step], step)
        if step == 1 or (step and step % EVERY_STEPS == 0 and not self.has_memory):
            where = self._consolidate(where, kind, step)
        return self._relieve(asked[:, step], where, kind)

    def _note(self, now: Floats, step: int) -> None:
        """Keep what was used; a sample is of the time before it."""
        self._samples = self._samples or [[] for _ in now]
        for vm, mips in enumerate(now):
            cpus = float(mips) / _MIPS_PER_CPU
            self._samples[vm].append(
                UsageSample(start_s=(step - 1) * STEP_S, span_s=STEP_S, cpus=cpus, cpus_peak=cpus, memory_mib=0)
            )

    def _consolidate(self, where: Ints, kind: Ints, step: int) -> Ints:
        """Size the VMs, relieve hosts that will be too busy, empty what is worth it."""
        demands = self._demands(kind, step)
        sizing = Sizing.of(demands, HOST_MIPS[1] / _MIPS_PER_CPU)
        sizes = np.array([round(sizing.size(demand) * _MILLI) for demand in demands], np.int64)
        room = np.maximum(0, (HOST_MIPS / _MIPS_PER_CPU - sizing.headroom()) * _MILLI).astype(np.int64)
        where = self._move_off(sizes, room, where, kind, target=1.0, rule=TIGHTEST)
        keep = np.zeros(HOSTS, np.bool_)
        while True:
            board = self._board(sizes, room, where, kind)
            emptied = empty_hosts(board, Emptying(cost=self._costs(sizes, room, kind), keep=keep, weight=sizes))
            after = np.asarray(emptied.where)
            groups = {
                str(host): [_price(vm, kind) for vm in np.flatnonzero((where == host) & (after != host))]
                for host in emptied.hosts
            }
            worth = judge_emptying(groups, _PRICES, _WORTH)
            refused = [int(saving.host) for saving in worth.savings if not saving.is_worth]
            if not refused or not worth.is_worth:
                return after if worth.is_worth else where
            keep[refused] = True

    def _demands(self, kind: Ints, step: int) -> list[Demand]:
        now_s = step * STEP_S
        vcpus = (VM_MIPS[kind] / _MIPS_PER_CPU).astype(int)
        pairs = list(zip(self._samples, vcpus, strict=True))
        peers = Peers.of((samples, int(cpus)) for samples, cpus in pairs)
        return [forecast_demand(samples, int(cpus), now_s, _DEMAND, peers) for samples, cpus in pairs]

    def _costs(self, sizes: Ints, room: Ints, kind: Ints) -> list[float]:
        """Return what a host costs for each unit of what is scarce in the fleet: CPUs, or memory where it counts."""
        cpu_share = sizes.sum() / room.sum()
        memory_share = VM_MB[kind].sum() / (HOSTS * HOST_MB)
        is_memory = self.has_memory and memory_share > cpu_share
        units = np.full(HOSTS, HOST_MB) if is_memory else room.astype(np.float64)
        return [cost_per_useful_hour(_PRICES[str(host)], float(units[host])) for host in range(HOSTS)]

    def _board(self, sizes: Ints, room: Ints, where: Ints, kind: Ints) -> Board:
        demand, capacity = sizes[:, None], room[:, None]
        if self.has_memory:
            demand = np.column_stack([sizes, VM_MB[kind].astype(np.int64)])
            capacity = np.column_stack([room, np.full(HOSTS, int(HOST_MB))])
        # A VM is one core: one that needs more than a G4's core is not put there. Where all that is stated counts, that
        # is the core it was sold, as in CloudSim's first placement.
        slow = np.column_stack([np.ones(HOSTS, np.bool_), IS_G5]).T
        needed = VM_MIPS[kind] if self.has_memory else sizes / _MILLI * _MIPS_PER_CPU
        needs_fast = needed > CORE_MIPS[0]
        return make_board(
            Problem(demand=demand, capacity=capacity, home=where, allowed=slow, row=needs_fast.astype(np.int64))
        )

    def _relieve(self, now: Floats, where: Ints, kind: Ints) -> Ints:
        """Take VMs off hosts that lack CPU now."""
        sizes = np.ceil(now / _MIPS_PER_CPU * _MILLI).astype(np.int64)
        room = (HOST_MIPS / _MIPS_PER_CPU * _MILLI).astype(np.int64)
        return self._move_off(sizes, room, where, kind, target=_RELIEVED, rule=EMPTIEST)

    def _move_off(self, sizes: Ints, room: Ints, where: Ints, kind: Ints, *, target: float, rule: int) -> Ints:
        """Move VMs off hosts with less room than they need; another host is switched on where nobody has room."""
        loads = [
            Load(key=str(vm), host=str(where[vm]), cpus=float(sizes[vm]), price=float(VM_MB[kind[vm]]))
            for vm in range(len(where))
        ]
        leave = leaving(loads, {str(host): float(room[host]) for host in range(HOSTS)}, target)
        items = np.array([int(vm) for vms in leave.values() for vm in vms], np.int64)
        if not len(items):
            return where
        board = self._board(sizes, (room * target).astype(np.int64), where, kind)
        kernels = kernels_for(board.size)
        is_on = np.bincount(where, minlength=HOSTS) > 0
        for item in items:
            kernels.take(board, item)
        is_open = is_on & IS_G5 & ~np.isin(np.arange(HOSTS), [int(host) for host in leave])
        off = list(np.flatnonzero(~is_on & IS_G5))
        rank = np.zeros(HOSTS, np.int64)
        while kernels.place_all(board, items, is_open, rank, rule) and off:
            is_open[off.pop(0)] = True
        stays = board.where < 0
        return np.where(stays, where, board.where)


def late(policy: Policy) -> Policy:
    """Return the policy for readings that are a step old: it acts on what was asked five minutes ago."""

    def act(asked: Floats, where: Ints, kind: Ints) -> Ints:
        return policy(asked[:, :-1], where, kind) if asked.shape[1] > 1 else where

    return act


def _price(vm: int, kind: Ints) -> MovePrice:
    memory = float(VM_MB[kind[vm]])
    return price(str(vm), memory / MOVE_MB_S, round(memory * 10**6), 0, _WORTH)
