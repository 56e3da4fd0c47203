"""The sliding window: moves on threads, the next one starts as soon as its resources and the run's bounds allow it."""

from __future__ import annotations

import contextvars
import logging
import queue
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from pydantic import Field

from tasks._wiring import world
from vmferry.errors import Frozen
from vmferry.model.base import Model
from vmferry.model.cancelling import OnCancel
from vmferry.model.evacuation import Move
from vmferry.model.migration import MigrationOutcome, OutcomeKind
from vmferry.model.operation import Blackout, RunLimits
from vmferry.planning.causes import Avoided, avoided, ended_move, is_worth_another_try, with_objective
from vmferry.planning.constraints.instants import OnTheWay
from vmferry.planning.gate import Gate, Say, in_turn
from vmferry.planning.window import Window, limits_of
from vmferry.steps.freeze import why_frozen
from vmferry.stopping import current_stop

logger = logging.getLogger("vmferry.window")
A = TypeVar("A")
R = TypeVar("R")

_POLL_S = 0.5  # while moves run: how late the window's end, or the end of a blackout, is noticed
_NAP_S = 2.0  # while none runs: how late a request to stop is heard

Rerouted = Mapping[str, Move | str]  # VM's UUID → its other way, or why there is none; of others: what changes


def _frozen_now(_move: Move) -> str:
    return why_frozen(world())


def _no_other_way(moves: Sequence[Move], waiting: Sequence[Move], avoid: Avoided) -> Rerouted:
    del waiting
    return {move.uuid: avoid.why_not(move.uuid, move.source, move.dest) for move in moves}


@dataclass(frozen=True)
class Bounds:
    """What a run's moves are kept within; `objectives`: VM's UUID → for how many ms it may stand still.

    `frozen` tells, just before a start, why the fleet takes no moves; `reroute` finds other destinations for moves
    whose own is avoided, beside those that wait, all in one call, on the window's thread. `on_the_way` holds back a
    start that would break a constraint while the VM is on both of its hosts.
    """

    limits: RunLimits = field(default_factory=RunLimits)
    blackouts: Mapping[str, Sequence[Blackout]] = field(default_factory=dict)  # by UUID
    objectives: Mapping[str, int] = field(default_factory=dict)
    frozen: Callable[[Move], str] = _frozen_now
    on_the_way: OnTheWay | None = None
    reroute: Callable[[Sequence[Move], Sequence[Move], Avoided], Rerouted] = _no_other_way


class WindowResult(Model):
    """What a window did; `failures` maps a VM to the error that kept its move from starting."""

    outcomes: tuple[MigrationOutcome, ...]
    failures: dict[str, str]
    not_started: tuple[str, ...]
    reasons: dict[str, str] = Field(
        default_factory=dict
    )  # why one of those was not started, where it was no request to stop
    tried: tuple[MigrationOutcome, ...] = ()  # failed, and tried again elsewhere: the last try is among the outcomes
    stopped: str = ""  # why the run itself started nothing more; empty: it was not stopped by its bounds

    def left(self) -> tuple[str, ...]:
        """Return the VMs that no run was opened for, each with the reason where there is one."""
        waiting = (f"{vm} ({self.reasons[vm]})" if vm in self.reasons else vm for vm in self.not_started)
        return (*waiting, *(f"{vm} ({why})" for vm, why in self.failures.items()))


def run_window(
    moves: tuple[Move, ...],
    max_parallel: int,
    move: Callable[[Move], MigrationOutcome],
    bounds: Bounds = Bounds(),
) -> WindowResult:
    """Run all moves; one that fails stops no other until a bound says so, one that is HELD lets no further one start.

    A request to stop lets no further move start either; those that run end first, and are reported.
    """
    ordered = in_turn(moves, bounds.limits)
    run = _Run(Window.open(ordered, limits_of(world().inventory), max_parallel), move, bounds)
    return in_thread(run.all, max_parallel, on_stop=run.stop)


