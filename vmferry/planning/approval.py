"""What an approval makes of a plan, and whether it still holds when the fleet is read again."""

from __future__ import annotations

from vmferry.model.approval import Approval, ApprovalRule
from vmferry.model.evacuation import EvacuationPlan, Move, Stranded
from vmferry.model.findings import Finding, Severity
from vmferry.model.host import FleetSnapshot
from vmferry.planning.replay import replay
from vmferry.planning.ways_out import STAYS


def overrides(plan: EvacuationPlan) -> tuple[str, ...]:
    """Return what needs a second look: rules that the operator has lifted, and VMs that are shut down."""
    lifted = tuple(
        f"{move.vm}: {finding.rule} is lifted: {finding.message}"
        for move in plan.moves
        for finding in move.warnings
        if finding.is_lifted
    )
    return (*lifted, *(f"{move.vm}: is shut down, and started on {move.dest}" for move in plan.moves if move.restart))


def people_needed(plan: EvacuationPlan, rule: ApprovalRule) -> int:
    """Return how many different people must agree; nobody for a plan without moves."""
    if rule is ApprovalRule.NONE or not plan.moves:
        return 0
    if rule is ApprovalRule.TWO_PEOPLE or (rule is ApprovalRule.TWO_FOR_OVERRIDES and overrides(plan)):
        return 2
    return 1


def approved(plan: EvacuationPlan, approval: Approval) -> EvacuationPlan:
    """Return the plan with the approval, without the VMs that it skips: these are stranded, by a person's wish."""
    wanted = [move for move in plan.moves if move.vm not in approval.skipped]
    moves = tuple(move.model_copy(update={"order": order}) for order, move in enumerate(wanted))
    kept = tuple(_kept_back(move, approval) for move in plan.moves if move.vm in approval.skipped)
    told = {"moves": moves, "stranded": (*plan.stranded, *kept), "approvals": (*plan.approvals, approval)}
    return plan.model_copy(update=told)


def _kept_back(move: Move, approval: Approval) -> Stranded:
    message = f"vm {move.vm}: {approval.by} skipped it when the plan was approved; move it with the next evacuation"
    finding = Finding(rule=STAYS, severity=Severity.BLOCK, message=message, source="approval")
    return Stranded(vm=move.vm, uuid=move.uuid, reasons={move.dest: (finding,)})


def renew(plan: EvacuationPlan, snapshot: FleetSnapshot) -> tuple[EvacuationPlan, tuple[str, ...]]:
    """Return the plan on a fresh snapshot, and everything that does not hold there any more.

    VMs that came, went or were renamed, room that is gone, hosts that were cordoned, rules that block now.
    """
    renewed = plan.model_copy(update={"snapshot": snapshot})
    return renewed, replay(renewed)
