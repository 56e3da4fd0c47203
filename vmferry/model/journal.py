"""The journal's rows: intent before act, effects after it, append only."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from vmferry.model.base import Model
from vmferry.model.effects import Effect
from vmferry.model.migration import MigrationPlan, OutcomeKind


class Mark(StrEnum):
    """What a row says of its step."""

    INTENDED = "intended"  # written before the world is touched
    EFFECT = "effect"  # one thing that the step has made so far
    DONE = "done"
    UNDONE = "undone"
    NOTE = "note"


class Row(Model):
    """One row; rows are never changed."""

    seq: int
    run: str
    step: str
    mark: Mark
    effect: Effect | None = None
    note: str = ""
    at: datetime


class RunState(StrEnum):
    """Where a run stands; `held` runs are looked at again by every recovery."""

    OPEN = "open"
    HELD = "held"
    CLOSED = "closed"


class RunRecord(Model):
    """One run of one VM; at most one run per VM is not closed."""

    run: str
    plan: MigrationPlan
    state: RunState
    outcome: OutcomeKind | None = None
    reason: str = ""
    owner: str  # host:pid:start time of the process that works on it
    opened_at: datetime
    closed_at: datetime | None = None
