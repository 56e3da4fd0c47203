"""How a search cools: phases, each with temperatures and prices of violations from its start to its end.

Everything is in shares of the problem's own scale (the cost that one mean process would add to full machines), so that
nothing is tuned to an instance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vmferry.solver.reassignment.problem import Problem

Floats = npt.NDArray[np.float64]

_HARD = 1e9  # × scale: no move ever pays for a violation
_DEAR = 2.0  # × temperature: what a process must cost to be chosen
_LEAST_ACTIVE = 10
_HOMING = 1e-3  # × scale: below, only moves are worth anything, and being away has its price on every way
_LEAST_TIME = 0.1  # of a temperature, against that of one at which every process is active
_POINTS = 65


@dataclass(frozen=True)
class Phase:
    """One cooling. Temperatures are shares of the scale, prices of a unit above capacity those of the mean load
    weight."""

    share: float  # of the budget
    hot: float
    cold: float
    over: tuple[float, float]  # geometric over `settle` of the way from hot to cold, then constant
    bound: float  # price of a violated spread or dependency, in scales
    transient: float = 0.0  # price of moving the mean transient use, in scales, linear to 0 at 70 % of the way
    settle: float = 0.5
    takes_best: bool = False  # begins at the best assignment of all workers, not at its own
    away: float = 0.0  # price of being away from home while it is warm, in temperatures × log(machines)
    dear_first: bool = False  # `hot` is a share of the dearest process's cost; only dear processes are chosen at first


@dataclass(frozen=True)
class Setting:
    """What the kernel is told for one stretch of steps."""

    temperature: float
    over: float
    bound: float
    transient: float
    away: float  # price of being away from home, × log(machines): one home is then as likely as all others together
    active: int  # processes, the dearest first, that may be chosen


# Through violations: from temperatures at which only the dearest processes are chosen to those at which all have found
# their place, then once more a little warmer and strict, and down to single units of cost.
_THROUGH = Phase(share=0.5, hot=0.2, cold=6e-3, over=(6.0, 1e3), bound=1.0, settle=1.0, dear_first=True)
_STRICT = Phase(share=0.3, hot=1e-2, cold=1e-3, over=(1e3, 1e5), bound=3.0, settle=0.9)
_COLD = Phase(share=0.2, hot=1e-3, cold=0.0, over=(1e5, _HARD), bound=10.0)
_FREE = (_THROUGH, _STRICT, _COLD)
# Two ways of cooling, each far better than the other on some problems: with the price of being away, where moves are
# few in a good assignment, and without it. A short trial of both tells which; the better one gets the main part.
WAYS: tuple[tuple[Phase, ...], ...] = (tuple(replace(phase, away=1.0) for phase in _FREE), _FREE)
TRIALS, MAIN = 0.2, 0.65  # shares of the budget; the rest reheats the best of all workers
_AGAIN = Phase(share=1 - TRIALS - MAIN, hot=6e-3, cold=0.0, over=(1e5, _HARD), bound=10.0, takes_best=True)
# A way through violations needs many steps per pair of process and machine; beyond so many pairs there is no time.
_LARGE = 1_000_000
_INSIDE = Phase(share=0.8, hot=0.1, cold=1e-4, over=(_HARD, _HARD), bound=_HARD, transient=1.0)
LARGE_WAYS: tuple[tuple[Phase, ...], ...] = (
    (_INSIDE, replace(_COLD, share=0.2)),
    (replace(_INSIDE, hot=0.01), replace(_COLD, share=0.2)),
)


def is_large(problem: Problem) -> bool:
    """Return whether there are too many pairs of process and machine for `WAYS`."""
    return problem.processes * problem.machines > _LARGE


def shortened(way: tuple[Phase, ...], share: float) -> tuple[Phase, ...]:
    """Return the phases of a way, which add up to 1, within a share of the budget."""
    return tuple(replace(phase, share=phase.share * share) for phase in way)


def reheating(way: tuple[Phase, ...]) -> Phase:
    """Return the last phase after a way: the best of all workers, a little warmer, and cold again."""
    return replace(_AGAIN, away=way[-1].away)


def scale_of(own: Floats) -> float:
    """Return what the mean process costs where there is no room left: the unit of temperatures and prices."""
    return max(float(own.mean()), 1.0)


class Course:
    """A phase on a problem: temperature, prices and active processes from its start to its end.

    A process whose own cost (P,) is not a few times the temperature would only wander about, fill the machines at
    random and, away from home, take transient capacity: it stays where it is until it is colder. A temperature gets
    time in proportion to the processes that are active at it.
    """

    def __init__(self, phase: Phase, own: Floats, load_weight: float) -> None:
        self.phase = phase
        self.scale = scale_of(own)
        self.load_weight = load_weight
        self._ascending = np.sort(own)
        self.cold = max(phase.cold * self.scale, 0.5)  # costs are whole numbers
        unit = max(float(self._ascending[-1]), 1.0) if phase.dear_first else self.scale
        self.hot = max(phase.hot * unit, self.cold)
        self._way = np.linspace(0.0, 1.0, _POINTS)
        weights = [max(_LEAST_TIME, self.active(self.temperature(way)) / own.size) for way in self._way[1:].tolist()]
        self._time = np.concatenate([[0.0], np.cumsum(weights) / sum(weights)])

    def temperature(self, way: float) -> float:
        """Return the temperature at a share of the way from hot to cold, which is geometric."""
        return float(self.hot * (self.cold / self.hot) ** way)

    def active(self, temperature: float) -> int:
        """Return how many processes are dear enough to be chosen."""
        if not self.phase.dear_first:
            return int(self._ascending.size)
        idle = int(np.searchsorted(self._ascending, _DEAR * temperature))
        return max(self._ascending.size - idle, min(_LEAST_ACTIVE, self._ascending.size))

    def at(self, done: float) -> Setting:
        """Return temperature and prices when a share of the phase's time is over."""
        way = float(np.interp(done, self._time, self._way))
        low, high = self.phase.over
        temperature = self.temperature(way)
        return Setting(
            temperature=temperature,
            over=float(self.load_weight * low * (high / low) ** min(1.0, way / self.phase.settle)),
            bound=self.phase.bound * self.scale,
            transient=self.phase.transient * self.scale * max(0.0, 1.0 - way / 0.7),
            away=temperature * (1.0 if temperature < _HOMING * self.scale else self.phase.away),
            active=self.active(temperature),
        )


def mean_load_weight(problem: Problem) -> float:
    """Return the mean load weight of the resources that have one; 1 where none has."""
    weights = problem.load_weight[problem.load_weight > 0]
    return float(np.mean(weights)) if weights.size else 1.0
