"""The request to end early: made by a signal or by Prefect, heard by windows, steps and running jobs.

It is a value of the flow run's context, so that all threads of an operation see it and no other operation does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from vmferry.model.cancelling import OnCancel


class Stop:
    """One operation's request; `why` is empty as long as nobody has asked. No locks: a signal handler may ask."""

    def __init__(self, on_cancel: OnCancel = OnCancel.FINISH) -> None:
        self.on_cancel = on_cancel
        self.why = ""
        self.ended_by = ""  # why the moves that run are to end now although nobody has cancelled: its time is over
        self.is_underway = False  # whether moves have begun: from then on nothing is broken off, only ended
        self._hearers: list[Callable[[], None]] = []

    def ask(self, why: str) -> None:
        """Let nothing further start; only the first request counts."""
        if self.why:
            return
        self.why = why
        if self.is_underway:
            for say in tuple(_sayers):
                say(self.words())
        for hearer in tuple(self._hearers):
            hearer()

    def end_running(self, why: str) -> None:
        """Have the moves that run ended now, by what runs them; the operation itself goes on to its report."""
        self.ended_by = self.ended_by or why

    @contextmanager
    def telling(self, hearer: Callable[[], None]) -> Iterator[None]:
        """Call `hearer` when the request comes, or at once when it has come; perhaps twice."""
        self._hearers.append(hearer)
        try:
            if self.why:
                hearer()
            yield
        finally:
            self._hearers.remove(hearer)

    def reason_to_end(self) -> str:
        """Return why a running move is to be ended now; empty while it may go on to its end."""
        return f"cancelled by {self.why}" if self.why and self.on_cancel is OnCancel.ABORT else self.ended_by

    def words(self) -> str:
        """Say what becomes of the moves that run."""
        if self.on_cancel is OnCancel.ABORT:
            return f"cancelled by {self.why}: no further move starts, running moves are aborted and verified"
        return f"cancelled by {self.why}: no further move starts, running moves are finished first"


_sayers: list[Callable[[str], None]] = []


@contextmanager
def announcing(say: Callable[[str], None]) -> Iterator[None]:
    """Have it said, in the block, what a request does to moves that run: a command's terminal."""
    _sayers.append(say)
    try:
        yield
    finally:
        _sayers.remove(say)


_current: ContextVar[Stop | None] = ContextVar("stop", default=None)


@contextmanager
def stoppable(stop: Stop) -> Iterator[None]:
    """Let the block and what it starts see the request."""
    token = _current.set(stop)
    try:
        yield
    finally:
        _current.reset(token)


def current_stop() -> Stop:
    """Return the request of this context; one that nobody makes where there is none."""
    return _current.get() or Stop()


def reason_to_end() -> str:
    """Return why a running move is to be ended now; empty while it may go on to its end."""
    return current_stop().reason_to_end()
