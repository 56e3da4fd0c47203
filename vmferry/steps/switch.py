"""The move step: the pivot, and who lets the VM run at the destination."""

from __future__ import annotations

import time

from vmferry.domxml.rewrite import applicable, rewrite
from vmferry.errors import CopyFailed, OutcomeUnknown
from vmferry.model.effects import DomainDefined, DomainMoved, Effect
from vmferry.model.journal import Mark
from vmferry.model.migration import JobStats, MigrationMode, MigrationPlan
from vmferry.model.transport import Switch
from vmferry.model.vm import DomainState
from vmferry.ports import OnProgress, World
from vmferry.progress import MoveProgress, publish
from vmferry.steps.handover import Handover
from vmferry.steps.images import telling_of_space
from vmferry.steps.look import Pair, look_once
from vmferry.steps.marks import marked
from vmferry.steps.names import RESUME_INTENT, StepName, made
from vmferry.steps.sentinel import watchful
from vmferry.steps.steer import orders_of

_RUNNING = (DomainState.RUNNING, DomainState.BLOCKED)


def pass_pivot(plan: MigrationPlan, world: World) -> Effect:
    """Pass the pivot: after this step the run only goes forward."""
    if plan.mode is MigrationMode.OFFLINE:
        return _move_definition(plan, world)
    if plan.is_persistent:
        made(plan, world, StepName.MOVE, DomainDefined(host=plan.dest, uuid=plan.uuid))
    on_order, began = orders_of(plan, StepName.MOVE, world), world.clock.now()
    with telling_of_space(plan, world), Handover(plan, world, resume_at_dest) as handover:
        on_progress = watchful(plan, world, progress_of(plan))
        stats = world.hypervisor(plan.source).migrate(_with_xml(plan, world), on_progress, on_order)
    returned_s = time.monotonic()
    pair = look_once(plan, world)
    _check_arrival(plan, pair, has_resumed=handover.resumed_at_s is not None)
    running_at_s = handover.resumed_at_s or returned_s
    if handover.resumed_at_s is None and plan.switch is Switch.GUARDED and plan.must_run_after:
        resume_at_dest(plan, world)
        running_at_s = time.monotonic()
    return DomainMoved(
        host=plan.dest,
        uuid=plan.uuid,
        bytes_sent=stats.data_processed_bytes,
        downtime_ms=_downtime_ms(plan, stats, running_at_s),
        seconds=(world.clock.now() - began).total_seconds() - (time.monotonic() - running_at_s),
    )


def _check_arrival(plan: MigrationPlan, pair: Pair, *, has_resumed: bool) -> None:
    """Believe both hosts, not libvirt's word: the source has let go of the VM, and the destination shows what it must.

    Paused where it is ours to let it run, or where it was paused before; running where libvirt or the hand-over did.
    """
    is_handed_over = pair.is_known and not pair.source.state.is_active
    runs = plan.must_run_after and (has_resumed or plan.switch is not Switch.GUARDED)
    is_as_expected = pair.dest.state in _RUNNING if runs else pair.dest.state is DomainState.PAUSED
    if not is_handed_over or not is_as_expected or pair.dest.has_job:
        raise OutcomeUnknown(f"vm {plan.vm}: libvirt reports success, but {pair.words()}", vm=plan.vm)


def resume_at_dest(plan: MigrationPlan, world: World) -> None:
    """Let the copy at the destination run, after the intent is durable; the caller has looked at both hosts."""
    world.journal.write(plan.run, StepName.MOVE, Mark.NOTE, note=RESUME_INTENT)
    world.hypervisor(plan.dest).resume(plan.uuid)


def switch_notes(plan: MigrationPlan) -> tuple[str, ...]:
    """Return the report's line on who let the VM run at the destination, and why; none where no memory moved."""
    if plan.mode is MigrationMode.OFFLINE or not plan.switch_reason:
        return ()
    whose = f"{plan.switch}" if plan.switch is not Switch.LIBVIRT else "libvirt's own"
    return (f"switch-over: {whose}, because {plan.switch_reason}",)


def _downtime_ms(plan: MigrationPlan, stats: JobStats, resumed_at_s: float) -> int | None:
    """Return the pause: as QEMU reports it, or as seen from here where the VM was let run by us.

    From here: from the event that stopped the source to the answer to our resume.
    """
    is_ours = plan.switch is Switch.GUARDED and plan.must_run_after
    if not is_ours or stats.stopped_at_s is None:
        return stats.downtime_ms
    return round((resumed_at_s - stats.stopped_at_s) * 1000)


def _with_xml(plan: MigrationPlan, world: World) -> MigrationPlan:
    """Add the destination's XML from a fresh read where it differs from the source's."""
    if plan.changes.is_empty and plan.given_xml is None and plan.given_persistent_xml is None:
        return plan
    given = marked(plan.given_xml, plan, world) if plan.given_xml is not None else None
    live = given or world.hypervisor(plan.source).read_xml(plan.uuid, is_inactive=False)
    persistent = persistent_xml(plan, world) if plan.is_persistent else None
    return plan.model_copy(update={"dest_xml": rewrite(live, plan.changes), "dest_persistent_xml": persistent})


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
    if given is not None:
        xml = marked(given, plan, world)
    else:
        xml = world.hypervisor(plan.source).read_xml(plan.uuid, is_inactive=True)
    # The persistent definition lacks what was hot-plugged: what it does not have need not change.
    return rewrite(xml, applicable(xml, plan.changes))
