"""The sliding window: moves on threads, the next one starts as soon as its resources are free."""

from __future__ import annotations

import contextvars
import logging
import queue
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tasks._wiring import world
from vmferry.model.base import Model
from vmferry.model.evacuation import Move
from vmferry.model.migration import MigrationOutcome, OutcomeKind
from vmferry.planning.window import Window, limits_of
from vmferry.stopping import current_stop

logger = logging.getLogger("vmferry.window")
A = TypeVar("A")
R = TypeVar("R")


class WindowResult(Model):
    """What a window did; `failures` maps a VM to the error that kept its move from starting."""

    outcomes: tuple[MigrationOutcome, ...]
    failures: dict[str, str]
    not_started: tuple[str, ...]


def run_window(moves: tuple[Move, ...], max_parallel: int, move: Callable[[Move], MigrationOutcome]) -> WindowResult:
    """Run all moves; one that fails stops no other, one that is HELD lets no further one start.

    A request to stop lets no further move start either; those that run end first, and are reported.
    """
    run = _Run(Window.open(moves, limits_of(world().inventory), max_parallel), move)
    return in_thread(run.all, max_parallel, on_stop=run.stop)


class _Run:
    """One pass of a window, driven by ends of moves and requests to stop, both of which arrive in one queue."""

    def __init__(self, window: Window, move: Callable[[Move], MigrationOutcome]) -> None:
        self._window = window
        self._move = move
        self._arrivals: queue.SimpleQueue[tuple[Move, Future[MigrationOutcome]] | None] = queue.SimpleQueue()
        self._outcomes: list[MigrationOutcome] = []
        self._failures: dict[str, str] = {}
        self._not_started: list[str] = []

    def stop(self) -> None:
        """Let no further move start; safe to call from a signal handler."""
        self._arrivals.put(None)

    def all(self, max_parallel: int) -> WindowResult:
        """Run to the end."""
        with ThreadPoolExecutor(max_workers=max_parallel, thread_name_prefix="move") as pool:
            while not self._window.is_finished:
                started, self._window = self._window.take()
                for item in started:
                    self._start(pool, item)
                arrival = self._arrivals.get()
                if arrival is not None:
                    self._collect(*arrival)
                if arrival is None or any(outcome.kind is OutcomeKind.HELD for outcome in self._outcomes):
                    left, self._window = self._window.stop()
                    self._not_started += (item.vm for item in left)
        return WindowResult(
            outcomes=tuple(self._outcomes), failures=self._failures, not_started=tuple(self._not_started)
        )

    def _start(self, pool: ThreadPoolExecutor, item: Move) -> None:
        future = _submit(pool, self._move, item)
        future.add_done_callback(lambda ended: self._arrivals.put((item, ended)))

    def _collect(self, item: Move, future: Future[MigrationOutcome]) -> None:
        self._window = self._window.done(item.uuid)
        error = future.exception()
        if error is None:
            self._outcomes.append(future.result())
        else:
            logger.error("vm %s: not moved: %s", item.vm, error)
            self._failures[item.vm] = str(error)


def in_thread(function: Callable[[A], R], argument: A, *, on_stop: Callable[[], None] = lambda: None) -> R:
    """Run on a thread of its own and wait; a request to stop calls `on_stop`, and what runs is ended first.

    A move must not run on the main thread: a signal would end it in the middle (prefect-facts 13 and 20).
    """
    stop = current_stop()
    stop.is_underway = True
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="moves") as pool, stop.telling(on_stop):
        return _submit(pool, function, argument).result()


def _submit(pool: ThreadPoolExecutor, function: Callable[[A], R], argument: A) -> Future[R]:
    """Submit with the flow run's context, so that task runs on the thread belong to it."""
    return pool.submit(contextvars.copy_context().run, function, argument)
