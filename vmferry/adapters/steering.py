"""Carry out what the convergence engine orders for one running job, on a real host or a simulated one."""

from __future__ import annotations

import logging
from typing import Protocol, assert_never

from vmferry.errors import OutcomeUnknown, VmferryError
from vmferry.model.convergence import Abort, LiftCap, Order, PostCopy, SetDowntime, Suspend, Throttled
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.planning.convergence import observe
from vmferry.planning.course import Course, predict, start_course
from vmferry.planning.link_register import share_of
from vmferry.ports import OnOrder
from vmferry.stopping import reason_to_end

logger = logging.getLogger("vmferry.libvirt")


class Wheel(Protocol):
    """What can be done to a running job; every act is bounded in time and raises VmferryError only."""

    def set_max_downtime(self, limit_ms: int) -> None:
        """Raise QEMU's downtime limit."""
        ...

    def lift_cap(self) -> None:
        """Let the job use all of the link."""
        ...

    def set_cap(self, mib_s: int) -> None:
        """Cap the job at so many MiB/s."""
        ...

    def suspend(self) -> None:
        """Stop the VM's CPUs at the source."""
        ...

    def start_postcopy(self) -> None:
        """Let the VM run at the destination at once; the rest of its memory follows."""
        ...

    def abort(self) -> None:
        """Cancel the job."""
        ...


class Steering:
    """The course of one move and the hand on the wheel; an act that is refused is told and not fatal.

    `found`: the course of a job that somebody else began; its abort is told too, as no exception carries the reason.
    """

    def __init__(
        self, plan: MigrationPlan, wheel: Wheel, on_order: OnOrder | None, *, found: Course | None = None
    ) -> None:
        self._plan = plan
        self._wheel = wheel
        self._on_order = on_order
        self._is_found = found is not None
        self._course = found or start_course(plan, may_help=on_order is not None)
        self._cap_mib_s = plan.bandwidth_mib_s
        self.abort_reason = ""

    @property
    def is_suspended(self) -> bool:
        """Whether the VM stands still because of us."""
        return self._course.suspended_at_s is not None

    @property
    def is_postcopy(self) -> bool:
        """Whether the VM runs, or may run, at the destination: nothing may be aborted any more."""
        return self._course.is_postcopy_seen or self._course.postcopy_at_s is not None

    @property
    def seconds_left(self) -> float | None:
        """How long the move will still take; None: not known, or never."""
        return predict(self._course).seconds_left

    def take(self, sample: JobStats, elapsed_s: float) -> None:
        """Feed one sample and do what follows from it."""
        if (why := reason_to_end()) and not sample.is_postcopy:
            self._cancel(why)
        self._course, orders = observe(self._course, sample, elapsed_s)
        for order in orders:
            if not self._carry_out(order):
                self._course = self._course.refused(order)
                return  # the cap is not lifted for a VM that still runs
        self._keep_to_share(sample)

    def _keep_to_share(self, sample: JobStats) -> None:
        """Let the job use what the other moves leave of its links; one that stands still uses all it can get."""
        mib_s = share_of(self._plan.run)
        has_begun = sample.data_processed_bytes > 0  # before that, QEMU is still to be told what it begins with
        if mib_s is None or mib_s == self._cap_mib_s or not has_begun or self.is_suspended or self.is_postcopy:
            return
        self._cap_mib_s = mib_s
        try:
            self._wheel.set_cap(mib_s)
            logger.info("vm %s: may use %d MiB/s now", self._plan.vm, mib_s)
        except VmferryError as error:
            logger.warning("vm %s: its share of the link, %d MiB/s, was not set: %s", self._plan.vm, mib_s, error)

    def _cancel(self, why: str) -> None:
        """Abort for the operator; asked again as long as libvirt refuses, because the job has not begun or is over."""
        if self.abort_reason or self.is_postcopy:
            return
        try:
            self._wheel.abort()
        except OutcomeUnknown as error:
            logger.warning("vm %s: %s: abort: no answer: %s", self._plan.vm, why, error)
        except VmferryError as error:
            logger.info("vm %s: %s: abort refused for now: %s", self._plan.vm, why, error)
            return
        self.abort_reason = why
        self._course = self._course.model_copy(update={"is_over": True})
        if self._is_found:
            self._tell(Order(action=Abort(), iteration=0, reason=why))

    def _carry_out(self, order: Order) -> bool:
        """Write it down, then do it; False when it was refused and so has no effect."""
        logger.warning("vm %s: %s", self._plan.vm, order.words())
        if isinstance(order.action, Abort):
            self.abort_reason = order.reason
            if self._is_found:
                self._tell(order)  # it is carried out in any case
        elif not self._tell(order):
            return False
        try:
            self._act(order)
        except OutcomeUnknown as error:
            # Perhaps it stands still now: the longest pause counts from here.
            logger.warning("vm %s: %s: no answer: %s", self._plan.vm, order.action.words(), error)
        except VmferryError as error:
            refused = order.model_copy(update={"refusal": str(error)})
            logger.warning("vm %s: %s", self._plan.vm, refused.words())
            if not isinstance(order.action, Abort):
                self._tell(refused)
            return False
        return True

    def _tell(self, order: Order) -> bool:
        """Have it written down; False when that failed."""
        try:
            if self._on_order is not None:
                self._on_order(order)
        except VmferryError as error:
            logger.warning("vm %s: %s: not written down: %s", self._plan.vm, order.action.words(), error)
            return False
        return True

    def _act(self, order: Order) -> None:
        match order.action:
            case SetDowntime(limit_ms=limit_ms):
                self._wheel.set_max_downtime(limit_ms)
            case LiftCap():
                self._wheel.lift_cap()
            case Suspend():
                self._wheel.suspend()
            case PostCopy():
                self._wheel.start_postcopy()
            case Throttled():
                return  # QEMU has done it
            case Abort():
                self._wheel.abort()
            case _:
                assert_never(order.action)
