"""Carry out what the convergence engine orders for one running job, on a real host or a simulated one."""

from __future__ import annotations

import logging
from typing import Protocol, assert_never

from vmferry.errors import OutcomeUnknown, VmferryError
from vmferry.model.convergence import Abort, LiftCap, Order, SetDowntime, Suspend, Throttled
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.planning.convergence import observe, start_course
from vmferry.ports import OnOrder

logger = logging.getLogger("vmferry.libvirt")


class Wheel(Protocol):
    """What can be done to a running job; every act is bounded in time and raises VmferryError only."""

    def set_max_downtime(self, limit_ms: int) -> None:
        """Raise QEMU's downtime limit."""
        ...

    def lift_cap(self) -> None:
        """Let the job use all of the link."""
        ...

    def suspend(self) -> None:
        """Stop the VM's CPUs at the source."""
        ...

    def abort(self) -> None:
        """Cancel the job."""
        ...


class Steering:
    """The course of one move and the hand on the wheel; an act that is refused is told and not fatal."""

    def __init__(self, plan: MigrationPlan, wheel: Wheel, on_order: OnOrder | None) -> None:
        self._plan = plan
        self._wheel = wheel
        self._on_order = on_order
        self._course = start_course(plan, may_help=on_order is not None)
        self.abort_reason = ""

    @property
    def is_suspended(self) -> bool:
        """Whether the VM stands still because of us."""
        return self._course.suspended_at_s is not None

    def take(self, sample: JobStats, elapsed_s: float) -> None:
        """Feed one sample and do what follows from it."""
        self._course, orders = observe(self._course, sample, elapsed_s)
        for order in orders:
            if not self._carry_out(order):
                self._course = self._course.refused(order)
                return  # the cap is not lifted for a VM that still runs

    def _carry_out(self, order: Order) -> bool:
        """Write it down, then do it; False when it was refused and so has no effect."""
        logger.warning("vm %s: %s", self._plan.vm, order.words())
        if isinstance(order.action, Abort):
            self.abort_reason = order.reason
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
            case Throttled():
                return  # QEMU has done it
            case Abort():
                self._wheel.abort()
            case _:
                assert_never(order.action)
