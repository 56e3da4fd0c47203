"""The sliding window: moves on threads, the next one starts as soon as its resources are free."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from tasks._wiring import world
from vmferry.model.base import Model
from vmferry.model.evacuation import Move
from vmferry.model.migration import MigrationOutcome, OutcomeKind
from vmferry.planning.window import Window, limits_of

logger = logging.getLogger("vmferry.window")
A = TypeVar("A")
R = TypeVar("R")

_POLL_S = 3600.0  # the wait ends with an event; the limit only keeps signals deliverable


class WindowResult(Model):
    """What a window did; `failures` maps a VM to the error that kept its move from starting."""

    outcomes: tuple[MigrationOutcome, ...]
    failures: dict[str, str]
    not_started: tuple[str, ...]


def run_window(moves: tuple[Move, ...], max_parallel: int, move: Callable[[Move], MigrationOutcome]) -> WindowResult:
    """Run all moves; one that fails stops no other, one that is HELD lets no further one start."""
    window = Window.open(moves, limits_of(world().inventory), max_parallel)
    running: dict[Future[MigrationOutcome], Move] = {}
    outcomes: list[MigrationOutcome] = []
    failures: dict[str, str] = {}
    not_started: list[Move] = []
    with ThreadPoolExecutor(max_workers=max_parallel, thread_name_prefix="move") as pool:
        while not window.is_finished:
            started, window = window.take()
            for item in started:
                running[_submit(pool, move, item)] = item
            try:
                done, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt:
                logger.warning("interrupted: no further move starts, running moves are finished first")
                left, window = window.stop()
                not_started += left
                continue
            for future in done:
                item = running.pop(future)
                window = window.done(item.uuid)
                _collect(future, item, outcomes, failures)
            if any(outcome.kind is OutcomeKind.HELD for outcome in outcomes):
                left, window = window.stop()
                not_started += left
    return WindowResult(outcomes=tuple(outcomes), failures=failures, not_started=tuple(item.vm for item in not_started))


def _collect(
    future: Future[MigrationOutcome], item: Move, outcomes: list[MigrationOutcome], failures: dict[str, str]
) -> None:
    error = future.exception()
    if error is None:
        outcomes.append(future.result())
    else:
        logger.error("vm %s: not moved: %s", item.vm, error)
        failures[item.vm] = str(error)


def in_thread(function: Callable[[A], R], argument: A) -> R:
    """Run on a thread of its own and wait; an interrupt is heard, and the move is finished first.

    A move must not run on the main thread: a signal would end it in the middle (prefect-facts 13 and 20).
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="move") as pool:
        future = _submit(pool, function, argument)
        while True:
            try:
                return future.result()
            except KeyboardInterrupt:
                logger.warning("interrupted: the running move is finished first")


def _submit(pool: ThreadPoolExecutor, function: Callable[[A], R], argument: A) -> Future[R]:
    """Submit with the flow run's context, so that task runs on the thread belong to it."""
    return pool.submit(contextvars.copy_context().run, function, argument)
