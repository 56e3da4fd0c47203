"""The audit of a fleet: matrix, emptying, loss of a host, orphans and what changed, from one snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vmferry.model.audit import Emptying, FleetAudit, HostLoss, Listing, Placed, SavedAudit, VmRow
from vmferry.model.evacuation import EvacuationRequest
from vmferry.model.host import FleetSnapshot
from vmferry.planning.audit_changes import compare
from vmferry.planning.candidates import Candidate
from vmferry.planning.doubles import find_doubles
from vmferry.planning.movability import judge_host, matrix, no_collection, row_of
from vmferry.planning.orphans import find_orphans
from vmferry.planning.placement import plan_judged
from vmferry.planning.survivors import lose_host
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
    rows: list[VmRow] = []
    emptying: list[Emptying] = []
    losses: list[HostLoss] = []
    with no_collection():
        for host in rules.fleet.sides:  # one host after the other: 49,000 reports at once would fill the memory
            candidates = judge_host(rules, host)
            rows += (row_of(host, candidate) for candidate in candidates)
            emptying.append(_empty(rules, host, candidates))
            losses.append(lose_host(rules, host))
    movability = matrix(rules, rows)
    return FleetAudit(
        taken_at=snapshot.taken_at,
        movability=movability,
        emptying=tuple(emptying),
        losses=tuple(losses),
        troubles=find_doubles(rules.fleet),
        files=None if files is None else find_orphans(rules.fleet, files),
        file_problems=tuple(f"{listing.host}: {listing.problem}" for listing in files or () if listing.problem),
        changes=None if before is None else compare(before, movability),
    )


def _empty(rules: Judge, host: str, candidates: Sequence[Candidate]) -> Emptying:
    """Place all VMs of a host together, as an evacuation would."""
    plan = plan_judged(rules.fleet, EvacuationRequest(host=host, lift=rules.policy.lifted), candidates)
    moves = tuple(Placed(vm=move.vm, uuid=move.uuid, dest=move.dest) for move in plan.moves)
    return Emptying(host=host, moves=moves, stranded=plan.stranded)
