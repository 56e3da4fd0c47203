"""What is known of a move so far, and where it is heading: the state that `planning.convergence` decides from.

Source: section 4 of `libvirt-measurements.md`.
"""

from __future__ import annotations

import math

from vmferry.model.base import Model
from vmferry.model.convergence import FIRST_LIMIT_MS, POLICIES, Order, Policy, PostCopy, Suspend
from vmferry.model.migration import MigrationMode, MigrationPlan
from vmferry.model.transport import Switch

STALLED = 0.9  # R(k+1)/R(k) from here on: no gain worth waiting for


class Terms(Model):
    """What does not change during a move."""

    policy: Policy
    deadline_s: float
    is_capped: bool
    may_help: bool  # False: nothing but the deadline is watched
    may_postcopy: bool = False  # whether the job was begun so that it can be switched


class Iteration(Model):
    """How an iteration began: `remaining_bytes` is R(k), `sent_bytes` what had been sent by then."""

    number: int
    remaining_bytes: int
    sent_bytes: int
    at_s: float


class Course(Model):
    """What is known of a move so far."""

    terms: Terms
    iterations: tuple[Iteration, ...] = ()
    least_bytes: int | None = None
    stalls: int = 0
    limit_ms: int = FIRST_LIMIT_MS
    rungs_used: int = 0
    throttle_percent: int = 0
    suspended_at_s: float | None = None
    is_suspend_refused: bool = False
    postcopy_at_s: float | None = None  # ordered, or seen: from here on there is no way back
    is_postcopy_seen: bool = False
    is_postcopy_refused: bool = False
    is_over: bool = False
    remaining_bytes: int = 0
    disk_remaining_bytes: int = 0

    def refused(self, order: Order) -> Course:
        """Return the course after an order was refused: its rung is not tried again."""
        if isinstance(order.action, Suspend):
            return self.model_copy(update={"suspended_at_s": None, "is_suspend_refused": True})
        if isinstance(order.action, PostCopy):
            return self.model_copy(update={"postcopy_at_s": None, "is_postcopy_refused": True})
        return self


class Prediction(Model):
    """Where a move is heading; None: not known, or never.

    `pause_s` is how long the VM would stand still if it were stopped now: an upper bound under a bandwidth cap,
    because QEMU sends the last pass uncapped.
    """

    rate_bytes_s: float | None = None
    ratio: float | None = None
    seconds_left: float | None = None
    pause_s: float | None = None


def start_course(
    plan: MigrationPlan, *, may_help: bool, found_at_s: float | None = None, was_suspended: bool = False
) -> Course:
    """Return the course of a move that begins, or of one that was found running `found_at_s` after its begin.

    Only a VM that runs while it moves is helped: one that its user paused dirties nothing and must stay paused. A job
    that was found late has half of its deadline left at least: nobody aborts it because nobody had watched it.
    `was_suspended`: its VM stands still because of us, and for how long already nobody knows.
    """
    is_live = plan.mode is MigrationMode.LIVE and plan.must_run_after
    deadline_s = plan.deadline_s
    if found_at_s is not None:
        deadline_s = max(deadline_s, found_at_s + deadline_s / 2)
    terms = Terms(
        policy=POLICIES[plan.policy],
        deadline_s=deadline_s,
        is_capped=plan.bandwidth_mib_s is not None,
        may_help=may_help and is_live,
        may_postcopy=plan.switch is Switch.POSTCOPY,
    )
    return Course(terms=terms, suspended_at_s=found_at_s if was_suspended else None)


def predict(course: Course) -> Prediction:
    """Extrapolate the series: R(k)·ratio^i until QEMU's test, bandwidth × downtime limit, is met."""
    rate = _rate(course.iterations)
    if rate is None:
        return Prediction()
    if course.is_postcopy_seen:  # nothing is dirtied any more at the source
        return Prediction(rate_bytes_s=rate, seconds_left=course.remaining_bytes / rate)
    remaining, ratio = course.iterations[-1].remaining_bytes, _ratio(course.iterations)
    pause_s = remaining / rate
    if ratio is None or ratio >= STALLED:
        return Prediction(rate_bytes_s=rate, ratio=ratio, pause_s=pause_s)
    enough = rate * course.limit_ms / 1000
    count = 0 if remaining <= enough else math.ceil(math.log(enough / remaining) / math.log(max(ratio, 0.01)))
    seconds_left = pause_s * sum(ratio**i for i in range(count + 1))
    return Prediction(rate_bytes_s=rate, ratio=ratio, seconds_left=seconds_left, pause_s=pause_s)


def _rate(iterations: tuple[Iteration, ...]) -> float | None:
    """Return what was really sent, bytes/s; the job's own figure keeps its last value when nothing moves."""
    if not iterations:
        return None
    last = iterations[-1]
    seconds, sent = last.at_s, last.sent_bytes
    if len(iterations) > 1:
        seconds, sent = seconds - iterations[-2].at_s, sent - iterations[-2].sent_bytes
    return sent / seconds if seconds > 0 and sent > 0 else None


def _ratio(iterations: tuple[Iteration, ...]) -> float | None:
    """Return the mean R(k+1)/R(k) of the last two iterations; after the first one, R(2) over what it sent."""
    later = [one for one in iterations if one.number >= 2]
    if not later:
        return None
    first, last = later[0], later[-1]
    if first is last:
        before = [one for one in iterations if one.number < 2]
        sent = last.sent_bytes - before[-1].sent_bytes if before else 0
        return last.remaining_bytes / sent if sent > 0 else None
    if first.remaining_bytes <= 0:
        return 0.0
    return float((last.remaining_bytes / first.remaining_bytes) ** (1 / (last.number - first.number)))
