"""The gate before each start: whether a planned move may start now, later, or not at all in this run. Pure.

Asked for every waiting move whenever something has ended or time has passed; the answer is never kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

from vmferry.model.base import Model
from vmferry.model.deadline import default_deadline_s
from vmferry.model.evacuation import Move
from vmferry.model.operation import Blackout, Cause, Place, RunLimits
from vmferry.planning.blackouts import free_from
from vmferry.planning.constraints.instants import OnTheWay

# The steps around a move, before its first byte and after its last one (planning.schedule counts the same).
STEPS_S = 2.0


class Say(StrEnum):
    """What the gate says."""

    START = "start"
    WAIT = "wait"
    NEVER = "never"


class Permit(Model):
    """The gate's answer; `until` None with WAIT: until a move has ended. `ends_run`: no other move may start either."""

    say: Say
    reason: str = ""
    until: datetime | None = None
    ends_run: bool = False


START = Permit(say=Say.START)


class Ended(Model):
    """One move of this run that is over."""

    vm: str
    uuid: str
    source: str
    dest: str
    started_at: datetime
    ended_at: datetime
    downtime_ms: int | None = None
    cause: Cause | None = None  # None: it moved
    is_there: bool = False  # whether the VM is on its destination: a guest may have moved and not answer

    @property
    def is_failure(self) -> bool:
        """Whether the brakes count it: a move that somebody ended failed at nothing."""
        return self.cause is not None and self.cause.place is not Place.ASKED


