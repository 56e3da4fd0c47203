"""Decide from a job's samples whether a live move needs help, which, and when: pure, the same samples, the same orders.

The signal is the series R(k), what remains when iteration k begins, just after QEMU has synchronised its dirty bitmap:
R(k+1)/R(k) is the dirty rate over the bandwidth where the move converges, and 1.00 where it never will (measured). The
job's own dirty rate saturates at the bandwidth and `remaining` looks small just before a synchronisation: neither
is asked. Source: section 4 of `libvirt-measurements.md`.
"""

from __future__ import annotations

from vmferry.model.convergence import (
    Abort,
    Action,
    AtDeadline,
    LiftCap,
    Order,
    PostCopy,
    Suspend,
    Throttled,
)
from vmferry.model.migration import JobStats
from vmferry.planning.course import STALLED, Course, Iteration, Prediction, predict

NEAR_LEAST = 1.1  # an act waits for an R(k) of at most so many times the least seen
_KEPT = 3  # iterations: two ratios
_SWITCH_S = 60.0  # the longest that post-copy takes to begin once it was ordered: the VM's devices are sent first
_MIB = 2**20


def observe(course: Course, sample: JobStats, elapsed_s: float) -> tuple[Course, tuple[Order, ...]]:
    """Take one sample; return the new course and what is to be done now, in this order."""
    if course.is_over:
        return course, ()
    before = course.iterations[-1].number if course.iterations else 0
    course = _noted(course, sample, elapsed_s)
    if course.is_postcopy_seen or _is_switching(course, elapsed_s):
        return course, ()  # QEMU refuses to abort it, and nothing else helps it
    if reason := _reason_to_abort(course, elapsed_s):
        if _may_postcopy(course):
            return _postcopy(course, predict(course), elapsed_s, f"the deadline of {course.terms.deadline_s:.0f} s")
        return course.model_copy(update={"is_over": True}), (_order(course, Abort(), reason),)
    course, told = _throttled(course, sample)
    is_begun = bool(course.iterations) and course.iterations[-1].number > max(before, 1)
    if not is_begun or not course.terms.may_help or course.suspended_at_s is not None:
        return course, told
    course, orders = _help(course, elapsed_s)
    return course, (*told, *orders)


def _is_switching(course: Course, elapsed_s: float) -> bool:
    """Whether post-copy was ordered and may still begin; an order without any effect does not stop the deadline."""
    return course.postcopy_at_s is not None and elapsed_s - course.postcopy_at_s < _SWITCH_S


def _throttled(course: Course, sample: JobStats) -> tuple[Course, tuple[Order, ...]]:
    """Tell once of each step by which QEMU slows the VM down."""
    if sample.throttle_percent <= course.throttle_percent:
        return course, ()
    order = _order(course, Throttled(percent=sample.throttle_percent), _figures(course, predict(course)))
    return course.model_copy(update={"throttle_percent": sample.throttle_percent}), (order,)


def _noted(course: Course, sample: JobStats, elapsed_s: float) -> Course:
    """Write down the first sample of an iteration; QEMU counts from 1, a job that has not begun shows 0."""
    course = course.model_copy(
        update={
            "remaining_bytes": sample.data_remaining_bytes,
            "disk_remaining_bytes": sample.disk_remaining_bytes,
            "is_postcopy_seen": course.is_postcopy_seen or sample.is_postcopy,
        }
    )
    known = course.iterations
    if sample.iteration < 1 or (known and sample.iteration <= known[-1].number):
        return course
    new = Iteration(
        number=sample.iteration,
        remaining_bytes=sample.data_remaining_bytes - sample.disk_remaining_bytes,  # memory alone converges or not
        sent_bytes=sample.data_processed_bytes - sample.disk_processed_bytes,
        at_s=elapsed_s,
    )
    changes: dict[str, object] = {"iterations": (*known, new)[-_KEPT:]}
    if new.number >= 2:  # the first one is all of the memory, free pages included
        least = course.least_bytes
        changes["least_bytes"] = new.remaining_bytes if least is None else min(least, new.remaining_bytes)
        changes["stalls"] = _stalls(course, new)
    return course.model_copy(update=changes)


def _stalls(course: Course, new: Iteration) -> int:
    """Count iterations without gain; only a new least, clearly below the one before, begins anew.

    A dip that comes back is no gain: R(k) of a busy VM swings about the size of its working set.
    """
    if course.least_bytes is None:
        return 0
    last = course.iterations[-1]
    if new.remaining_bytes < STALLED * course.least_bytes:
        return 0
    is_stalled = new.remaining_bytes >= STALLED ** (new.number - last.number) * last.remaining_bytes
    return course.stalls + int(is_stalled)


def _reason_to_abort(course: Course, elapsed_s: float) -> str:
    """Return why the move has to end now; empty while it may go on."""
    terms, rest = course.terms, f"{course.remaining_bytes / _MIB:.0f} MiB remain"
    if elapsed_s >= terms.deadline_s:
        return (
            f"did not finish within {terms.deadline_s:.0f} s under policy {terms.policy.name} ({rest}); "
            f"{_other_ways(course)}"
        )
    since = course.suspended_at_s
    if since is not None and elapsed_s - since >= terms.policy.max_pause_s:
        return f"still not over {elapsed_s - since:.0f} s after the VM was suspended ({rest}); look at the link"
    return ""


