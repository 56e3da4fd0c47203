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
from rich.table import Column
from rich.text import Text

from vmferry.model.evacuation import EvacuationPlan, EvacuationReport
from vmferry.model.migration import MigrationOutcome, MigrationPlan, OutcomeKind
from vmferry.model.purge import PurgeReport
from vmferry.model.returning import ReturnReport
from vmferry.model.roll import HostRoll, RollReport
from vmferry.model.sharing import ShareOutcome
from vmferry.progress import (
    ApprovalAsked,
    ApprovalEnded,
    CopyProgress,
    EvacuationEnded,
    EvacuationStarted,
    Event,
    FilesPurged,
    HostRolled,
    MoveEnded,
    MoveHelped,
    MoveProgress,
    MoveStarted,
    PlanMade,
    ReturnEnded,
    RollEnded,
    RunLeftAlone,
    RunTakenOver,
    ShareSettled,
    StepEnded,
    StepStarted,
    listening,
)
from vmferry.reporting import outcome_line, plan_headline
from vmferry.reporting.meter import Meters
from vmferry.terminal.screen import Screen, clean

_NARROW, _WIDE = 60, 120  # columns
_PLAIN_INTERVAL_S = 5.0  # between two progress lines of one VM in a pipe
_STYLES = {OutcomeKind.MOVED: "green", OutcomeKind.ROLLED_BACK: "yellow", OutcomeKind.HELD: "bold red"}


class Seen:
    """What the events told: a flow that ends by raising has said its result before."""

    def __init__(self) -> None:
        self.plan: EvacuationPlan | None = None
        self.outcomes: list[MigrationOutcome] = []
        self.report: EvacuationReport | None = None
        self.left_alone: list[RunLeftAlone] = []
        self.shares: list[ShareOutcome] = []
        self.purged: PurgeReport | None = None
        self.returned: ReturnReport | None = None
        self.rolled: RollReport | None = None

    @property
    def has_result(self) -> bool:
        """Whether anything was told that a command can show although its flow raised."""
        return any((self.report, self.purged, self.returned, self.rolled, self.outcomes, self.shares))

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
            case ShareSettled():
                self.shares.append(event.outcome)
            case FilesPurged():
                self.purged = event.report
            case ReturnEnded():
                self.returned = event.report
            case RollEnded():
                self.rolled = event.report
            case MoveStarted() | MoveProgress() | CopyProgress() | MoveHelped() | RunTakenOver():
                pass
            case StepStarted() | StepEnded() | EvacuationStarted() | HostRolled() | ApprovalAsked() | ApprovalEnded():
                pass
            case _:
                assert_never(event)


def said_line(event: ApprovalAsked | ApprovalEnded | HostRolled) -> str:
    """Say who is waited for, how the waiting ended, or how far a host of a roll has come."""
    if isinstance(event, HostRolled):
        return roll_line(event.roll)
    if isinstance(event, ApprovalAsked):
        who = "somebody" if event.people == 1 else f"{event.people} people"
        return f"{event.plan.host}: waits for {who} to agree in the Prefect UI, at most {event.minutes:g} min"
    return f"{event.plan.host}: {event.decision}" + (f" by {event.by}" if event.by else "")


def roll_line(roll: HostRoll) -> str:
    """Say how far a host of a roll has come."""
    return f"{roll.host}: {roll.reason}" if roll.reason else f"{roll.host}: {roll.stage}"


class View(Protocol):
    """Something that shows events; called from any thread."""

    def __call__(self, event: Event) -> None:
        """Show one event."""
        ...


