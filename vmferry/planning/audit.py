"""The audit of a fleet: matrix, emptying, loss of a host, orphans and what changed, from one snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vmferry.model.audit import FleetAudit, Listing, SavedAudit
from vmferry.model.host import FleetSnapshot
from vmferry.planning.movability import judge_host, matrix, row_of
from vmferry.rules.case import Fleet
from vmferry.rules.judge import Judge


def audit(
    snapshot: FleetSnapshot,
    files: Sequence[Listing] | None = None,
    before: SavedAudit | None = None,
    lifted: Iterable[str] = (),
) -> FleetAudit:
    """Return the audit of a snapshot that holds the pairs of all hosts. Pure.

    `files` None: leftover files are not looked for; `before` None: nothing is compared. Raises InvalidInput for rules
    that cannot be lifted.
    """
    rules = Judge(Fleet(snapshot), lifted)
    rows = [row_of(host, candidate) for host in rules.fleet.sides for candidate in judge_host(rules, host)]
    return FleetAudit(taken_at=snapshot.taken_at, movability=matrix(rules, rows))
