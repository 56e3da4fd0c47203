"""The move step: the pivot, and who lets the VM run at the destination."""

from __future__ import annotations

import time

from vmferry.domxml.rewrite import applicable, rewrite
from vmferry.errors import CopyFailed, OutcomeUnknown
from vmferry.model.effects import DomainDefined, DomainMoved, Effect
from vmferry.model.journal import Mark
from vmferry.model.migration import JobStats, MigrationMode, MigrationPlan
from vmferry.model.vm import DomainState
from vmferry.ports import OnProgress, World
from vmferry.progress import MoveProgress, publish
from vmferry.steps.look import look_once
from vmferry.steps.names import RESUME_INTENT, StepName, made
from vmferry.steps.steer import orders_of


def pass_pivot(plan: MigrationPlan, world: World) -> Effect:
    """Pass the pivot: after this step the run only goes forward."""
    if plan.mode is MigrationMode.OFFLINE:
        return _move_definition(plan, world)
    if plan.is_persistent:
        made(plan, world, StepName.MOVE, DomainDefined(host=plan.dest, uuid=plan.uuid))
    on_order = orders_of(plan, StepName.MOVE, world)
    stats = world.hypervisor(plan.source).migrate(_with_xml(plan, world), progress_of(plan), on_order)
    pair = look_once(plan, world)
    is_handed_over = pair.is_known and not pair.source.state.is_active
    if not is_handed_over or pair.dest.state is not DomainState.PAUSED or pair.dest.has_job:
        raise OutcomeUnknown(f"vm {plan.vm}: libvirt reports success, but {pair.words()}", vm=plan.vm)
    downtime_ms = stats.downtime_ms
    if plan.must_run_after:
        resume_at_dest(plan, world)
        downtime_ms = _downtime_ms(stats, time.monotonic())
    return DomainMoved(host=plan.dest, uuid=plan.uuid, bytes_sent=stats.data_processed_bytes, downtime_ms=downtime_ms)


def resume_at_dest(plan: MigrationPlan, world: World) -> None:
    """Let the copy at the destination run, after the intent is durable; the caller has looked at both hosts."""
    world.journal.write(plan.run, StepName.MOVE, Mark.NOTE, note=RESUME_INTENT)
    world.hypervisor(plan.dest).resume(plan.uuid)


def _downtime_ms(stats: JobStats, resumed_at_s: float) -> int | None:
    """Return the pause as seen from here: from the event that stopped the source to the resume's answer."""
    if stats.stopped_at_s is None:
        return stats.downtime_ms
    return round((resumed_at_s - stats.stopped_at_s) * 1000)


def _with_xml(plan: MigrationPlan, world: World) -> MigrationPlan:
    """Add the destination's XML from a fresh read where it differs from the source's."""
    if plan.changes.is_empty and plan.given_xml is None and plan.given_persistent_xml is None:
        return plan
    live = plan.given_xml or world.hypervisor(plan.source).read_xml(plan.uuid, is_inactive=False)
    persistent = persistent_xml(plan, world) if plan.is_persistent else None
    return plan.model_copy(update={"dest_xml": rewrite(live, plan.changes), "destpersistent_xml": persistent})


def progress_of(plan: MigrationPlan) -> OnProgress:
    """Return a callback that publishes samples of this run's job."""
    return lambda stats: publish(MoveProgress(run=plan.run, vm=plan.vm, stats=stats))


def _move_definition(plan: MigrationPlan, world: World) -> Effect:
    """Prove that the VM is shut off on both hosts and that its files are there: then the destination owns it."""
    pair = look_once(plan, world)
    off = DomainState.SHUTOFF
    if pair.source.state is not off or pair.dest.state is not off:
        raise OutcomeUnknown(f"vm {plan.vm}: must be shut off on both hosts, but {pair.words()}", vm=plan.vm)
    wanted = [copy.dest_path for copy in plan.files]
    missing = set(wanted) - set(world.tools(plan.dest).stat_files(wanted))
    if missing:
        raise CopyFailed(f"vm {plan.vm}: missing on {plan.dest}: {', '.join(sorted(missing))}", vm=plan.vm)
    return DomainMoved(host=plan.dest, uuid=plan.uuid, bytes_sent=sum(copy.allocated_bytes for copy in plan.files))


def persistent_xml(plan: MigrationPlan, world: World) -> str:
    """Return what the destination is to define: the operator's own XML, or the source's with the changes made."""
    given = plan.given_persistent_xml or plan.given_xml
    xml = given or world.hypervisor(plan.source).read_xml(plan.uuid, is_inactive=True)
    # The persistent definition lacks what was hot-plugged: what it does not have need not change.
    return rewrite(xml, applicable(xml, plan.changes))