class _Asked:
    """One round of asking the gate: what it said of the moves for which there is a slot."""

    def __init__(self, gate: Gate, now: datetime) -> None:
        self._gate = gate
        self._now = now
        self.never: dict[str, str] = {}  # VM's UUID → why
        self.times: list[datetime] = []  # at which to ask again

    def may(self, move: Move) -> bool:
        """Whether the move may start now."""
        permit = self._gate.permit(move, self._now)
        if permit.say is Say.NEVER:
            self.never[move.uuid] = permit.reason
        elif permit.say is Say.WAIT and permit.until is not None:
            self.times.append(permit.until)
        return permit.say is Say.START

    def why(self, move: Move) -> str:
        """Return what keeps the move from starting."""
        return self._gate.permit(move, self._now).reason


class _Run:
    """One pass of a window, driven by ends of moves, by time, and by requests to stop, which arrive in one queue."""

    def __init__(self, window: Window, move: Callable[[Move], MigrationOutcome], bounds: Bounds) -> None:
        self._window = window
        self._move = move
        self._bounds = bounds
        self._gate = Gate(bounds.limits, bounds.blackouts, objectives=bounds.objectives, on_the_way=bounds.on_the_way)
        self._arrivals: queue.SimpleQueue[tuple[Move, Future[MigrationOutcome]] | None] = queue.SimpleQueue()
        self._outcomes: list[MigrationOutcome] = []
        self._tried: list[MigrationOutcome] = []
        self._tries: dict[str, int] = {}
        self._failures: dict[str, str] = {}
        self._not_started: dict[str, str] = {}

    def stop(self) -> None:
        """Let no further move start; safe to call from a signal handler."""
        self._arrivals.put(None)

    def all(self, max_parallel: int) -> WindowResult:
        """Run to the end."""
        with ThreadPoolExecutor(max_workers=max_parallel, thread_name_prefix="move") as pool:
            while not self._window.is_finished:
                until = self._start_ready(pool)
                if not self._window.is_finished:
                    self._await(until)
        return WindowResult(
            outcomes=tuple(self._outcomes),
            failures=self._failures,
            not_started=tuple(self._not_started),
            reasons={vm: why for vm, why in self._not_started.items() if why},
            tried=tuple(self._tried),
            stopped=self._gate.stopped if self._not_started else "",
        )

    # starting

    def _start_ready(self, pool: ThreadPoolExecutor) -> datetime | None:
        """Start all that may start; return when to ask again, None when only the end of a move can change anything."""
        while True:
            asked = _Asked(self._gate, world().clock.now())
            ready, window = self._window.take_one(asked.may)
            if asked.never:
                self._leave(asked.never)
            elif ready is None:
                if not (asked.times or self._window.running):  # nothing will change any more
                    self._leave({move.uuid: asked.why(move) for move in self._window.waiting})
                return min(asked.times, default=None)
            elif why := self._bounds.frozen(ready):
                self._gate = self._gate.freeze(why)
            else:
                self._window, self._gate = window, self._gate.start(ready)
                self._start(pool, ready)

    def _start(self, pool: ThreadPoolExecutor, item: Move) -> None:
        future = _submit(pool, self._move, item)
        future.add_done_callback(lambda ended: self._arrivals.put((item, ended)))

    def _leave(self, reasons: Mapping[str, str]) -> None:
        """Let waiting moves go, each with the reason; those that were tried before are told by their last try."""
        for move in self._window.waiting:
            if move.uuid in reasons and move.uuid not in self._tries:
                self._not_started[move.vm] = reasons[move.uuid]
            elif move.uuid in reasons:
                self._untry(move, reasons[move.uuid])
        self._window = self._window.drop(reasons)

    # waiting

    def _await(self, until: datetime | None) -> None:
        """Wait for the end of a move, a request to stop, or the time."""
        arrival, has_come = self._next(until)
        if not has_come:
            self._close_in_time()
            return
        if arrival is not None:
            self._collect(*arrival)
        if arrival is None or any(outcome.kind is OutcomeKind.HELD for outcome in self._outcomes):
            self._leave({move.uuid: "" for move in self._window.waiting})

    def _next(self, until: datetime | None) -> tuple[tuple[Move, Future[MigrationOutcome]] | None, bool]:
        is_watched = until is not None or self._must_close()
        try:
            if self._window.running:
                return self._arrivals.get(timeout=_POLL_S if is_watched else None), True
            if until is not None:
                left = (until - world().clock.now()).total_seconds()
                world().clock.sleep(min(_NAP_S, max(0.01, left)))
            return self._arrivals.get_nowait(), True
        except queue.Empty:
            return None, False

    def _must_close(self) -> bool:
        limits = self._bounds.limits
        return limits.closes_at is not None and limits.at_end is OnCancel.ABORT

    def _close_in_time(self) -> None:
        closes_at = self._bounds.limits.closes_at
        if closes_at is not None and self._must_close() and world().clock.now() >= closes_at:
            current_stop().end_running(f"the window ends at {closes_at:%Y-%m-%d %H:%M:%S} UTC")

    # ends

    def _collect(self, item: Move, future: Future[MigrationOutcome]) -> None:
        self._window = self._window.done(item.uuid)
        error = future.exception()
        if isinstance(error, Frozen):  # a host told it, the journal does not know
            self._gate = self._gate.forget(item.uuid).freeze(str(error))
            self._not_started[item.vm] = str(error)
            return
        if error is not None:
            logger.error("vm %s: not moved: %s", item.vm, error)
            self._failures[item.vm] = str(error)
            self._gate = self._gate.forget(item.uuid)
            return
        outcome = with_objective(future.result(), self._gate.objective(item.uuid))
        self._gate = self._gate.end(ended_move(item, outcome))
        self._outcomes.append(outcome)
        if outcome.kind is OutcomeKind.ROLLED_BACK and not self._gate.stopped and not current_stop().why:
            self._avoid(item, outcome)

    def _avoid(self, failed: Move, outcome: MigrationOutcome) -> None:
        """Send nothing more to where moves failed: find other ways for what waits, and for the VM that failed."""
        avoid = avoided(self._gate.ended)
        affected = [m for m in self._window.waiting if avoid.why_not(m.uuid, m.source, m.dest)]
        is_retried = self._tries.get(failed.uuid, 0) < self._bounds.limits.retries
        if is_retried and is_worth_another_try(self._gate.ended[-1].cause):
            affected.append(failed)
        if not affected:
            return
        others = [m for m in self._window.waiting if m not in affected]
        found = self._bounds.reroute(affected, others, avoid)
        ways = [way for move in (*others, *affected) if isinstance(way := found.get(move.uuid, move), Move)]
        self._leave({m.uuid: str(found[m.uuid]) for m in affected if not isinstance(found.get(m.uuid), Move)})
        self._window = self._window.exchange(in_turn(ways, self._bounds.limits))
        if any(way.uuid == failed.uuid for way in ways):
            self._try_again(failed, outcome)

    def _try_again(self, failed: Move, outcome: MigrationOutcome) -> None:
        tries = self._tries.get(failed.uuid, 0)
        wait_s = self._bounds.limits.backoff_s * 2**tries
        self._tries[failed.uuid] = tries + 1
        self._gate = self._gate.wait_for(failed.uuid, world().clock.now() + timedelta(seconds=wait_s))
        self._outcomes.remove(outcome)
        self._tried.append(outcome)

    def _untry(self, move: Move, why: str) -> None:
        """Tell the last try as the VM's end: the next one does not start."""
        last = next(outcome for outcome in reversed(self._tried) if outcome.vm == move.vm)
        self._tried.remove(last)
        reason = f"{last.reason}; not tried again: {why}" if why else last.reason
        self._outcomes.append(last.model_copy(update={"reason": reason}))


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
