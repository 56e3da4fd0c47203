"""Jobs that another process began: a move that is adopted, and a post-copy that broke off and goes on.

Source: section 5 of `libvirt-measurements.md`, "Post-copy", and docs/decisions/0018.
"""

from __future__ import annotations

import logging
import time

import libvirt

from vmferry.adapters.libvirt_calls import bounded, text_of, translate
from vmferry.adapters.libvirt_domains import has_job
from vmferry.adapters.libvirt_job import BROKEN, JobWatch
from vmferry.adapters.libvirt_migrate import Migration
from vmferry.adapters.libvirt_wheel import LibvirtWheel
from vmferry.adapters.libvirt_words import state_words
from vmferry.adapters.steering import Steering
from vmferry.errors import OutcomeUnknown
from vmferry.model.migration import MigrationPlan
from vmferry.model.vm import DomainState
from vmferry.planning.course import start_course
from vmferry.ports import OnOrder, OnProgress
from vmferry.settings import Settings

logger = logging.getLogger("vmferry.libvirt")

# Both exist since libvirt 8.5, which the rule postcopy-release asks for.
_RESUME = getattr(libvirt, "VIR_MIGRATE_POSTCOPY_RESUME", 1 << 19)
_PAUSE = getattr(libvirt, "VIR_DOMAIN_ABORT_JOB_POSTCOPY", 1 << 0)
_PAUSE_S = 30.0
_FLOW_S = 2.0


def adopt_job(
    plan: MigrationPlan,
    control: libvirt.virConnect,
    settings: Settings,
    on_progress: OnProgress,
    on_order: OnOrder,
    *,
    timeout_s: float,
) -> bool:
    """Watch and steer the job of a plan whose process died; whether it is over, or broke off.

    False when it still runs after `timeout_s`, when its abort has no effect, or when a post-copy stands still. A
    post-copy has no other timeout: nothing ends it but its end.
    """
    wheel = LibvirtWheel(plan, control, settings)
    first = JobWatch(plan, control, settings, wheel, None).sample()
    found_at_s = (first.elapsed_ms if first is not None else 0) / 1000
    course = start_course(plan, may_help=True, found_at_s=found_at_s, was_suspended=_stands_still(plan, control))
    steering = Steering(plan, wheel, on_order, found=course)
    watch = JobWatch(plan, control, settings, wheel, steering)
    ends_at = time.monotonic() + timeout_s
    is_late: list[bool] = []

    def is_over() -> bool:
        if not _has_job(plan, control) or watch.reason == BROKEN:
            return True
        if time.monotonic() >= ends_at and not steering.is_postcopy:
            is_late.append(True)
        return bool(is_late)

    try:
        with watch.listening():
            watch.wake()
            watch.follow(on_progress, is_over, found_at_s=found_at_s)
    except OutcomeUnknown as error:
        logger.warning("%s", error)
        return False
    return not is_late


def resume_postcopy(
    plan: MigrationPlan,
    control: libvirt.virConnect,
    moving: libvirt.virConnect,
    settings: Settings,
    on_progress: OnProgress,
) -> None:
    """Resume a post-copy that broke off; one that only stands still is broken off first.

    Raises OutcomeUnknown while that is too early: QEMU has not noticed yet, on one side or the other, that the stream
    is dead ("migration is still running", "being actively monitored by another thread").
    """
    if _reason(plan, control) == "post-copy":
        _break_off(plan, control)
    try:
        Migration(plan, control=control, moving=moving, settings=settings, more_flags=_RESUME).run(on_progress)
    except OutcomeUnknown:
        # libvirt lost its own connection, QEMU still waits on a dead stream: it is told so, for the next attempt.
        if _reason(plan, control) == BROKEN and not _flows(plan, control, settings):
            _tell_qemu(plan, control)
        raise


def _break_off(plan: MigrationPlan, control: libvirt.virConnect) -> None:
    """Pause the post-copy (QEMU's migrate-pause): no memory is lost, both sides wait."""
    try:
        bounded(lambda: _domain(plan, control).abortJobFlags(_PAUSE), _PAUSE_S)
    except libvirt.libvirtError as error:
        raise translate(error, plan.source, f"pause post-copy of {plan.vm}", is_write=True) from error
    except TimeoutError as error:
        raise OutcomeUnknown(f"host {plan.source}: pause post-copy of {plan.vm}: {error}", host=plan.source) from error
    ends_at = time.monotonic() + _PAUSE_S
    while _reason(plan, control) == "post-copy" and time.monotonic() < ends_at:
        time.sleep(0.2)


def _tell_qemu(plan: MigrationPlan, control: libvirt.virConnect) -> None:
    try:
        bounded(lambda: _domain(plan, control).abortJobFlags(_PAUSE), _PAUSE_S)
    except libvirt.libvirtError as error:
        logger.debug("vm %s: pause post-copy: %s", plan.vm, text_of(error))  # it was paused already
    except TimeoutError as error:
        logger.warning("vm %s: pause post-copy: %s", plan.vm, error)


def _flows(plan: MigrationPlan, control: libvirt.virConnect, settings: Settings) -> bool:
    """Whether bytes are still sent, so that the post-copy may end by itself."""
    watch = JobWatch(plan, control, settings, LibvirtWheel(plan, control, settings), None)
    before = watch.sample()
    time.sleep(_FLOW_S)
    after = watch.sample()
    if before is None or after is None:
        return True  # it is over, or nobody answers: nothing is to be told
    return after.data_processed_bytes > before.data_processed_bytes


def _domain(plan: MigrationPlan, control: libvirt.virConnect) -> libvirt.virDomain:
    return control.lookupByUUID(plan.uuid.bytes)


def _has_job(plan: MigrationPlan, control: libvirt.virConnect) -> bool:
    """Whether a job is seen; a host that does not answer shows none, and the caller looks at it."""
    try:
        return has_job(_domain(plan, control))
    except libvirt.libvirtError:
        return False


def _reason(plan: MigrationPlan, control: libvirt.virConnect) -> str:
    try:
        return state_words(*_domain(plan, control).state(0))[1]
    except libvirt.libvirtError:
        return ""


def _stands_still(plan: MigrationPlan, control: libvirt.virConnect) -> bool:
    """Whether a VM that is to run was stopped for its move: by a suspend of ours, or by the switch-over."""
    try:
        state, reason = state_words(*_domain(plan, control).state(0))
    except libvirt.libvirtError:
        return False
    return plan.must_run_after and (state, reason) == (DomainState.PAUSED, "migrating")
