"""Settle every run and every share that is open or held; safe at any time, any number of times."""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger

from tasks import _wiring
from tasks.cancelling import cancellable
from tasks.events import telling
from tasks.live import progress_artifacts
from tasks.nfs import must_be_settled, settle_shares, unsettled_shares
from tasks.report import publish_outcome
from tasks.rollback import settle_run
from tasks.window import in_thread
from vmferry.errors import Held
from vmferry.model.journal import RunRecord, RunState
from vmferry.model.migration import MigrationOutcome, OutcomeKind
from vmferry.progress import RunLeftAlone, RunTakenOver, publish
from vmferry.steps.takeover import take_over
from vmferry.stopping import current_stop


@flow(name="recover-runs", flow_run_name="recover runs", validate_parameters=True)
def recover_runs(inventory: str | None = None) -> list[MigrationOutcome]:
    """Bring every unsettled run to its end: moved, rolled back, or held with the commands for a human.

    So is a share of storage that was cut off: shared, undone, or held.

    Args:
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    with _wiring.wired(inventory) as world, telling(), cancellable(None, inventory), progress_artifacts("recover"):
        outcomes = in_thread(_settle_all, world.journal.unsettled())
        shares = in_thread(settle_shares, unsettled_shares())
    held = [outcome for outcome in outcomes if outcome.kind is OutcomeKind.HELD]
    if held:
        raise Held("; ".join(f"vm {o.vm}: {o.reason}; next: {'; '.join(o.next_commands)}" for o in held))
    must_be_settled(shares)
    return outcomes


def _settle_all(records: tuple[RunRecord, ...]) -> list[MigrationOutcome]:
    """Settle one after the other; a request to stop leaves the rest to the next recovery."""
    outcomes: list[MigrationOutcome] = []
    for record in records:
        if current_stop().why:
            break
        if not take_over(record, _wiring.world()):
            get_run_logger().info("run %s of %s: %s works on it", record.run, record.plan.vm, record.owner)
            publish(RunLeftAlone(run=record.run, vm=record.plan.vm, owner=record.owner))
            continue
        publish(RunTakenOver(plan=record.plan, was_held=record.state is RunState.HELD))
        outcomes.append(settle_run(record.run, record.plan.vm, ""))
        publish_outcome(outcomes[-1])
    return outcomes
