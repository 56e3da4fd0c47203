"""A running operation on the terminal: bars for people, one line per event for pipes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Protocol, assert_never

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from vmferry.model.evacuation import EvacuationPlan, EvacuationReport
from vmferry.model.migration import JobStats, MigrationOutcome, OutcomeKind
from vmferry.model.purge import PurgeReport
from vmferry.progress import (
    CopyProgress,
    EvacuationEnded,
    Event,
    FilesPurged,
    MoveEnded,
    MoveProgress,
    MoveStarted,
    PlanMade,
    RunLeftAlone,
    StepStarted,
    listening,
)
from vmferry.reporting import format_bytes, outcome_line, plan_headline
from vmferry.terminal.screen import Screen, clean

_PLAIN_INTERVAL_S = 5.0  # between two progress lines of one VM in a pipe
_STYLES = {OutcomeKind.MOVED: "green", OutcomeKind.ROLLED_BACK: "yellow", OutcomeKind.HELD: "bold red"}


class Seen:
    """What the events told: a flow that ends by raising has said its result before."""

    def __init__(self) -> None:
        self.plan: EvacuationPlan | None = None
        self.outcomes: list[MigrationOutcome] = []
        self.report: EvacuationReport | None = None
        self.left_alone: list[RunLeftAlone] = []
        self.purged: PurgeReport | None = None

    def __call__(self, event: Event) -> None:
        """Remember plan, outcomes and report."""
        match event:
            case PlanMade():
                self.plan = event.plan
            case MoveEnded():
                self.outcomes.append(event.outcome)
            case EvacuationEnded():
                self.report = event.report
            case RunLeftAlone():
                self.left_alone.append(event)
            case FilesPurged():
                self.purged = event.report
            case MoveStarted() | StepStarted() | MoveProgress() | CopyProgress():
                pass
            case _:
                assert_never(event)


class View(Protocol):
    """Something that shows events; called from any thread."""

    def __call__(self, event: Event) -> None:
        """Show one event."""
        ...


def stats_words(stats: JobStats) -> str:
    """`300 MiB sent, 724 MiB left, 110 MiB/s`: a guest that writes makes both grow."""
    words = f"{format_bytes(stats.data_processed_bytes)} sent"
    if stats.data_total_bytes:
        words += f", {format_bytes(stats.data_remaining_bytes)} left"
    if stats.memory_bps:
        words += f", {format_bytes(stats.memory_bps)}/s"
    return f"{words}, round {stats.iteration}" if stats.iteration > 1 else words


class PlainView:
    """One line per event; progress of a VM at most every few seconds."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.last_s: dict[str, float] = {}
        self.lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write the event's line."""
        line = self.line(event)
        if line:
            with self.lock:
                self.screen.log(f"{time.strftime('%H:%M:%S')} {line}")

    def line(self, event: Event) -> str:
        """Return the line; empty when the event is not worth one."""
        match event:
            case PlanMade():
                return plan_headline(event.plan)
            case MoveStarted(plan=plan):
                return f"{plan.vm}: {plan.source} → {plan.dest} {plan.mode}: started ({plan.mode_reason})"
            case StepStarted():
                return f"{event.vm}: {event.step}"
            case MoveProgress():
                return self.progress(event)
            case MoveEnded():
                return outcome_line(event.outcome)
            case CopyProgress() | EvacuationEnded() | RunLeftAlone() | FilesPurged():
                return ""  # the command says it at its end
        assert_never(event)

    def progress(self, event: MoveProgress) -> str:
        """Return a progress line, or nothing when the last one of this VM is young."""
        now_s = time.monotonic()
        if now_s - self.last_s.get(event.vm, -_PLAIN_INTERVAL_S) < _PLAIN_INTERVAL_S:
            return ""
        self.last_s[event.vm] = now_s
        return f"{event.vm}: {event.stats.percent:.0f} %, {stats_words(event.stats)}"


class BarView:
    """A bar per running move and one for the whole; ended moves become lines above them."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.bars: dict[str, TaskID] = {}
        self.overall: TaskID | None = None
        self.lock = threading.RLock()

    def __call__(self, event: Event) -> None:
        """Show the event."""
        with self.lock:
            self._show(event)

    def _show(self, event: Event) -> None:
        match event:
            case PlanMade(plan=plan):
                self.progress.console.print(Text(clean(plan_headline(plan))))
                if plan.moves:
                    self.overall = self._add(plan.host, len(plan.moves), "whole")
            case MoveStarted(plan=plan):
                self.bars[plan.run] = self._add(plan.vm, 100, f"→ {plan.dest} {plan.mode}")
            case StepStarted():
                self._update(event.run, event.step, None)
            case MoveProgress(stats=stats):
                self._update(event.run, stats_words(stats), stats.percent)
            case MoveEnded():
                self._end(event.outcome)
            case CopyProgress() | EvacuationEnded() | RunLeftAlone() | FilesPurged():
                pass  # the command says it when the bars are gone
            case _:
                assert_never(event)

    def _add(self, name: str, total: float, detail: str) -> TaskID:
        return self.progress.add_task(clean(name), total=total, detail=clean(detail))

    def _update(self, run: str, detail: str, percent: float | None) -> None:
        if run in self.bars:
            self.progress.update(self.bars[run], detail=clean(detail), completed=percent)

    def _end(self, outcome: MigrationOutcome) -> None:
        bar = self.bars.pop(outcome.run, None)
        if bar is not None:
            self.progress.remove_task(bar)
        self.progress.console.print(Text(clean(outcome_line(outcome)), style=_STYLES[outcome.kind]))
        if self.overall is not None:
            self.progress.advance(self.overall)


def make_progress(screen: Screen) -> Progress:
    """Return rich's progress display on the screen's stdout."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %", markup=False),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeElapsedColumn(),
        console=screen.out,
        transient=True,
    )


@contextmanager
def watching(screen: Screen) -> Iterator[Seen]:
    """Show the events of the block, and collect what they say."""
    seen = Seen()
    progress = make_progress(screen) if screen.is_live else None
    view: View = BarView(progress) if progress is not None else PlainView(screen)
    with progress or nullcontext(), listening(seen), listening(view):
        yield seen