def _other_ways(course: Course) -> str:
    """Return what the operator types next, and why a suspend that the policy allows did not come."""
    longest_s, pause_s = course.terms.policy.max_pause_s, predict(course).pause_s or 0.0
    if course.terms.policy.may_postcopy:
        why = "post-copy was refused" if course.is_postcopy_refused else "its first pass was not over: look at the link"
        return f"{why}; try `--mode non-live`"
    if longest_s <= 0:
        return "try `--policy suspend-if-needed`"
    if pause_s > longest_s:
        return f"a suspend would have taken {pause_s:.0f} s, the policy allows {longest_s:.0f}; try `--mode non-live`"
    return "try `--mode non-live`"


def _help(course: Course, elapsed_s: float) -> tuple[Course, tuple[Order, ...]]:
    """Climb at most one rung, at the begin of an iteration: the only moment at which the true rest is known."""
    terms, seen = course.terms, predict(course)
    # Falling from a high swing is not converging: `stalls` is 0 only while each R(k) is a new least.
    if course.stalls == 0 and seen.seconds_left is not None and elapsed_s + seen.seconds_left <= terms.deadline_s:
        return course, ()
    near = f"the deadline of {terms.deadline_s:.0f} s is near"
    if _is_last_call(course, elapsed_s) and _may_suspend(course, seen, elapsed_s):
        return _suspend(course, seen, elapsed_s, near)
    if _is_last_postcopy(course, seen, elapsed_s) and _may_postcopy(course):
        return _postcopy(course, seen, elapsed_s, near)
    rungs, is_low = terms.policy.rungs[course.rungs_used :], _is_local_minimum(course)
    if not rungs or not is_low:
        return course, ()
    rung, is_late = rungs[0], elapsed_s >= rungs[0].from_share * terms.deadline_s
    if course.stalls < rung.after_stalls and not is_late:
        return course, ()
    why = f"{course.stalls} iterations without gain" if course.stalls >= rung.after_stalls else "too slow in time"
    if isinstance(rung.action, Suspend):
        return _suspend(course, seen, elapsed_s, why) if _may_suspend(course, seen, elapsed_s) else (course, ())
    if isinstance(rung.action, PostCopy):
        return _postcopy(course, seen, elapsed_s, why) if _may_postcopy(course) else (course, ())
    order = _order(course, rung.action, f"{why}, {_figures(course, seen)}")
    changes = {"limit_ms": rung.action.limit_ms, "rungs_used": course.rungs_used + 1}
    return course.model_copy(update=changes), (order,)


def _is_local_minimum(course: Course) -> bool:
    least = course.least_bytes
    return least is not None and course.iterations[-1].remaining_bytes <= NEAR_LEAST * least


def _is_last_call(course: Course, elapsed_s: float) -> bool:
    """Whether the deadline's suspend is due: an iteration as long as the longest pause must still begin and be sent."""
    terms = course.terms
    room_s = min(2 * terms.policy.max_pause_s, terms.deadline_s / 2)
    return terms.policy.at_deadline is AtDeadline.SUSPEND and elapsed_s >= terms.deadline_s - room_s


def _may_suspend(course: Course, seen: Prediction, elapsed_s: float) -> bool:
    """Whether the pause would be one that the policy allows, and over before the deadline."""
    if course.is_suspend_refused or seen.pause_s is None:
        return False
    terms = course.terms
    return seen.pause_s <= terms.policy.max_pause_s and elapsed_s + seen.pause_s < terms.deadline_s


def _suspend(course: Course, seen: Prediction, elapsed_s: float, why: str) -> tuple[Course, tuple[Order, ...]]:
    """Suspend, and lift the cap together with it: with the cap left on, the VM stood still for 8.5 s (measured)."""
    reason = f"{why}, {_figures(course, seen)}"
    orders = [_order(course, Suspend(), reason)]
    if course.terms.is_capped:
        orders.append(_order(course, LiftCap(), "the VM stands still until the rest is sent"))
    return course.model_copy(update={"suspended_at_s": elapsed_s}), tuple(orders)


def _is_last_postcopy(course: Course, seen: Prediction, elapsed_s: float) -> bool:
    """Whether the rest would just be fetched before the deadline, with one more iteration in between."""
    terms, rest_s = course.terms, seen.pause_s
    if terms.policy.at_deadline is not AtDeadline.POST_COPY or rest_s is None:
        return False
    return elapsed_s >= terms.deadline_s - min(2 * rest_s, terms.deadline_s / 2)


def _may_postcopy(course: Course) -> bool:
    """Whether post-copy is possible and worth it: all of the memory was sent once, and no disk is being copied."""
    terms = course.terms
    is_able = terms.may_help and terms.may_postcopy and terms.policy.may_postcopy and not course.is_postcopy_refused
    has_passed = bool(course.iterations) and course.iterations[-1].number >= 2
    return is_able and has_passed and course.disk_remaining_bytes == 0 and course.postcopy_at_s is None


def _postcopy(course: Course, seen: Prediction, elapsed_s: float, why: str) -> tuple[Course, tuple[Order, ...]]:
    """Switch; the cap ends by itself, QEMU has another one for post-copy, which is none (max-postcopy-bandwidth)."""
    order = _order(course, PostCopy(), f"{why}, {_figures(course, seen)}")
    return course.model_copy(update={"postcopy_at_s": elapsed_s}), (order,)


def _figures(course: Course, seen: Prediction) -> str:
    remaining = course.iterations[-1].remaining_bytes if course.iterations else course.remaining_bytes
    words = [f"{remaining / _MIB:.0f} MiB remain"]
    if seen.ratio is not None:
        words.append(f"{seen.ratio:.2f} of the iteration before")
    if seen.rate_bytes_s is not None:
        words.append(f"{seen.rate_bytes_s / _MIB:.0f} MiB/s")
    return ", ".join(words)


def _order(course: Course, action: Action, reason: str) -> Order:
    number = course.iterations[-1].number if course.iterations else 0
    return Order(action=action, iteration=number, reason=reason)
