"""The six steps of one VM's run, each journaled: intent, act, effect.

reserve, storage and definition can be undone; move is the pivot; verify and finish only go forward and may be
repeated. `vmferry.steps.recover` takes over whenever one of them fails, and after a crash.
"""

from __future__ import annotations

import logging
import posixpath
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

from vmferry.domxml.rewrite import applicable, rewrite
from vmferry.errors import CopyFailed, OutcomeUnknown, PermanentError, TransientError
from vmferry.model.effects import AutostartCleared, DomainDefined, DomainMoved, Effect, FileMade, FileSetAside, Nothing
from vmferry.model.journal import Mark, Row
from vmferry.model.migration import FileCopy, JobStats, MigrationMode, MigrationPlan
from vmferry.model.sighting import Sighting
from vmferry.model.vm import DomainState
from vmferry.ports import OnProgress, World
from vmferry.progress import MoveProgress, StepStarted, publish
from vmferry.steps.look import look_once
from vmferry.steps.steer import orders_of

logger = logging.getLogger("vmferry.steps")


class StepName(StrEnum):
    """Stable: journals outlive the code."""

    RESERVE = "reserve"
    STORAGE = "storage"
    DEFINITION = "definition"
    MOVE = "move"
    VERIFY = "verify"
    FINISH = "finish"


# The intent to let the destination's copy run: from here on the source's memory may be the older one.
RESUME_INTENT = "resume the copy at the destination"

_RUNNING = (DomainState.RUNNING, DomainState.BLOCKED)


def run_step(run: str, name: StepName, world: World) -> None:
    """Do one step of an open run; raises what the step raises, the journal tells what it left.

    A step that is DONE is not repeated.
    """
    plan = world.journal.find(run).plan
    if is_done(world.journal.rows(run), name):
        return
    logger.info("run %s vm %s: %s begins (%s → %s)", run, plan.vm, name, plan.source, plan.dest)
    publish(StepStarted(run=run, vm=plan.vm, step=name))
    world.journal.write(run, name, Mark.INTENDED)
    effect = _STEPS[name](plan, world)
    world.journal.write(run, name, Mark.DONE, effect)
    logger.info("run %s vm %s: %s done", run, plan.vm, name)


def is_done(rows: tuple[Row, ...], step: StepName) -> bool:
    """Whether the journal says that a step was done."""
    return any(row.step == step and row.mark is Mark.DONE for row in rows)


def _reserve(plan: MigrationPlan, world: World) -> Effect:
    """Look once more just before the start; the open run itself is the reservation of memory."""
    cordon = next((c for c in world.journal.cordons() if c.host == plan.dest), None)
    if cordon is not None:
        raise PermanentError(
            f"vm {plan.vm}: {plan.dest} was cordoned meanwhile ({cordon.reason}); choose another host", vm=plan.vm
        )
    pair = look_once(plan, world)
    if not pair.is_known:
        raise TransientError(f"vm {plan.vm}: {pair.words()}; nothing was touched", vm=plan.vm)
    was, now = plan.state_before, pair.source
    is_same = now.state is was or (now.state in _RUNNING and was in _RUNNING)
    if not is_same or now.has_job or pair.dest.state is not DomainState.ABSENT:
        raise PermanentError(
            f"vm {plan.vm}: changed since preflight ({pair.words()}; planned: {was} on {plan.source}, absent on "
            f"{plan.dest}, no job); start again",
            vm=plan.vm,
        )
    return Nothing()


def _storage(plan: MigrationPlan, world: World) -> Effect:
    """Copy the files of an offline move to staged names, verify them, and give them their names."""
    for copy in plan.files:
        _copy_file(plan, copy, world)
    return Nothing()


def staging_path(plan: MigrationPlan, copy: FileCopy) -> str:
    """Return where a copy lies until it is verified: a directory named after the run, beside its final place."""
    directory = posixpath.join(posixpath.dirname(copy.dest_path), f".vmferry-{plan.run}")
    return posixpath.join(directory, posixpath.basename(copy.source_path))


def aside_path(plan: MigrationPlan, copy: FileCopy) -> str:
    """Return where the source's image lies after its move."""
    return f"{copy.source_path}.vmferry-moved-{plan.run}"


def _copy_file(plan: MigrationPlan, copy: FileCopy, world: World) -> None:
    dest = world.inventory.find(plan.dest)
    assert dest is not None, plan.dest
    here, there = world.tools(plan.source), world.tools(plan.dest)
    if copy.dest_path in there.stat_files([copy.dest_path]):
        raise CopyFailed(
            f"vm {plan.vm}: {copy.dest_path} exists on {plan.dest} and is not overwritten; look at it and move it away",
            vm=plan.vm,
            host=plan.dest,
        )
    staging = staging_path(plan, copy)
    _made(plan, world, StepName.STORAGE, FileMade(host=plan.dest, path=staging, uuid=plan.uuid))
    started = time.monotonic()
    here.copy_file(copy.source_path, dest, staging)
    inode = _verify_copy(plan, copy, staging, world)
    logger.info("vm %s: %s copied in %.1f s", plan.vm, copy.source_path, time.monotonic() - started)
    made = FileMade(host=plan.dest, path=copy.dest_path, uuid=plan.uuid, inode=inode)
    _made(plan, world, StepName.STORAGE, made)
    there.publish(staging, copy.dest_path)