@dataclass(frozen=True)
class Gate:
    """The run's bounds and what it has done so far; `frozen` is why the fleet takes no moves, empty when it does."""

    limits: RunLimits
    blackouts: Mapping[str, Sequence[Blackout]] = field(default_factory=dict)  # by UUID
    running: tuple[Move, ...] = ()
    ended: tuple[Ended, ...] = ()
    objectives: Mapping[str, int] = field(default_factory=dict)  # by UUID: the VM's own downtime objective, ms
    not_before: Mapping[str, datetime] = field(default_factory=dict)  # by UUID: the back-off before another try
    frozen: str = ""
    on_the_way: OnTheWay | None = None  # what holds while VMs are on both of their hosts; None: nothing is asked

    def permit(self, move: Move, now: datetime) -> Permit:
        """Return whether the move may start at `now`; the first reason that speaks against it decides."""
        if self.stopped:
            return Permit(say=Say.NEVER, reason=self.stopped, ends_run=True)
        return self._in_time(move, now) or self._after_canaries(move) or self._beside_others(move) or START

    @cached_property
    def stopped(self) -> str:
        """Why nothing starts any more in this run; empty while something may."""
        return self.frozen or self.tripped() or self.failed_canary() or self._is_full()

    def start(self, move: Move) -> Gate:
        """Return the gate after the move has started."""
        return replace(self, running=(*self.running, move))

    def end(self, ended: Ended) -> Gate:
        """Return the gate after a move that ran is over."""
        running = tuple(move for move in self.running if move.uuid != ended.uuid)
        return replace(self, running=running, ended=(*self.ended, ended))

    def forget(self, uuid: str) -> Gate:
        """Return the gate after a start that came to nothing: another run held the VM, or the like."""
        return replace(self, running=tuple(move for move in self.running if move.uuid != uuid))

    def freeze(self, why: str) -> Gate:
        """Return the gate of a fleet that takes no moves."""
        return replace(self, frozen=why)

    def wait_for(self, uuid: str, until: datetime) -> Gate:
        """Return the gate in which this VM is tried again only then."""
        return replace(self, not_before={**self.not_before, uuid: until})

    def tripped(self) -> str:
        """Return why the circuit breaker is open; empty while it is closed."""
        counted = counting(self.ended)
        most = self.limits.max_failures
        if most is not None and len(counted) >= most:
            return f"circuit breaker: {_times(len(counted), 'move')} failed, the last one of {counted[-1].vm}"
        by_cause = Counter(ended.cause.text for ended in counted if ended.cause is not None)
        for text, times in by_cause.most_common(1):
            if self.limits.max_same_cause is not None and times >= self.limits.max_same_cause:
                return f"circuit breaker: {times} moves failed for the same cause: {text}"
        for ended in self.ended:
            limit = self.objective(ended.uuid)
            if limit is not None and ended.downtime_ms is not None and ended.downtime_ms > limit:
                return f"circuit breaker: {ended.vm} stood still for {ended.downtime_ms} ms, more than {limit} ms"
        return ""

    def objective(self, uuid: str) -> int | None:
        """Return for how many ms the VM may stand still: the stricter of its own objective and the run's."""
        both = (self.objectives.get(uuid), self.limits.max_downtime_ms)
        return min((limit for limit in both if limit is not None), default=None)

    def failed_canary(self) -> str:
        """Return which canary did not move well; empty when none failed, or enough others did not."""
        if not self._canaries_needed:
            return ""
        failed = next((ended for ended in self.ended if ended.cause is not None and self._is_canary(ended)), None)
        if failed is None or failed.cause is None:
            return ""
        return f"the canary {failed.vm} did not move: {failed.cause.text}"

    def _is_full(self) -> str:
        started = len({move.uuid for move in self.running} | {ended.uuid for ended in self.ended})
        most = self.limits.max_moves
        return f"the cap of {_times(most, 'move')} per run is reached" if most is not None and started >= most else ""

    def _in_time(self, move: Move, now: datetime) -> Permit | None:
        """Say when the time is right, where it is not now."""
        seconds, closes = expected_s(move), self.limits.closes_at
        at = max(now, self.not_before.get(move.uuid, now))
        free, why = free_from(self.blackouts.get(move.uuid, ()), at, seconds)
        reason = why or ("is tried again after its back-off" if at > now else "")
        if free is None:
            return Permit(say=Say.NEVER, reason=f"no time for {seconds:.0f} s between its blackouts: {why}")
        if closes is not None and free + timedelta(seconds=seconds) > closes:
            end = f"{free + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"
            because = f", {reason}" if reason else ""
            text = f"its forecast end at {end} UTC lies outside of the window, which ends at {closes:%H:%M:%S}{because}"
            return Permit(say=Say.NEVER, reason=text)
        if free > now:
            return Permit(say=Say.WAIT, reason=reason, until=free)
        return None

    def _beside_others(self, move: Move) -> Permit | None:
        """Hold back what would break a constraint while it is on both of its hosts; an end may change that."""
        if self.on_the_way is None:
            return None
        moved = {ended.uuid: (ended.dest,) for ended in self.ended if ended.is_there}
        why = self.on_the_way.why_not(move, moved, self.running)
        return Permit(say=Say.WAIT, reason=f"while it moves this would not hold: {why}") if why else None

    # canaries

    def _after_canaries(self, move: Move) -> Permit | None:
        """Hold back what is no canary, and more canaries than are needed, until the canaries have moved well."""
        needed = self._canaries_needed
        if not needed:
            return None
        names = set(self.limits.canary_vms)
        if names:
            is_one = bool({move.vm, move.uuid} & names)
            return None if is_one else Permit(say=Say.WAIT, reason=f"after the canaries: {', '.join(sorted(names))}")
        if len(self.running) < needed:
            return None
        return Permit(say=Say.WAIT, reason=f"after {_times(needed, 'canary')} that must move well first")

    @cached_property
    def _canaries_needed(self) -> int:
        """Return how many canaries have yet to move well before the rest may start."""
        good = [ended for ended in self.ended if ended.cause is None]
        if names := set(self.limits.canary_vms):
            return len(names) - sum(1 for name in names if any(name in (e.vm, e.uuid) for e in good))
        return max(0, self.limits.canaries - len(good))

    def _is_canary(self, ended: Ended) -> bool:
        names = self.limits.canary_vms
        return not names or ended.vm in names or ended.uuid in names


def counting(ended: Sequence[Ended]) -> tuple[Ended, ...]:
    """Return the failures that count: of moves to one host that were under way together, one per cause.

    When a destination breaks, all moves to it fail at once. That is one failure; those that start there after it are
    more.
    """
    counted: list[Ended] = []
    for one in sorted((e for e in ended if e.is_failure), key=lambda e: (e.ended_at, e.uuid)):
        same = [o for o in counted if (o.dest, o.cause) == (one.dest, one.cause)]
        if not any(one.started_at <= other.ended_at for other in same if other.uuid != one.uuid):
            counted.append(one)
    return tuple(counted)


def in_turn(moves: Sequence[Move], limits: RunLimits) -> tuple[Move, ...]:
    """Return the moves in the order of starting: named canaries, then by priority, highest first, then as planned."""
    names = set(limits.canary_vms)
    ranked = sorted(moves, key=lambda m: (not names & {m.vm, m.uuid}, -m.priority, m.order))
    return tuple(move.model_copy(update={"order": order}) for order, move in enumerate(ranked))


def expected_s(move: Move) -> float:
    """Return how long the move is expected to take, its steps included; at most its deadline where nobody knows."""
    known = move.forecast.all_seconds if move.forecast is not None else None
    return STEPS_S + (known if known is not None else default_deadline_s(move.memory_kib))


def _times(count: int | None, what: str) -> str:
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{count} {what if count == 1 else plural}"
