"""An outcome with what was forecast beside what the journal shows that it took."""

from __future__ import annotations

from collections.abc import Sequence

from vmferry.model.journal import Mark, Row
from vmferry.model.migration import MigrationOutcome, MigrationPlan
from vmferry.reporting.foretold import forecast_note
from vmferry.steps.names import StepName


def with_forecast(outcome: MigrationOutcome, plan: MigrationPlan, rows: Sequence[Row]) -> MigrationOutcome:
    """Return the outcome with forecast, seconds of its copies, and a note that sets both against each other."""
    seconds = _seconds_of(StepName.STORAGE, rows) if plan.files else None
    told = outcome.model_copy(update={"forecast": plan.forecast, "copy_seconds": seconds})
    note = forecast_note(told)
    return told.model_copy(update={"notes": (note, *told.notes)}) if note else told


def _seconds_of(step: StepName, rows: Sequence[Row]) -> float | None:
    """Return the seconds from a step's intent to its end; None unless it was done in one go."""
    begun = [row.at for row in rows if row.step == step and row.mark is Mark.INTENDED]
    done = [row.at for row in rows if row.step == step and row.mark is Mark.DONE]
    return (done[0] - begun[0]).total_seconds() if len(begun) == 1 and done else None
