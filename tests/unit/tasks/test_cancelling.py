"""Signals become one request to end; until moves are underway it breaks the flow off, then never."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from tasks.cancelling import cancellable
from tasks.window import in_thread
from vmferry.model.cancelling import OnCancel
from vmferry.stopping import announcing, current_stop, reason_to_end

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
WAIT_S = 20


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Neither signal is ignored, as SIGINT is in a run in the background."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@SIGNALS
def test_before_the_first_move_a_signal_breaks_off_and_a_second_one_does_no_harm(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), cancellable():
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)
    assert signal.getsignal(number) is signal.default_int_handler


@SIGNALS
def test_moves_that_run_are_ended_and_reported_however_many_signals_come(number: signal.Signals) -> None:
    main, heard, said = threading.main_thread().ident, threading.Event(), list[str]()
    assert main is not None

    def move(word: str) -> str:
        assert reason_to_end() == ""
        signal.pthread_kill(main, number)
        assert heard.wait(WAIT_S)
        for _ in range(3):
            signal.pthread_kill(main, number)
        assert reason_to_end() == f"cancelled by {number.name}"
        return word.upper()

    with announcing(said.append), cancellable(OnCancel.ABORT):
        assert in_thread(move, "moved", on_stop=heard.set) == "MOVED"
        signal.raise_signal(number)  # while the report is made
        assert current_stop().why == number.name
    assert [line.partition(":")[0] for line in said] == [f"cancelled by {number.name}"]


def test_only_the_policy_abort_ends_running_moves() -> None:
    with cancellable(OnCancel.FINISH) as stop:
        stop.ask("the test")
        assert reason_to_end() == ""


def test_the_policy_is_the_setting_where_nobody_gives_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMFERRY_ON_CANCEL", "abort")
    with cancellable() as stop:
        assert stop.on_cancel is OnCancel.ABORT
