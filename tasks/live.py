"""What people watch in the Prefect UI while VMs move: a progress artifact per VM, and one table of them all.

Every artifact is made once and then changed in its place: Prefect keeps no version of each update.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect import get_client
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import PrefectException

from tasks.report import artifact_key
from vmferry.model.evacuation import EvacuationPlan
from vmferry.model.migration import MigrationOutcome, MigrationPlan, OutcomeKind
from vmferry.progress import (
    CopyProgress,
    EvacuationStarted,
    Event,
    MoveEnded,
    MoveHelped,
    MoveProgress,
    MoveStarted,
    RunTakenOver,
    StepStarted,
    listening,
)
from vmferry.reporting.live_table import LiveTable
from vmferry.reporting.meter import Figures, Meters

logger = logging.getLogger("vmferry.live")

_UPDATE_EVERY_S = 2.0
_TABLE_EVERY_S = 5.0
# A table of 500 VMs is written every 25 s, whatever happens: written at each end, it would cost each of n VMs n rows.
_ROWS_PER_S = 20


class ProgressArtifacts:
    """Keeps one progress artifact per VM, and for an evacuation one for the whole and a table; called by one thread."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._ended = 0
        self._total = 1
        self._whole: UUID | None = None
        self._table_id: UUID | None = None
        self._table = LiveTable()
        self._table_at_s = 0.0
        self._is_table_old = False
        self._meters = Meters()
        self._per_vm: dict[str, UUID] = {}
        self._titles: dict[str, str] = {}
        self._percents: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Take one event; a lost update is followed by the next."""
        match event:
            case EvacuationStarted(plan=plan):
                self._open(plan)
            case MoveStarted(plan=plan) | RunTakenOver(plan=plan):
                self._start(plan)
            case StepStarted():
                self._table.step(event.run, event.step)
            case MoveProgress() | CopyProgress():
                self._show(event.run, self._meters.read(event.run, event.stats))
            case MoveHelped():
                self._table.help(event.run, event.order.words())
            case MoveEnded():
                self._end(event.outcome)
            case _:
                return
        self._is_table_old = True
        self._write_table(0.0 if isinstance(event, MoveEnded) else _TABLE_EVERY_S)

    def close(self) -> None:
        """Write the table as it is at the end."""
        if self._is_table_old:
            self._write_table(0.0, is_last=True)

    def _open(self, plan: EvacuationPlan) -> None:
        self._total = max(1, len(plan.moves))
        self._table.open(plan)
        self._whole = _create(0.0, f"{self._what}: VMs moved")
        made = create_markdown_artifact(
            self._table.markdown(), key=artifact_key("moves", plan.host), description=f"moves from {plan.host}, live"
        )
        assert isinstance(made, UUID)
        self._table_id = made

    def _start(self, plan: MigrationPlan) -> None:
        self._meters.start(plan)
        self._table.start(plan)
        self._titles[plan.run] = f"{plan.vm}: {plan.source} → {plan.dest} ({plan.mode})"
        self._per_vm[plan.run] = _create(0.0, self._titles[plan.run])

    def _show(self, run: str, figures: Figures) -> None:
        self._table.show(run, figures)
        self._percents[run] = figures.percent
        now = time.monotonic()
        if run in self._per_vm and now - self._last.get(run, 0.0) >= _UPDATE_EVERY_S:
            self._last[run] = now
            update_progress_artifact(self._per_vm[run], figures.percent, f"{self._titles[run]}: {figures.line}")

    def _end(self, outcome: MigrationOutcome) -> None:
        self._ended += 1
        self._meters.end(outcome.run)
        self._table.end(outcome)
        if outcome.run in self._per_vm:
            title = f"{self._titles.pop(outcome.run)}: {outcome.kind}"
            percent = 100.0 if outcome.kind is OutcomeKind.MOVED else self._percents.get(outcome.run, 0.0)
            update_progress_artifact(self._per_vm.pop(outcome.run), percent, title)
        if self._whole is not None:
            update_progress_artifact(self._whole, min(100.0, 100.0 * self._ended / self._total))

    def _write_table(self, every_s: float, *, is_last: bool = False) -> None:
        now = time.monotonic()
        least_s = max(every_s, len(self._table) / _ROWS_PER_S)
        if self._table_id is None or (not is_last and now - self._table_at_s < least_s):
            return
        self._table_at_s, self._is_table_old = now, False
        with get_client(sync_client=True) as client:
            client.update_artifact(self._table_id, ArtifactUpdate(data=self._table.markdown()))


def _create(percent: float, description: str) -> UUID:
    created = create_progress_artifact(percent, description=description)
    assert isinstance(created, UUID)
    return created


@contextmanager
def progress_artifacts(what: str) -> Iterator[None]:
    """Show the block's moves as artifacts of the flow run; those of an evacuation as a whole and in a table too."""
    artifacts = ProgressArtifacts(what)
    try:
        with listening(artifacts):
            yield
    finally:
        try:
            artifacts.close()
        except (PrefectException, httpx.HTTPError) as error:
            logger.warning("the table of moves is not that of the end: %s", error)
