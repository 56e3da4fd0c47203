"""How a search cools: phases, each with temperatures and prices of violations from its start to its end.

Everything is in shares of the problem's own scale (the cost that one mean process would add to full machines), so that
nothing is tuned to an instance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vmferry.solver.reassignment.problem import Problem

_HARD = 1e9  # × scale: no move ever pays for a violation


@dataclass(frozen=True)
class Phase:
    """One cooling. Temperatures are shares of the scale, prices of a unit above capacity those of the mean load
    weight."""

    share: float  # of the budget
    hot: float
    cold: float
    over: tuple[float, float]  # geometric over `settle` of the phase, then constant
    bound: float  # price of a violated spread or dependency, in scales
    transient: float = 0.0  # price of moving the mean transient use, in scales, linear to 0 at 70 % of the phase
    settle: float = 0.5
    takes_best: bool = True  # begins at the best assignment of all workers, not at its own


@dataclass(frozen=True)
class Setting:
    """What the kernel is told for one stretch of steps."""

    temperature: float
    over: float
    bound: float
    transient: float


# Two ways, good at different problems: through violations, hot; and first inside all constraints, with priced moves.
_INSIDE = Phase(share=0.2, hot=0.1, cold=1e-4, over=(_HARD, _HARD), bound=_HARD, transient=1.0, takes_best=False)
_THROUGH = Phase(share=0.7, hot=0.3, cold=2e-3, over=(10.0, 1e5), bound=1.0, settle=0.9, takes_best=False)
_AFTER = replace(_THROUGH, share=0.5, hot=0.1)
# What remains of a cooling, down to single units of cost; and a reheating of the best of all.
_COLD = Phase(share=0.1, hot=2e-3, cold=0.0, over=(1e5, _HARD), bound=10.0, takes_best=False)
_AGAIN = Phase(share=0.1, hot=6e-3, cold=0.0, over=(1e5, _HARD), bound=10.0)
WAYS: tuple[tuple[Phase, ...], ...] = (
    (_THROUGH, _COLD, _AGAIN, _AGAIN),
    (_INSIDE, _AFTER, _COLD, _AGAIN, _AGAIN),
)
# A way through violations needs many steps per pair of process and machine; beyond so many pairs there is no time for it.
_LARGE = 1_000_000
_LONG = replace(_INSIDE, share=0.7)
LARGE_WAYS: tuple[tuple[Phase, ...], ...] = (
    (_LONG, _COLD, _AGAIN, _AGAIN),
    (replace(_LONG, hot=0.01), _COLD, _AGAIN, _AGAIN),
)


def phases_of(problem: Problem, worker: int) -> tuple[Phase, ...]:
    """Return the phases of a worker, counted from 0; their shares add up to 1."""
    ways = LARGE_WAYS if problem.processes * problem.machines > _LARGE else WAYS
    return ways[worker % len(ways)]


def scale_of(problem: Problem) -> float:
    """Return what the mean process costs where there is no room left: the unit of temperatures and prices."""
    usage = problem.usage.mean(axis=0)
    load = float(usage @ problem.load_weight)
    balance = sum(float(weight * max(target * usage[a], usage[b])) for a, b, target, weight in problem.balances)
    return max(load, balance, 1.0)


def setting(phase: Phase, done: float, scale: float, load_weight: float) -> Setting:
    """Return temperature and prices when a share of the phase is done; `load_weight` is the mean one."""
    cold = max(phase.cold * scale, 0.5)  # costs are whole numbers
    hot = max(phase.hot * scale, cold)
    settled = min(1.0, done / phase.settle)
    low, high = phase.over
    return Setting(
        temperature=float(hot * (cold / hot) ** done),
        over=float(load_weight * low * (high / low) ** settled),
        bound=phase.bound * scale,
        transient=phase.transient * scale * max(0.0, 1.0 - done / 0.7),
    )


def mean_load_weight(problem: Problem) -> float:
    """Return the mean load weight of the resources that have one; 1 where none has."""
    weights = problem.load_weight[problem.load_weight > 0]
    return float(np.mean(weights)) if weights.size else 1.0
