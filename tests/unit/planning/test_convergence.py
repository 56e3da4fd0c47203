"""The convergence engine: on the measured series, and on a simulated QEMU with any guest, link and policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from vmferry.adapters.simulated.precopy import MIB, Precopy
from vmferry.model.convergence import (
    POLICIES,
    Abort,
    LiftCap,
    Order,
    Policy,
    PolicyName,
    PostCopy,
    SetDowntime,
    Suspend,
    Throttled,
)
from vmferry.model.migration import JobStats, MigrationMode, MigrationPlan
from vmferry.model.transport import Encryption
from vmferry.model.vm import DomainState
from vmferry.planning.convergence import observe
from vmferry.planning.course import Course, Terms, predict, start_course

CAP = 20.0
FIRST = 256.0  # MiB of the first pass


def course_of(name: PolicyName, *, deadline_s: float = 157.5, is_capped: bool = True, may_help: bool = True) -> Course:
    policy = POLICIES[name]
    return Course(
        terms=Terms(
            policy=policy,
            deadline_s=deadline_s,
            is_capped=is_capped,
            may_help=may_help,
            may_postcopy=policy.may_postcopy,
        )
    )


def sample(iteration: int, remaining_mib: float, sent_mib: float) -> JobStats:
    return JobStats(
        iteration=iteration,
        data_remaining_bytes=round(remaining_mib * MIB),
        data_processed_bytes=round(sent_mib * MIB),
    )


def series(remaining: Sequence[float], *, rate: float = CAP) -> list[tuple[JobStats, float]]:
    """The samples at the begin and in the middle of each iteration, as a job at `rate` MiB/s gives them."""
    found, at, sent = [], 0.0, 0.0
    for number, rest in enumerate((FIRST, *remaining), start=1):
        found.append((sample(number, rest, sent), at))
        found.append((sample(number, rest / 2, sent + rest / 2), at + rest / 2 / rate))
        at, sent = at + rest / rate, sent + rest
    return found


def orders_on(course: Course, samples: Sequence[tuple[JobStats, float]]) -> list[Order]:
    given: list[Order] = []
    for stats, at in samples:
        course, orders = observe(course, stats, at)
        given += orders
    return given


def course_after(course: Course, samples: Sequence[tuple[JobStats, float]]) -> Course:
    for stats, at in samples:
        course, _ = observe(course, stats, at)
    return course


# Measured R(k), MiB, cap 20 MiB/s, working set 128 (libvirt-measurements.md, section 4), by the true dirty rate, MiB/s.
CONVERGING = {
    3.9: (23.9, 7.7, 4.5),
    9.8: (61.7, 31.7, 17.4, 10.3, 6.2),
    15.6: (99, 77.9, 61.7, 49.2, 39.1, 31.2),
}
NEVER = {
    19.5: (125, 118, 112.5, 107.8, 105, 103),
    23.4: (128, 126, 126, 126, 126, 126),
    39.1: (126.7, 126, 126, 126, 126, 126),
    39.2: (38.9, 38, 38, 38, 38, 38),  # working set 40
}


@pytest.mark.parametrize("rate", CONVERGING)
@pytest.mark.parametrize("name", PolicyName)
def test_a_measured_series_that_converges_is_not_touched(name: PolicyName, rate: float) -> None:
    assert orders_on(course_of(name), series(CONVERGING[rate])) == []


@pytest.mark.parametrize("rate", NEVER)
def test_a_measured_series_that_never_converges_is_suspended_where_the_policy_allows_it(rate: float) -> None:
    orders = orders_on(course_of(PolicyName.SUSPEND_IF_NEEDED), series(NEVER[rate]))
    acts = [order.action for order in orders]
    assert acts == [SetDowntime(limit_ms=400), SetDowntime(limit_ms=500), Suspend(), LiftCap()]
    assert [order.iteration for order in orders] == [4, 5, 6, 6]
    assert "4 iterations without gain" in orders[2].reason and "MiB remain" in orders[2].reason


@pytest.mark.parametrize("rate", NEVER)
def test_under_minimal_downtime_only_the_limit_is_raised(rate: float) -> None:
    acts = [order.action for order in orders_on(course_of(PolicyName.MINIMAL_DOWNTIME), series(NEVER[rate]))]
    assert acts == [SetDowntime(limit_ms=400), SetDowntime(limit_ms=500)]


def test_the_end_of_a_converging_series_is_predicted() -> None:
    """9.8 MiB/s of 20: the whole move took 12.7 s; the job began with less than all of the memory."""
    samples = series(CONVERGING[9.8])
    third = next(i for i, (stats, _) in enumerate(samples) if stats.iteration == 3)
    seen = predict(course_after(course_of(PolicyName.MINIMAL_DOWNTIME), samples[: third + 1]))
    assert seen.ratio == pytest.approx(0.51, abs=0.01)
    left = sum(CONVERGING[9.8][1:]) / CAP
    assert seen.seconds_left == pytest.approx(left, rel=0.15)


def test_the_end_of_a_stalled_series_is_not_predicted_but_its_pause_is() -> None:
    seen = predict(course_after(course_of(PolicyName.MINIMAL_DOWNTIME), series(NEVER[39.1])))
    assert seen.seconds_left is None
    assert seen.pause_s == pytest.approx(6.3, abs=0.1)


def test_nothing_is_done_just_before_a_synchronisation_however_small_the_rest_looks() -> None:
    course = course_after(course_of(PolicyName.SUSPEND_IF_NEEDED, deadline_s=1e6), series(NEVER[39.1])[:-6])
    last = course.iterations[-1].number
    for rest in (100, 50, 10, 1, 0.1):
        course, orders = observe(course, sample(last, rest, 2000), 1e5)
        assert orders == ()


def test_an_act_waits_for_a_rest_near_the_least_seen() -> None:
    swinging = (100, 98, 97, 130, 135, 98)
    orders = orders_on(course_of(PolicyName.MINIMAL_DOWNTIME, deadline_s=1e6), series(swinging))
    assert [order.iteration for order in orders] == [4, 7]


def test_a_pause_longer_than_the_policy_allows_is_not_begun_and_the_abort_says_so() -> None:
    """126 MiB at 1 MiB/s are 126 s; the policy allows 60."""
    course = course_of(PolicyName.SUSPEND_IF_NEEDED, deadline_s=1e6)
    orders = orders_on(course, series(NEVER[39.1], rate=1))
    assert orders and Suspend() not in [order.action for order in orders]
    (aborted,) = observe(course_after(course, series(NEVER[39.1], rate=1)), sample(8, 126, 1012), 1e6)[1]
    assert "a suspend would have taken" in aborted.reason and "the policy allows 60" in aborted.reason


def test_a_vm_that_stays_suspended_too_long_is_let_go() -> None:
    course = course_after(course_of(PolicyName.SUSPEND_IF_NEEDED, deadline_s=1e6), series(NEVER[39.1]))
    assert course.suspended_at_s is not None
    course, orders = observe(course, sample(9, 100, 3000), course.suspended_at_s + 61)
    assert [order.action for order in orders] == [Abort()]
    assert observe(course, sample(9, 100, 3000), 2e6)[1] == ()


def test_a_refused_suspend_is_not_tried_again_and_the_deadline_still_holds() -> None:
    course, refused = course_of(PolicyName.SUSPEND_IF_NEEDED), 0
    for stats, at in series((126,) * 30):
        course, orders = observe(course, stats, at)
        for order in orders:
            if isinstance(order.action, Suspend):
                refused += 1
                course = course.refused(order)
                break
    assert refused == 1
    assert course.is_over


@pytest.mark.parametrize("rate", NEVER)
def test_a_measured_series_that_never_converges_is_switched_to_post_copy_once(rate: float) -> None:
    orders = orders_on(course_of(PolicyName.POST_COPY), series((*NEVER[rate], *NEVER[rate][-1:] * 80)))
    acts = [order.action for order in orders]
    assert acts[:3] == [SetDowntime(limit_ms=400), SetDowntime(limit_ms=500), PostCopy()]
    assert [order.iteration for order in orders[:3]] == [4, 5, 6]
    # This job goes on in pre-copy: an order without effect does not stop the deadline.
    assert acts[3:] == [Abort()]


def in_postcopy(remaining_mib: float, sent_mib: float) -> JobStats:
    return sample(7, remaining_mib, sent_mib).model_copy(update={"is_postcopy": True})


def test_in_post_copy_nothing_is_ordered_any_more_whatever_the_deadline() -> None:
    course = course_after(course_of(PolicyName.POST_COPY), series(NEVER[39.1]))
    for at in (60.0, 200.0, 1e6):
        course, orders = observe(course, in_postcopy(40, 1500), at)
        assert orders == ()
    assert predict(course).seconds_left == pytest.approx(40 / CAP, rel=0.05)


def test_a_job_that_is_found_in_post_copy_is_never_aborted() -> None:
    course, orders = observe(course_of(PolicyName.MINIMAL_DOWNTIME), in_postcopy(40, 1500), 1e6)
    assert orders == () and not course.is_over


def test_the_deadline_switches_to_post_copy_in_time_for_the_rest() -> None:
    """12 s of rest at a time: the last iteration that ends before the deadline begins 24 s before it."""
    course = course_of(PolicyName.POST_COPY, deadline_s=60).model_copy(update={"rungs_used": 3})
    samples = series((240, 238, 236))
    orders = orders_on(course, samples)
    assert [order.action for order in orders] == [PostCopy()]
    assert "the deadline of 60 s is near" in orders[0].reason


def test_at_the_deadline_a_move_in_its_first_pass_is_aborted_and_one_beyond_it_switched() -> None:
    course = course_of(PolicyName.POST_COPY, deadline_s=60)
    first = observe(course, sample(1, 200, 50), 61)[1]
    assert [order.action for order in first] == [Abort()] and "first pass was not over" in first[0].reason
    second = observe(course, sample(2, 200, 260), 61)[1]
    assert [order.action for order in second] == [PostCopy()]


def test_a_disk_that_is_still_mirrored_keeps_a_move_from_post_copy() -> None:
    mirroring = sample(2, 200, 260).model_copy(update={"disk_remaining_bytes": 1})
    orders = observe(course_of(PolicyName.POST_COPY, deadline_s=60), mirroring, 61)[1]
    assert [order.action for order in orders] == [Abort()]


def test_a_job_that_was_not_begun_for_post_copy_is_not_switched() -> None:
    course = course_of(PolicyName.POST_COPY)
    course = course.model_copy(update={"terms": course.terms.model_copy(update={"may_postcopy": False})})
    assert [order.action for order in orders_on(course, series((126,) * 30))][2:] == [Abort()]


def test_a_refused_post_copy_is_not_tried_again_and_the_abort_says_so() -> None:
    course, acts = course_of(PolicyName.POST_COPY), []
    for stats, at in series((126,) * 30):
        course, orders = observe(course, stats, at)
        acts += [order.action for order in orders]
        course = course.refused(orders[-1]) if orders and isinstance(orders[-1].action, PostCopy) else course
        reason = orders[-1].reason if orders else ""
        if course.is_over:
            break
    assert acts[2:] == [PostCopy(), Abort()] and "post-copy was refused" in reason


def test_a_job_that_is_found_late_has_half_of_its_deadline_left_and_a_suspended_one_its_longest_pause() -> None:
    plan = MigrationPlan(
        run="late",
        vm="web1",
        uuid=UUID(int=1),
        source="kvm1",
        dest="kvm2",
        mode=MigrationMode.LIVE,
        mode_reason="it runs",
        state_before=DomainState.RUNNING,
        is_persistent=True,
        is_autostart=False,
        memory_kib=1 << 20,
        reserved_kib=0,
        encryption=Encryption.NONE,
        peer_uri="qemu+ssh://kvm2/system",
        migration_uri="tcp://kvm2",
        policy=PolicyName.SUSPEND_IF_NEEDED,
        deadline_s=200.0,
    )
    late = start_course(plan, may_help=True, found_at_s=5000.0)
    assert late.terms.deadline_s == 5100.0
    assert Abort() not in [order.action for order in observe(late, sample(2, 100, 300), 5099)[1]]
    assert [order.action for order in observe(late, sample(2, 100, 300), 5101)[1]] == [Abort()]
    assert start_course(plan, may_help=True, found_at_s=50.0).terms.deadline_s == 200.0
    still = start_course(plan, may_help=True, found_at_s=50.0, was_suspended=True)
    assert observe(still, sample(3, 100, 300), 109)[1] == ()
    assert [order.action for order in observe(still, sample(3, 100, 300), 111)[1]] == [Abort()]


def test_without_leave_to_help_only_the_deadline_acts() -> None:
    course = course_of(PolicyName.SUSPEND_IF_NEEDED, may_help=False)
    assert [order.action for order in orders_on(course, series((126,) * 30))] == [Abort()]


def test_what_qemu_takes_from_the_vm_is_told_once_per_step() -> None:
    percent = {4: 50, 5: 70, 6: 90, 7: 99}
    seen = [
        (stats.model_copy(update={"throttle_percent": percent.get(stats.iteration, 0)}), at)
        for stats, at in series(NEVER[39.1])
    ]
    orders = orders_on(course_of(PolicyName.AUTO_CONVERGE), seen)
    assert [o.action.percent for o in orders if isinstance(o.action, Throttled)] == [50, 70, 90, 99]


def test_a_job_that_is_first_seen_in_a_later_iteration_is_helped_all_the_same() -> None:
    acts = [o.action for o in orders_on(course_of(PolicyName.SUSPEND_IF_NEEDED), series(NEVER[39.1])[4:])]
    assert SetDowntime(limit_ms=400) in acts


def test_a_job_that_shows_nothing_yet_is_waited_for() -> None:
    assert orders_on(course_of(PolicyName.SUSPEND_IF_NEEDED), [(JobStats(), 0.0), (JobStats(), 100.0)]) == []


@dataclass
class Run:
    """One move of a simulated guest under a policy, sampled as the adapters sample it."""

    policy: Policy
    precopy: Precopy
    deadline_s: float
    is_capped: bool
    may_help: bool = True
    orders: list[Order] = field(default_factory=list)
    samples: list[tuple[JobStats, float]] = field(default_factory=list)
    moved_at_s: float | None = None
    aborted_at_s: float | None = None
    switched_at_s: float | None = None

    def start(self) -> Course:
        return Course(
            terms=Terms(
                policy=self.policy,
                deadline_s=self.deadline_s,
                is_capped=self.is_capped,
                may_help=self.may_help,
                may_postcopy=self.policy.may_postcopy,
            )
        )

    def sail(self, interval_s: float) -> None:
        course, precopy, at = self.start(), self.precopy, 0.0
        while self.moved_at_s is None and self.aborted_at_s is None:
            ends = precopy.pass_ends_s()
            is_sync = ends <= at + interval_s
            at = max(at, ends) if is_sync else at + interval_s
            precopy.go(at)
            if is_sync and precopy.sync():
                self.moved_at_s = at + precopy.last_pass_s()
                return
            stats = JobStats(
                iteration=precopy.iteration,
                data_remaining_bytes=round(precopy.left_bytes),
                data_processed_bytes=round(precopy.sent_bytes),
                throttle_percent=precopy.slowed_percent,
            )
            self.samples.append((stats, at))
            course, orders = observe(course, stats, at)
            self.orders += orders
            for order in orders:
                self._apply(order, at)
            if self.switched_at_s is not None:
                rest = precopy.left_bytes + precopy.dirtied_bytes
                self.moved_at_s = self.switched_at_s + rest / precopy.link_bytes_s

    def _apply(self, order: Order, at: float) -> None:
        match order.action:
            case SetDowntime(limit_ms=limit_ms):
                self.precopy.set_limit(limit_ms)
            case LiftCap():
                self.precopy.lift_cap()
            case Suspend():
                self.precopy.stop()
            case Throttled():
                pass
            case PostCopy():
                self.switched_at_s = at
            case Abort():
                self.aborted_at_s = at


@st.composite
def runs(draw: st.DrawFn) -> Run:
    memory_mib = draw(st.integers(64, 4096))
    rate = draw(st.floats(1, 2000))
    policy = POLICIES[draw(st.sampled_from(list(PolicyName)))]
    is_capped = draw(st.booleans())
    precopy = Precopy(
        now_s=0.0,
        left_bytes=memory_mib * MIB,
        rate_bytes_s=rate * MIB,
        link_bytes_s=rate * MIB * (draw(st.floats(1, 20)) if is_capped else 1),
        dirty_bytes_s=draw(st.floats(0, 4000)) * MIB,
        working_set_bytes=draw(st.floats(0.01, 1)) * memory_mib * MIB,
        throttle=policy.throttle,
    )
    return Run(policy, precopy, policy.deadline_s(memory_mib * 1024), is_capped)


INTERVAL_S = 0.5


@examples(80)
@given(runs())
def test_every_move_ends_by_its_deadline(run: Run) -> None:
    run.sail(INTERVAL_S)
    ended = run.moved_at_s if run.moved_at_s is not None else run.aborted_at_s
    assert ended is not None
    last_pass_s = run.precopy.last_pass_s() if run.moved_at_s is not None else 0.0
    if run.switched_at_s is not None and run.moved_at_s is not None:
        last_pass_s = run.moved_at_s - run.switched_at_s  # at the deadline at the latest, and then it ends
    assert ended <= run.deadline_s + INTERVAL_S + last_pass_s


@examples(80)
@given(runs())
def test_a_vm_is_suspended_only_by_a_policy_that_says_so_and_never_for_longer_than_it_says(run: Run) -> None:
    run.sail(INTERVAL_S)
    suspended = [order for order in run.orders if isinstance(order.action, Suspend)]
    if run.policy.max_pause_s == 0:
        assert suspended == []
    assert len(suspended) <= 1
    if suspended:
        at = next(at for stats, at in run.samples if stats.iteration == suspended[0].iteration)
        ended = run.moved_at_s if run.moved_at_s is not None else run.aborted_at_s
        assert ended is not None and ended - at <= run.policy.max_pause_s + 2 * INTERVAL_S
        assert isinstance(run.orders[-1].action, LiftCap) == run.is_capped or run.aborted_at_s is not None


@examples(80)
@given(runs(), st.floats(0.05, 0.8))
def test_a_move_that_converges_in_time_is_never_touched(run: Run, ratio: float) -> None:
    run.precopy.throttle = None
    run.precopy.dirty_bytes_s = ratio * run.precopy.rate_bytes_s
    needed_s = run.precopy.pass_ends_s() / (1 - ratio)
    run.deadline_s = max(run.deadline_s, needed_s * 1.5)
    run.sail(INTERVAL_S)
    assert run.orders == []
    assert run.moved_at_s is not None


@examples(30)
@given(runs())
def test_the_same_samples_give_the_same_orders(run: Run) -> None:
    run.sail(INTERVAL_S)
    assert orders_on(run.start(), run.samples) == run.orders


@examples(30)
@given(runs())
def test_help_is_given_only_when_an_iteration_begins(run: Run) -> None:
    run.sail(INTERVAL_S)
    begins: dict[int, float] = {}
    for stats, at in run.samples:
        begins.setdefault(stats.iteration, at)
    again = run.start()
    for stats, at in run.samples:
        again, orders = observe(again, stats, at)
        if any(not isinstance(order.action, Abort) for order in orders):
            assert begins[stats.iteration] == at


@pytest.mark.parametrize("name", PolicyName)
def test_a_policy_never_lowers_its_downtime_limit_and_begins_above_qemus_own(name: PolicyName) -> None:
    limits = [rung.action.limit_ms for rung in POLICIES[name].rungs if isinstance(rung.action, SetDowntime)]
    assert limits == sorted(limits) and limits[0] > 300


def test_a_policy_that_suspends_without_saying_for_how_long_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="max_pause_s"):
        Policy(name=PolicyName.SUSPEND_IF_NEEDED, rungs=POLICIES[PolicyName.SUSPEND_IF_NEEDED].rungs)
