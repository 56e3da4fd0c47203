"""Events of a running operation, told to whoever listens in this process: terminal, Prefect artifacts, logs."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vmferry.model.base import Model
from vmferry.model.convergence import Order
from vmferry.model.disks import CopyStats
from vmferry.model.evacuation import EvacuationPlan, EvacuationReport
from vmferry.model.migration import JobStats, MigrationOutcome, MigrationPlan
from vmferry.model.purge import PurgeReport
from vmferry.model.returning import ReturnReport
from vmferry.model.roll import HostRoll, RollReport
from vmferry.model.sharing import ShareOutcome

logger = logging.getLogger("vmferry.progress")


class PlanMade(Model):
    """An evacuation was planned and checked; nothing has been touched."""

    plan: EvacuationPlan


class ApprovalAsked(Model):
    """Somebody must agree to a plan; nothing has been touched."""

    plan: EvacuationPlan
    minutes: float
    people: int


class ApprovalEnded(Model):
    """A plan was agreed to, refused, or nobody answered in time: `decision` is approved, refused or timed-out."""

    plan: EvacuationPlan
    decision: str
    by: str = ""
    comment: str = ""


class MoveStarted(Model):
    """A VM's run was opened in the journal."""

    plan: MigrationPlan


class StepStarted(Model):
    """A step of a run begins."""

    run: str
    vm: str
    step: str


class StepEnded(Model):
    """A step of a run is done, and the journal says so."""

    run: str
    vm: str
    step: str


class MoveHelped(Model):
    """A running job was helped, or slowed by QEMU; with `refusal` the order: it had no effect."""

    run: str
    vm: str
    order: Order


class RunTakenOver(Model):
    """Recovery begins with a run that its process has left, or that is held."""

    plan: MigrationPlan
    was_held: bool = False


class MoveProgress(Model):
    """One sample of a running job."""

    run: str
    vm: str
    stats: JobStats


class CopyProgress(Model):
    """One sample of a file that vmferry copies for a run."""

    run: str
    vm: str
    stats: CopyStats


class MoveEnded(Model):
    """A VM's run ended; both hosts were looked at."""

    outcome: MigrationOutcome


class RunLeftAlone(Model):
    """Recovery did not touch a run because its owner lives, or cannot be asked."""

    run: str
    vm: str
    owner: str


class ShareSettled(Model):
    """Recovery brought a share of storage that was cut off, or held, to its end."""

    outcome: ShareOutcome


class EvacuationStarted(Model):
    """The moves of a plan begin; the host is cordoned."""

    plan: EvacuationPlan


class EvacuationEnded(Model):
    """An evacuation ended."""

    report: EvacuationReport


class ReturnEnded(Model):
    """VMs were brought home, as far as that was possible."""

    report: ReturnReport


class HostRolled(Model):
    """A host of a roll has come one step further, or no further."""

    roll: HostRoll


class RollEnded(Model):
    """A roll ended, or was stopped by a host."""

    report: RollReport


class FilesPurged(Model):
    """A purge ended."""

    report: PurgeReport


Event = (
    PlanMade
    | ApprovalAsked
    | ApprovalEnded
    | MoveStarted
    | RunTakenOver
    | StepStarted
    | StepEnded
    | MoveHelped
    | MoveProgress
    | CopyProgress
    | MoveEnded
    | RunLeftAlone
    | ShareSettled
    | EvacuationStarted
    | EvacuationEnded
    | ReturnEnded
    | HostRolled
    | RollEnded
    | FilesPurged
)
Listener = Callable[[Event], None]

_DRAIN_S = 20.0

_queues: list[queue.SimpleQueue[Event | None]] = []
_lock = threading.Lock()


def publish(event: Event) -> None:
    """Tell all listeners; never blocks and never raises.

    A listener may talk to a server that hangs; a VM that is paused in its switch-over must not wait for that.
    """
    with _lock:
        queues = tuple(_queues)
    for waiting in queues:
        waiting.put(event)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Register a listener for the duration of the block; a thread of its own calls it, one event at a time.

    At the end of the block the events that wait are still told, for at most 20 s.
    """
    waiting: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    # The listener sees the context of the flow run that registered it.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(_serve, listener, waiting), daemon=True, name="progress")
    thread.start()
    with _lock:
        _queues.append(waiting)
    try:
        yield
    finally:
        with _lock:
            _queues.remove(waiting)
        waiting.put(None)
        thread.join(_DRAIN_S)


def _serve(listener: Listener, waiting: queue.SimpleQueue[Event | None]) -> None:
    while (event := waiting.get()) is not None:
        try:
            listener(event)
        except Exception:
            logger.exception("a progress listener failed")