def _verify_copy(plan: MigrationPlan, copy: FileCopy, staging: str, world: World) -> int:
    """Compare size and digest of both ends; return the staged file's inode."""
    here, there = world.tools(plan.source), world.tools(plan.dest)
    original = here.stat_files([copy.source_path]).get(copy.source_path)
    copied = there.stat_files([staging]).get(staging)
    if original is None or copied is None or original.size_bytes != copied.size_bytes:
        raise CopyFailed(
            f"vm {plan.vm}: copy of {copy.source_path} has {copied.size_bytes if copied else 'no'} bytes on "
            f"{plan.dest}, the original {original.size_bytes if original else 'no'}; the source is unchanged",
            vm=plan.vm,
        )
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="digest") as pool:
        digests = (pool.submit(here.checksum, copy.source_path), pool.submit(there.checksum, staging))
    if digests[0].result() != digests[1].result():
        raise CopyFailed(f"vm {plan.vm}: copy of {copy.source_path} differs on {plan.dest}; copy again", vm=plan.vm)
    return copied.inode


def _definition(plan: MigrationPlan, world: World) -> Effect:
    """Define an offline VM at the destination; a running one takes its definition along.

    From here on a reboot of the source must not start the VM there.
    """
    if plan.is_autostart:
        _made(plan, world, StepName.DEFINITION, AutostartCleared(host=plan.source, uuid=plan.uuid))
        world.hypervisor(plan.source).set_autostart(plan.uuid, False)
    if plan.mode is not MigrationMode.OFFLINE:
        return Nothing()
    xml = _persistent_xml(plan, world)
    _made(plan, world, StepName.DEFINITION, DomainDefined(host=plan.dest, uuid=plan.uuid))
    world.hypervisor(plan.dest).define(xml)
    return Nothing()


def _persistent_xml(plan: MigrationPlan, world: World) -> str:
    given = plan.given_persistent_xml or plan.given_xml
    xml = given or world.hypervisor(plan.source).read_xml(plan.uuid, is_inactive=True)
    # The persistent definition lacks what was hot-plugged: what it does not have need not change.
    return rewrite(xml, applicable(xml, plan.changes))


def _move(plan: MigrationPlan, world: World) -> Effect:
    """Pass the pivot: after this step the run only goes forward."""
    if plan.mode is MigrationMode.OFFLINE:
        return _move_definition(plan, world)
    if plan.is_persistent:
        _made(plan, world, StepName.MOVE, DomainDefined(host=plan.dest, uuid=plan.uuid))
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
    persistent = _persistent_xml(plan, world) if plan.is_persistent else None
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


def _verify(plan: MigrationPlan, world: World) -> Effect:
    """Prove on both hosts, by libvirt and by `virsh list` (reference 9.5), that the VM is at the destination only."""
    pair = look_once(plan, world)
    problems = [*_wrong_at_dest(plan, pair.dest), *_wrong_at_source(plan, pair.source)]
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="virsh") as pool:
        lists = tuple(pool.map(lambda host: world.tools(host).virsh_list(), (plan.source, plan.dest)))
    for host, seen, domains in zip((plan.source, plan.dest), (pair.source, pair.dest), lists, strict=True):
        listed = next((d.state for d in domains if d.name == plan.vm), DomainState.ABSENT)
        if seen.is_reachable and listed != seen.state and {listed, seen.state} != set(_RUNNING):
            problems.append(f"`virsh list` on {host} says {listed}, libvirt says {seen.words()}")
    if problems:
        raise TransientError(f"vm {plan.vm}: not verified: {'; '.join(problems)}", vm=plan.vm)
    return Nothing()


def _wrong_at_dest(plan: MigrationPlan, seen: Sighting) -> list[str]:
    if plan.mode is MigrationMode.OFFLINE:
        allowed: tuple[DomainState, ...] = (DomainState.SHUTOFF, *_RUNNING)
    else:
        allowed = _RUNNING if plan.must_run_after else (DomainState.PAUSED,)
    wrong = [] if seen.state in allowed else [f"{seen.host} shows it {seen.words()}"]
    if plan.is_persistent and seen.is_reachable and not seen.is_persistent:
        wrong.append(f"{seen.host} holds no persistent definition of it")
    return wrong


def _wrong_at_source(plan: MigrationPlan, seen: Sighting) -> list[str]:
    if not seen.is_reachable or seen.state.is_active:
        return [f"{seen.host} shows it {seen.words()}"]
    return []


def _finish(plan: MigrationPlan, world: World) -> Effect:
    """Tidy up after the proof: autostart at the destination, no definition and no live-looking image at the source.

    The source's images are renamed, not removed: an operator's way back.
    """
    if plan.is_persistent:
        world.hypervisor(plan.dest).set_autostart(plan.uuid, plan.is_autostart)
    world.hypervisor(plan.source).undefine(plan.uuid)
    for copy in plan.files:
        aside = aside_path(plan, copy)
        _made(plan, world, StepName.FINISH, FileSetAside(host=plan.source, path=copy.source_path, aside=aside))
        world.tools(plan.source).set_aside(copy.source_path, aside)
    return Nothing()


def _made(plan: MigrationPlan, world: World, step: StepName, effect: Effect) -> None:
    """Record an effect before it appears, so that a crash in between leaves it known."""
    world.journal.write(plan.run, step, Mark.EFFECT, effect)


_STEPS: dict[StepName, Callable[[MigrationPlan, World], Effect]] = {
    StepName.RESERVE: _reserve,
    StepName.STORAGE: _storage,
    StepName.DEFINITION: _definition,
    StepName.MOVE: _move,
    StepName.VERIFY: _verify,
    StepName.FINISH: _finish,
}