class PlainView:
    """One line per event; progress of a VM at most every few seconds."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.last_s: dict[str, float] = {}
        self.meters = Meters()
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
            case ApprovalAsked() | ApprovalEnded() | HostRolled():
                return said_line(event)
            case MoveStarted(plan=plan):
                self.meters.start(plan)
                return f"{plan.vm}: {plan.source} → {plan.dest} {plan.mode}: started ({plan.mode_reason})"
            case StepStarted():
                return f"{event.vm}: {event.step}"
            case MoveProgress() | CopyProgress():
                return self.progress(event)
            case MoveHelped():
                return f"{event.vm}: {event.order.words()}"
            case RunTakenOver(plan=plan):
                self.meters.start(plan)
                return f"{plan.vm}: {plan.source} → {plan.dest} {plan.mode}: taken over (run {plan.run})"
            case MoveEnded():
                self.meters.end(event.outcome.run)
                return outcome_line(event.outcome)
            case StepEnded() | EvacuationStarted() | EvacuationEnded() | RunLeftAlone() | FilesPurged():
                return ""
            case ReturnEnded() | RollEnded() | ShareSettled():
                return ""  # the next step's line says it, or the command at its end
        assert_never(event)

    def progress(self, event: MoveProgress | CopyProgress) -> str:
        """Return a progress line, or nothing when the last one of this VM is young."""
        figures, now_s = self.meters.read(event.run, event.stats), time.monotonic()
        if now_s - self.last_s.get(event.vm, -_PLAIN_INTERVAL_S) < _PLAIN_INTERVAL_S:
            return ""
        self.last_s[event.vm] = now_s
        return f"{event.vm}: {figures.percent:.0f} %, {figures.line}"


class BarView:
    """A bar per running move and one for the whole; ended moves become lines above them."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.bars: dict[str, TaskID] = {}
        self.meters = Meters()
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
            case ApprovalAsked() | ApprovalEnded() | HostRolled():
                self.progress.console.print(Text(clean(said_line(event))))
            case MoveStarted(plan=plan):
                self._start(plan, f"→ {plan.dest} {plan.mode}")
            case RunTakenOver(plan=plan):
                self._start(plan, "taken over: looking at both hosts")
            case StepStarted():
                self._update(event.run, event.step, "", None)
            case MoveProgress() | CopyProgress():
                figures = self.meters.read(event.run, event.stats)
                self._update(event.run, figures.words, figures.left, figures.percent)
            case MoveHelped():
                self.progress.console.print(Text(clean(f"{event.vm}: {event.order.words()}"), style="yellow"))
            case MoveEnded():
                self._end(event.outcome)
            case StepEnded() | EvacuationStarted() | EvacuationEnded() | RunLeftAlone() | FilesPurged():
                pass
            case ReturnEnded() | RollEnded() | ShareSettled():
                pass  # the command says it when the bars are gone
            case _:
                assert_never(event)

    def _start(self, plan: MigrationPlan, detail: str) -> None:
        self.meters.start(plan)
        if plan.run not in self.bars:
            self.bars[plan.run] = self._add(plan.vm, 100, detail)

    def _add(self, name: str, total: float, detail: str) -> TaskID:
        return self.progress.add_task(clean(name), total=total, detail=clean(detail), left="")

    def _update(self, run: str, detail: str, left: str, percent: float | None) -> None:
        if run in self.bars:
            self.progress.update(self.bars[run], detail=clean(detail), left=left, completed=percent)

    def _end(self, outcome: MigrationOutcome) -> None:
        self.meters.end(outcome.run)
        bar = self.bars.pop(outcome.run, None)
        if bar is not None:
            self.progress.remove_task(bar)
        self.progress.console.print(Text(clean(outcome_line(outcome)), style=_STYLES[outcome.kind]))
        if self.overall is not None:
            self.progress.advance(self.overall)


def make_progress(screen: Screen) -> Progress:
    """Return rich's progress display on the screen's stdout.

    What does not fit is cut, never wrapped: a narrow terminal loses the end of the words and the bar itself, but not
    percent and time left.
    """
    width = screen.out.width
    name = Column(no_wrap=True, overflow="ellipsis", max_width=max(8, width // 4))
    bar = [BarColumn(bar_width=30 if width >= _WIDE else 10)] if width >= _NARROW else []
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=name),
        *bar,
        TextColumn("{task.percentage:>3.0f} %", markup=False, table_column=Column(no_wrap=True, min_width=5)),
        TextColumn("{task.fields[left]}", markup=False, table_column=Column(no_wrap=True)),
        TextColumn(
            "{task.fields[detail]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
        ),
        *([TimeElapsedColumn()] if width >= _NARROW else []),
        console=screen.out,
        transient=True,
        expand=True,
    )


@contextmanager
def watching(screen: Screen) -> Iterator[Seen]:
    """Show the events of the block, and collect what they say."""
    seen = Seen()
    progress = make_progress(screen) if screen.is_live else None
    view: View = BarView(progress) if progress is not None else PlainView(screen)
    with progress or nullcontext(), listening(seen), listening(view):
        yield seen
