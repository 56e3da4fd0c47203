"""What the journal of a run is written in: the steps' names, and an effect before it appears."""

from __future__ import annotations

from enum import StrEnum

from vmferry.model.effects import Effect
from vmferry.model.journal import Mark
from vmferry.model.migration import MigrationPlan
from vmferry.ports import World


class StepName(StrEnum):
    """Stable: journals outlive the code."""

    RESERVE = "reserve"
    STORAGE = "storage"
    DEFINITION = "definition"
    MOVE = "move"
    VERIFY = "verify"
    FINISH = "finish"


# The intent to let the destination's copy run: from here on the source's memory may be the older one.
RESUME_INTENT = "resume the copy at the destination"


def made(plan: MigrationPlan, world: World, step: StepName, effect: Effect) -> None:
    """Record an effect before it appears, so that a crash in between leaves it known."""
    world.journal.write(plan.run, step, Mark.EFFECT, effect)
