"""Play a live move before it happens: a model of QEMU's pre-copy, steered by the engine that will steer the real one.

The model, from QEMU's migration.c and ram.c: a pass sends what the dirty bitmap held when it began; when so little is
left of it that it could be sent within the downtime limit, the bitmap is read again, and the VM is stopped as soon as
that sum is small enough too. The test knows the capped rate, the last pass is sent uncapped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from vmferry.model.base import Model
from vmferry.model.convergence import (
    FIRST_LIMIT_MS,
    POLICIES,
    Abort,
    LiftCap,
    Order,
    PostCopy,
    SetDowntime,
    Suspend,
    Throttled,
)
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.planning.convergence import observe
from vmferry.planning.course import Course, start_course

# QEMU sends for so long before it looks at what is left (migration.c, BUFFER_DELAY).
_SLICE_S = 0.1
_SYNC_S = 1.0  # ram.c: whether to throttle is asked once a second at most
_BAD_SYNCS = 2  # ram.c, mig_throttle_on: dirtied more than half of what was sent, twice
_MOST_THROTTLE = 99
_MOST_PASSES = 20_000  # a bound for the loop: nothing takes so many, as passes that are all alike are skipped
_ALIKE = 0.001
_SETTLED = 30  # passes: from here on those that are alike are skipped, up to so small a part of the deadline
_SKIPPED_SHARE = 1 / 400


class Load(Model):
    """What a move has to carry, and over what; bytes and bytes per second."""

    memory_bytes: float  # that is not zero: what the first pass sends
    all_bytes: float  # pages of zeros included: what QEMU counts as remaining
    rate_bytes_s: float  # under the plan's cap
    link_bytes_s: float  # without it
    dirty_bytes_s: float
    working_set_bytes: float
    cold_bytes_s: float = 0.0  # written all over the rest of the memory, where that is known


class Rehearsal(Model):
    """How the move went; `rest_s` is how long the VM stood still while memory was sent."""

    is_over: bool  # False: it was aborted
    seconds: float
    rest_s: float
    sent_bytes: float
    orders: tuple[Order, ...] = ()


def rehearse(plan: MigrationPlan, load: Load) -> Rehearsal:
    """Return how a live move of this load goes under the plan's policy and deadline."""
    return _Run(plan, load).play()


