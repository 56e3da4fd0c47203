"""Whether hard constraints hold after moves, but for what was broken before and nobody who moves is part of. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from vmferry.model.constraint import Constraint, ConstraintKind, FleetState, Violation
from vmferry.model.host import FleetSnapshot
from vmferry.planning.constraints.check import check_constraints
from vmferry.planning.constraints.collect import collect_constraints
from vmferry.planning.constraints.state import state_of
from vmferry.rules.case import Fleet


class Going(Protocol):
    """A move, as constraints see it."""

    @property
    def vm(self) -> str:
        """The VM's name."""

    @property
    def uuid(self) -> str:
        """The VM's UUID."""

    @property
    def dest(self) -> str:
        """The host where it goes."""


M = TypeVar("M", bound=Going)


@dataclass(frozen=True)
class HardConstraints:
    """What must hold of a fleet when moves have ended, and who is where before."""

    constraints: tuple[Constraint, ...]
    start: FleetState

    @classmethod
    def of(cls, snapshot: FleetSnapshot, of_run: Collection[Constraint] = ()) -> HardConstraints:
        """Return what the inventory, the domains and this run want; raises InvalidInput for contradictions."""
        start = state_of(Fleet(snapshot))
        everything, _ = collect_constraints(snapshot, tuple(of_run), start)
        return cls(tuple(c for c in everything if c.is_hard), start)

    def broken(self, moves: Sequence[Going]) -> str:
        """Say what the moves together would break; empty: nothing."""
        return "; ".join(broken_by(moves, self.constraints, self.start))

    def keep(self, moves: Sequence[M]) -> tuple[tuple[M, ...], dict[str, str]]:
        """Return the moves that may be made together, and VM's UUID → what each of the others would break.

        Of those that a broken constraint names the last one stays behind: the moves come in turn.
        """
        kept, broken = list(moves), dict[str, str]()
        while kept and (why := self.broken(kept)):
            named = [move for move in kept if move.vm in words_of(why)] or kept
            broken[named[-1].uuid] = why
            kept.remove(named[-1])
        return tuple(kept), broken


def broken_by(moves: Sequence[Going], constraints: Iterable[Constraint], start: FleetState) -> Iterator[str]:
    """Yield each hard constraint that the moves break, in words."""
    end = start.moved({move.uuid: (move.dest,) for move in moves})
    for constraint in constraints:
        if not constraint.is_hard:
            continue
        before = {violation.text for violation in check_constraints([constraint], start)}
        for violation in check_constraints([constraint], end):
            if violation.text not in before and _is_by_a_move(violation, moves, start):
                yield violation.words()


def _is_by_a_move(violation: Violation, moves: Sequence[Going], start: FleetState) -> bool:
    c = violation.constraint
    if c.kind is ConstraintKind.MAX_ONLINE:
        used = {host for places in start.where.values() for host in places}
        return any(move.dest in c.hosts and move.dest not in used for move in moves)
    if c.kind in (ConstraintKind.PRESERVE, ConstraintKind.OVERBOOK):
        return True  # its checker tells of hosts only to which somebody came
    return bool({move.vm for move in moves} & words_of(violation.text))


def words_of(text: str) -> frozenset[str]:
    """Return the words of what is told of a broken constraint; names of VMs are among them."""
    return frozenset(text.replace(",", " ").replace(";", " ").split())
