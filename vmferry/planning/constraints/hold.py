"""Whether hard constraints hold after moves, but for what was broken before and nobody who moves is part of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vmferry.model.constraint import Constraint, ConstraintKind, FleetState, Violation
from vmferry.model.evacuation import Move
from vmferry.planning.constraints.check import check_constraints


def broken_by(moves: Sequence[Move], constraints: Iterable[Constraint], start: FleetState) -> Iterator[str]:
    """Yield each hard constraint that the moves break, in words."""
    end = start.moved({move.uuid: (move.dest,) for move in moves})
    for constraint in constraints:
        if not constraint.is_hard:
            continue
        before = {violation.text for violation in check_constraints([constraint], start)}
        for violation in check_constraints([constraint], end):
            if violation.text not in before and _is_by_a_move(violation, moves, start):
                yield violation.words()


def _is_by_a_move(violation: Violation, moves: Sequence[Move], start: FleetState) -> bool:
    c = violation.constraint
    if c.kind is ConstraintKind.MAX_ONLINE:
        used = {host for places in start.where.values() for host in places}
        return any(move.dest in c.hosts and move.dest not in used for move in moves)
    if c.kind in (ConstraintKind.PRESERVE, ConstraintKind.OVERBOOK):
        return True  # its checker tells of hosts only to which somebody came
    return bool({move.vm for move in moves} & set(violation.text.replace(",", " ").split()))