@dataclass
class _Run:
    """One rehearsal; time begins with the first byte."""

    plan: MigrationPlan
    load: Load
    now_s: float = 0.0
    left: float = 0.0
    rate: float = 0.0
    sent: float = 0.0
    iteration: int = 1
    limit_ms: int = FIRST_LIMIT_MS
    slowed_percent: int = 0
    stopped_at_s: float | None = None
    is_postcopy: bool = False
    is_aborted: bool = False
    orders: list[Order] = field(default_factory=list)
    _course: Course | None = None
    _bad_syncs: int = 0
    _asked_at_s: float = 0.0
    _sent_then: float = 0.0
    _dirtied: float = 0.0

    def play(self) -> Rehearsal:
        self._course = start_course(self.plan, may_help=True)
        self.left, self.rate = self.load.memory_bytes, self.load.rate_bytes_s
        self._look()
        for _ in range(_MOST_PASSES):
            if self.is_aborted or self.is_postcopy or not self._pass():
                break
            if self.left <= self._enough():
                return self._ended()
            self._look()
        if self.is_postcopy:
            return self._ended(is_running=True)
        return self._result(is_over=False, rest_s=0.0)

    def _ended(self, *, is_running: bool = False) -> Rehearsal:
        """Send the rest without the cap; it stands still meanwhile, unless it runs at the destination already."""
        last_s = self.left / self.load.link_bytes_s
        self.now_s += last_s
        self.sent += self.left
        rest_s = last_s if self.stopped_at_s is None else self.now_s - self.stopped_at_s
        return self._result(is_over=True, rest_s=0.0 if is_running else rest_s)

    def _result(self, *, is_over: bool, rest_s: float) -> Rehearsal:
        return Rehearsal(
            is_over=is_over, seconds=self.now_s, rest_s=rest_s, sent_bytes=self.sent, orders=tuple(self.orders)
        )

    def _enough(self) -> float:
        return self.rate * self.limit_ms / 1000

    def _kept(self) -> float:
        """Return what of a pass waits for the next one: QEMU looks again when it could be sent within the limit.

        In the first pass pages of zeros are part of it, and cost nothing.
        """
        if self.stopped_at_s is not None:
            return 0.0
        share = min(1.0, self.load.memory_bytes / self.load.all_bytes) if self.iteration == 1 else 1.0
        return max(0.0, self._enough() - self.rate * _SLICE_S / 2) * share

    def _pass(self) -> bool:
        """Send until QEMU reads its bitmap again; False when the engine ends the move before."""
        sending = max(self.left - self._kept(), min(self.left, self.rate * _SLICE_S))
        ends_s = self.now_s + sending / self.rate
        if not self._wait(ends_s, sending):
            return False
        dirtied = 0.0
        if self.stopped_at_s is None:
            share = (100 - self.slowed_percent) / 100
            dirtied = min(self.load.working_set_bytes, self.load.dirty_bytes_s * share * (sending / self.rate))
            dirtied += self.load.cold_bytes_s * share * (sending / self.rate)
        is_anywhere = self.iteration == 1 or self.load.cold_bytes_s > 0
        most = self.load.memory_bytes if is_anywhere else max(self.load.working_set_bytes, self.left - sending)
        before, self.left = self.left, min(most, self.left - sending + dirtied)
        self.iteration += 1
        self._slow_down(dirtied)
        if abs(self.left - before) <= _ALIKE * before:
            self._skip(sending)
        return True

    def _skip(self, sending: float) -> None:
        """Let passes that are all alike go by at once: a busy VM makes thousands of them before its deadline."""
        is_changing = POLICIES[self.plan.policy].throttle is not None and self.slowed_percent < _MOST_THROTTLE
        if self.iteration < _SETTLED or is_changing or self.stopped_at_s is not None:
            return
        room_s = max(0.0, min(self.plan.deadline_s * _SKIPPED_SHARE, self.plan.deadline_s - self.now_s))
        count = int(room_s * self.rate / sending)
        self.now_s += count * sending / self.rate
        self.sent += count * sending
        self.iteration += count

    def _wait(self, ends_s: float, sending: float) -> bool:
        """Let a pass go by; the engine's own timers may end the move inside it."""
        assert self._course is not None
        begun_s, timers = self.now_s, [self._course.terms.deadline_s]
        if self.stopped_at_s is not None:
            timers.append(self.stopped_at_s + self._course.terms.policy.max_pause_s)
        for timer in sorted(t for t in timers if begun_s < t < ends_s):
            self.now_s = timer
            self._look(left=self.left - (timer - begun_s) * self.rate)
            if self.is_aborted or self.is_postcopy:
                return False
        self.now_s = ends_s
        self.sent += sending
        return True

    def _look(self, left: float | None = None) -> None:
        """Show the engine a sample and do what it orders."""
        assert self._course is not None
        sample = JobStats(
            data_total_bytes=self.plan.memory_kib * 1024,
            data_processed_bytes=round(self.sent),
            data_remaining_bytes=round(self.left if left is None else left),
            iteration=self.iteration,
            throttle_percent=self.slowed_percent,
        )
        self._course, orders = observe(self._course, sample, self.now_s)
        for order in orders:
            self.orders.append(order)
            self._obey(order)

    def _obey(self, order: Order) -> None:
        match order.action:
            case SetDowntime(limit_ms=limit_ms):
                self.limit_ms = limit_ms
            case LiftCap():
                self.rate = self.load.link_bytes_s
            case Suspend():
                self.stopped_at_s = self.now_s
            case PostCopy():
                self.is_postcopy = True
            case Abort():
                self.is_aborted = True
            case Throttled():
                return
            case _:
                assert_never(order.action)

    def _slow_down(self, dirtied: float) -> None:
        """Take CPU time from the VM where the policy asks for it."""
        throttle = POLICIES[self.plan.policy].throttle
        self._dirtied += dirtied
        if throttle is None or self.now_s < self._asked_at_s + _SYNC_S:
            return
        sent, all_dirtied = self.sent - self._sent_then, self._dirtied
        self._asked_at_s, self._sent_then, self._dirtied = self.now_s, self.sent, 0.0
        if all_dirtied <= sent / 2:
            return
        self._bad_syncs += 1
        if self._bad_syncs >= _BAD_SYNCS:
            self._bad_syncs = 0
            more = throttle.increment if self.slowed_percent else throttle.initial
            self.slowed_percent = min(_MOST_THROTTLE, self.slowed_percent + more)
