"""Evacuations that can be continued: written into the journal before the first move, and again at the end."""

from __future__ import annotations

from pydantic import ValidationError

from vmferry.errors import InvalidInput
from vmferry.model.evacuation import EvacuationPlan, EvacuationReport, EvacuationRequest
from vmferry.model.operation import OperationKind, SavedOperation
from vmferry.model.saved import SavedEvacuation
from vmferry.ports import World
from vmferry.steps.prepare import new_run_id


def save_evacuation(
    plan: EvacuationPlan, request: EvacuationRequest, world: World, before: SavedOperation | None = None
) -> SavedOperation:
    """Write the evacuation down as it begins, or goes on; return what was written."""
    now, runs = world.clock.now(), 1 + (_content(before).runs if before is not None else 0)
    saved = SavedOperation(
        id=before.id if before is not None else new_run_id(now),
        kind=OperationKind.EVACUATION,
        subject=request.host,
        content=SavedEvacuation(request=request, moves=plan.moves, runs=runs).model_dump_json(),
        owner=world.journal.owner,
        started_at=before.started_at if before is not None else now,
        changed_at=now,
    )
    world.journal.save_operation(saved)
    return saved


def end_evacuation(saved: SavedOperation, report: EvacuationReport, world: World) -> None:
    """Write down how far it has come: over, or to be continued with what its moves have left."""
    moved = {outcome.vm for outcome in report.outcomes} - set(report.left)
    content = _content(saved)
    left = content.model_copy(update={"moves": tuple(move for move in content.moves if move.vm not in moved)})
    told = {"is_over": report.is_done, "content": left.model_dump_json(), "changed_at": world.clock.now()}
    world.journal.save_operation(saved.model_copy(update=told))


def find_evacuation(host: str, world: World) -> tuple[SavedOperation, SavedEvacuation]:
    """Return the evacuation of this host that is to be continued; raises InvalidInput where there is none."""
    saved = world.journal.last_operation(OperationKind.EVACUATION, host)
    if saved is None or saved.is_over:
        what = "none was begun" if saved is None else f"the last one ({saved.id}) has ended"
        raise InvalidInput(
            f"host {host}: no evacuation to be continued: {what}; begin one: vmferry evacuate {host}", host=host
        )
    return saved, _content(saved)


def continued(request: EvacuationRequest, before: SavedEvacuation) -> EvacuationRequest:
    """Return the request of a run that goes on: what was asked for at the beginning, within the bounds of this run."""
    ours = {"limits": request.limits, "max_parallel": request.max_parallel}
    return before.request.model_copy(update=ours)


def _content(saved: SavedOperation) -> SavedEvacuation:
    try:
        return SavedEvacuation.model_validate_json(saved.content)
    except ValidationError as error:
        raise InvalidInput(
            f"operation {saved.id}: was written by another version and cannot be continued ({error.error_count()} "
            f"problems); begin anew: vmferry evacuate {saved.subject}",
            host=saved.subject,
        ) from error
