"""Cancelling: signals become a request to end; moves that run are finished or aborted, looked at, and reported.

Prefect cancels a run by SIGTERM, and by SIGKILL 30 s later (3.8.8): what is not over by then has an heir.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from tasks._wiring import heir, settings
from vmferry.model.cancelling import OnCancel
from vmferry.stopping import Stop, current_stop, stoppable

logger = logging.getLogger("vmferry.cancelling")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def cancellable(on_cancel: OnCancel | None = None, inventory: str | None = None) -> Iterator[Stop]:
    """Hear requests to end for the length of the block; before moves are underway the first one breaks it off.

    Once they are, nothing is broken off: the window starts no further move, and the block goes on to its report.
    """
    stop = Stop(on_cancel or OnCancel(settings().on_cancel))
    with stoppable(stop), heir(inventory), _hearing(stop):
        yield stop


def cancelled(message: str) -> State[Any] | None:
    """Return the state of a run that ends early because it was asked to; None when nobody has asked."""
    return Cancelled(message=message) if current_stop().why else None


@contextmanager
def _hearing(stop: Stop) -> Iterator[None]:
    """Take the signals; only main threads get any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def hear(number: int, frame: FrameType | None) -> None:
        is_first = not stop.why
        stop.ask(signal.Signals(number).name)
        if not is_first:
            return  # does no harm: what runs is ended already
        if stop.is_underway:
            logger.warning("%s", stop.words())
        else:
            _pass_on(before[signal.Signals(number)], number, frame)

    for number in _SIGNALS:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, hear)
    try:
        yield
    finally:
        for number in _SIGNALS:
            signal.signal(number, before[number])


def _pass_on(
    handler: Callable[[int, FrameType | None], Any] | int | None, number: int, frame: FrameType | None
) -> None:
    """Do what would have been done without us: Prefect's handler and Python's raise."""
    if not callable(handler):
        raise KeyboardInterrupt
    handler(number, frame)
