"""Events of a running operation, told to whoever listens in this process: terminal, Prefect artifacts, logs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vmferry.model.base import Model
from vmferry.model.evacuation import EvacuationPlan, EvacuationReport
from vmferry.model.migration import JobStats, MigrationOutcome, MigrationPlan

logger = logging.getLogger("vmferry.progress")


class PlanMade(Model):
    """An evacuation was planned and checked; nothing has been touched."""

    plan: EvacuationPlan


class MoveStarted(Model):
    """A VM's run was opened in the journal."""

    plan: MigrationPlan


class StepStarted(Model):
    """A step of a run begins."""

    run: str
    vm: str
    step: str


class MoveProgress(Model):
    """One sample of a running job."""

    run: str
    vm: str
    stats: JobStats


class MoveEnded(Model):
    """A VM's run ended; both hosts were looked at."""

    outcome: MigrationOutcome


class EvacuationEnded(Model):
    """An evacuation ended."""

    report: EvacuationReport


Event = PlanMade | MoveStarted | StepStarted | MoveProgress | MoveEnded | EvacuationEnded
Listener = Callable[[Event], None]

_listeners: list[Listener] = []
_lock = threading.Lock()


def publish(event: Event) -> None:
    """Tell all listeners; one that raises is logged and never hurts the move."""
    with _lock:
        listeners = tuple(_listeners)
    for listener in listeners:
        try:
            listener(event)
        except Exception:
            logger.exception("a progress listener failed")


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Register a listener for the duration of the block; it is called from any thread."""
    with _lock:
        _listeners.append(listener)
    try:
        yield
    finally:
        with _lock:
            _listeners.remove(listener)
