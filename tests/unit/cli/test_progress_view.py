"""Events as people see them: lines in a pipe, bars on a terminal."""

from __future__ import annotations

import io
import signal
from datetime import UTC, datetime
from uuid import UUID

import pytest
from rich.console import Console

from vmferry.model.convergence import Order, Suspend
from vmferry.model.disks import CopyStats
from vmferry.model.migration import JobStats, MigrationMode, MigrationOutcome, MigrationPlan, OutcomeKind
from vmferry.model.transport import Encryption
from vmferry.model.vm import DomainState
from vmferry.progress import (
    CopyProgress,
    MoveEnded,
    MoveHelped,
    MoveProgress,
    MoveStarted,
    RunTakenOver,
    StepStarted,
    publish,
)
from vmferry.stopping import Stop
from vmferry.terminal.progress_view import BarView, PlainView, make_progress, watching
from vmferry.terminal.screen import Screen, align, clean
from vmferry.terminal.session import saying_when_interrupted

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PLAN = MigrationPlan(
    run="r1",
    vm="web[bold]",
    uuid=UUID(int=1),
    source="kvm1",
    dest="kvm2",
    mode=MigrationMode.LIVE,
    mode_reason="it runs on shared storage",
    state_before=DomainState.RUNNING,
    is_persistent=True,
    is_autostart=False,
    memory_kib=1024,
    reserved_kib=0,
    encryption=Encryption.TUNNELLED,
    peer_uri="qemu+ssh://kvm2/system",
    migration_uri="tcp:kvm2",
    deadline_s=60,
)
OUTCOME = MigrationOutcome(
    run="r1",
    vm="web[bold]",
    source="kvm1",
    dest="kvm2",
    mode=MigrationMode.LIVE,
    kind=OutcomeKind.MOVED,
    started_at=NOW,
    ended_at=NOW,
    bytes_sent=1 << 20,
    downtime_ms=80,
)
STATS = JobStats(
    data_total_bytes=2 << 30, data_processed_bytes=1 << 30, data_remaining_bytes=1 << 30, memory_bps=100 << 20
)


def test_a_pipe_gets_a_line_per_event() -> None:
    view = PlainView(Screen(is_json=False))
    assert view.line(MoveStarted(plan=PLAN)) == ("web[bold]: kvm1 → kvm2 live: started (it runs on shared storage)")
    assert view.line(StepStarted(run="r1", vm="web[bold]", step="verify")) == "web[bold]: verify"
    assert view.line(MoveEnded(outcome=OUTCOME)) == (
        "web[bold]: kvm1 → kvm2 live: moved after 0.0 s, downtime 80 ms, 1.0 MiB sent"
    )


def test_progress_in_a_pipe_is_not_repeated_every_second() -> None:
    view = PlainView(Screen(is_json=False))
    event = MoveProgress(run="r1", vm="a", stats=STATS)
    assert view.line(event) == "a: 50 %, memory 1024 of 2048 MiB"
    assert view.line(event) == ""
    assert view.line(event.model_copy(update={"vm": "b"})) != ""


def test_copies_help_and_recovery_are_told_in_a_pipe() -> None:
    view = PlainView(Screen(is_json=False))
    assert view.line(RunTakenOver(plan=PLAN)) == "web[bold]: kvm1 → kvm2 live: taken over (run r1)"
    copy = CopyStats(path="/images/a.qcow2", total_bytes=100 << 20, done_bytes=25 << 20)
    # The file is all that the plan's 1 MiB of memory leaves of the bar.
    assert view.line(CopyProgress(run="r1", vm="web", stats=copy)) == "web: 25 %, copying a.qcow2: 25 of 100 MiB"
    order = Order(action=Suspend(), iteration=7, reason="4 iterations without gain")
    line = "web: suspend at iteration 7: 4 iterations without gain"
    assert view.line(MoveHelped(run="r1", vm="web", order=order)) == line


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_bars_of_long_names_fit_into_any_terminal(width: int) -> None:
    screen = Screen(is_json=False)
    screen.out = Console(file=io.StringIO(), force_terminal=True, width=width, height=20, markup=False)
    progress = make_progress(screen)
    view = BarView(progress)
    view(MoveStarted(plan=PLAN.model_copy(update={"vm": "a-very-long-name-of-a-database-server" * 3})))
    sample = STATS.model_copy(update={"seconds_left": 42.0, "iteration": 3, "dirty_rate_pages_s": 3072})
    view(MoveProgress(run="r1", vm="x", stats=sample))
    shown = io.StringIO()
    Console(file=shown, width=width).print(progress.get_renderable())
    (line,) = shown.getvalue().splitlines()
    assert len(line) <= width
    assert "50 %" in line and "0:42 left" in line
    assert ("round 3" in line) == (width == 200)


def test_an_unknown_end_shows_no_time() -> None:
    screen = Screen(is_json=False)
    screen.out = Console(file=io.StringIO(), force_terminal=True, width=120, markup=False)
    progress = make_progress(screen)
    view = BarView(progress)
    view(MoveStarted(plan=PLAN))
    view(MoveProgress(run="r1", vm="x", stats=STATS.model_copy(update={"iteration": 5})))
    assert [task.fields["left"] for task in progress.tasks] == [""]


def test_bars_come_and_go_with_the_moves() -> None:
    screen = Screen(is_json=False)
    shown = io.StringIO()
    screen.out = Console(file=shown, force_terminal=True, width=120, markup=False)
    progress = make_progress(screen)
    view = BarView(progress)
    with progress:
        view(MoveStarted(plan=PLAN))
        view(StepStarted(run="r1", vm="web[bold]", step="move"))
        view(MoveProgress(run="r1", vm="web[bold]", stats=STATS))
        assert [(task.description, task.completed) for task in progress.tasks] == [("web[bold]", 50.0)]
        view(MoveProgress(run="unknown", vm="x", stats=STATS))
        view(MoveEnded(outcome=OUTCOME))
        assert progress.tasks == []
    assert "web[bold]: kvm1 → kvm2 live: moved" in shown.getvalue()


def test_the_result_is_kept_when_the_flow_raises() -> None:
    with watching(Screen(is_json=True)) as seen:
        publish(MoveEnded(outcome=OUTCOME))
    assert seen.outcomes == [OUTCOME]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_how_to_go_on(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)  # a run in the background may ignore it
    with pytest.raises(KeyboardInterrupt), saying_when_interrupted(Screen(is_json=False)):
        signal.raise_signal(number)
    assert "vmferry recover" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_a_signal_after_the_cancelled_moves_takes_nothing_away(capsys: pytest.CaptureFixture[str]) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop = Stop()
    stop.is_underway = True
    try:
        with saying_when_interrupted(Screen(is_json=False)):
            stop.ask("SIGTERM")
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)  # while the report is shown
        assert "running moves are finished first" in capsys.readouterr().err
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_name_cannot_steer_the_terminal() -> None:
    assert clean("a\x1b[31mb\x07") == "a�[31mb�"
    assert align(["VM"], [["a\nb\x1b[0m"]]) == ["VM", "a b�[0m"]
