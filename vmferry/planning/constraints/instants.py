"""Constraints on the way: what holds at every instant, while a VM that moves is on both of its hosts. Pure.

No planner is asked: this is what timetables are checked with, and what the gate asks before each start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from vmferry.model.constraint import Constraint, FleetState
from vmferry.model.evacuation import Move
from vmferry.model.host import FleetSnapshot
from vmferry.planning.constraints.check import check_constraints
from vmferry.planning.constraints.hold import HardConstraints

Places = Mapping[str, tuple[str, ...]]  # vm uuid → its host, or the two between which it moves, in this order


@dataclass(frozen=True)
class OnTheWay:
    """Hard, continuous constraints, and who was where before anything moved."""

    constraints: tuple[Constraint, ...]
    start: FleetState

    @classmethod
    def of(cls, snapshot: FleetSnapshot, of_run: Collection[Constraint] = ()) -> OnTheWay:
        """Return what the inventory, the domains and this run want; raises InvalidInput for contradictions."""
        hard = HardConstraints.of(snapshot, of_run)
        return cls(tuple(c for c in hard.constraints if c.is_continuous), hard.start)

    def broken(self, places: Places) -> Iterator[str]:
        """Yield what does not hold at one instant, in words; VMs that are not named are where they were.

        What was broken before and is no worse now is not told.
        """
        if self.constraints:
            now = self.start.moved(places, is_end=False)
            yield from (violation.words() for violation in check_constraints(self.constraints, now))

    def why_not(self, move: Move, moved: Places, running: Collection[Move]) -> str:
        """Return what the start of a move would break; `moved` says where VMs are by now. Empty: nothing."""
        places = {**moved, **{one.uuid: (one.source, one.dest) for one in (*running, move)}}
        return "; ".join(self.broken(places))
