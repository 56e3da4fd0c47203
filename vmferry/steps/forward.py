"""The six steps of one VM's run, each journaled: intent, act, effect.

reserve, storage and definition can be undone; move is the pivot; verify and finish only go forward and may be
repeated. `vmferry.steps.recover` takes over whenever one of them fails, and after a crash.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from vmferry.errors import AlreadyMoving, MoveFailed, PermanentError, TransientError
from vmferry.model.effects import AutostartCleared, DomainDefined, Effect, FileSetAside, Nothing
from vmferry.model.journal import Mark, Row
from vmferry.model.migration import MigrationMode, MigrationPlan
from vmferry.model.sighting import Sighting
from vmferry.model.vm import DomainState
from vmferry.ports import World
from vmferry.progress import StepEnded, StepStarted, publish
from vmferry.steps.images import set_images_aside
from vmferry.steps.link import on_the_link
from vmferry.steps.look import look_once
from vmferry.steps.marks import claim, holder
from vmferry.steps.names import StepName, made
from vmferry.steps.restart import start_moved, stop_vm
from vmferry.steps.storage import aside_path, bring_storage
from vmferry.steps.switch import pass_pivot, persistent_xml
from vmferry.steps.volumes import keep_volume, refresh_source_pools
from vmferry.stopping import reason_to_end

logger = logging.getLogger("vmferry.steps")


_RUNNING = (DomainState.RUNNING, DomainState.BLOCKED)
_UP_TO_PIVOT = (StepName.RESERVE, StepName.STORAGE, StepName.DEFINITION, StepName.MOVE)


def run_step(run: str, name: StepName, world: World) -> None:
    """Do one step of an open run; raises what the step raises, the journal tells what it left.

    A step that is DONE is not repeated. Raises MoveFailed, before anything is done, when the run is to be aborted.
    """
    plan = world.journal.find(run).plan
    if is_done(world.journal.rows(run), name):
        return
    if name in _UP_TO_PIVOT and (why := reason_to_end()):
        raise MoveFailed(f"vm {plan.vm}: {why}", vm=plan.vm)
    logger.info("run %s vm %s: %s begins (%s → %s)", run, plan.vm, name, plan.source, plan.dest)
    publish(StepStarted(run=run, vm=plan.vm, step=name))
    world.journal.write(run, name, Mark.INTENDED)
    with on_the_link(plan, name, world) as shared:
        effect = _STEPS[name](shared, world)
    world.journal.write(run, name, Mark.DONE, effect)
    publish(StepEnded(run=run, vm=plan.vm, step=name))
    logger.info("run %s vm %s: %s done", run, plan.vm, name)


def is_done(rows: tuple[Row, ...], step: StepName) -> bool:
    """Whether the journal says that a step was done."""
    return any(row.step == step and row.mark is Mark.DONE for row in rows)


def _reserve(plan: MigrationPlan, world: World) -> Effect:
    """Look once more just before the start, then mark the VM; the open run itself is the reservation of memory."""
    cordon = next((c for c in world.journal.cordons() if c.host == plan.dest), None)
    if cordon is not None and not plan.goes_back:
        raise PermanentError(
            f"vm {plan.vm}: {plan.dest} was cordoned meanwhile ({cordon.reason}); choose another host", vm=plan.vm
        )
    if plan.mode is not MigrationMode.OFFLINE:
        world.hypervisor(plan.source).warm_up()
    pair = look_once(plan, world)
    if not pair.is_known:
        raise TransientError(f"vm {plan.vm}: {pair.words()}; nothing was touched", vm=plan.vm)
    was, now = plan.state_before, pair.source
    if now.has_job:
        who = holder(plan, world) or f"see `virsh domjobinfo {plan.vm}` on {plan.source}; start again when it has ended"
        raise AlreadyMoving(f"vm {plan.vm}: a job has begun since preflight ({pair.words()}): {who}", vm=plan.vm)
    is_same = now.state is was or (now.state in _RUNNING and (was in _RUNNING or plan.restart))
    if not is_same or pair.dest.state is not DomainState.ABSENT:
        raise PermanentError(
            f"vm {plan.vm}: changed since preflight ({pair.words()}; planned: {was} on {plan.source}, absent on "
            f"{plan.dest}); start again",
            vm=plan.vm,
        )
    claim(plan, world)
    if plan.restart:
        stop_vm(plan, world)
    return Nothing()


def _definition(plan: MigrationPlan, world: World) -> Effect:
    """Define an offline VM at the destination; a running one takes its definition along.

    From here on a reboot of the source must not start the VM there.
    """
    if plan.is_autostart:
        made(plan, world, StepName.DEFINITION, AutostartCleared(host=plan.source, uuid=plan.uuid))
        world.hypervisor(plan.source).set_autostart(plan.uuid, False)
    if plan.mode is not MigrationMode.OFFLINE:
        return Nothing()
    xml = persistent_xml(plan, world)
    made(plan, world, StepName.DEFINITION, DomainDefined(host=plan.dest, uuid=plan.uuid))
    world.hypervisor(plan.dest).define(xml)
    return Nothing()


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
        # A VM that its user had paused may be let run by its user as soon as it is there.
        allowed = _RUNNING if plan.must_run_after else (*_RUNNING, DomainState.PAUSED)
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

    The source's images are renamed, not removed: an operator's way back. The mark goes last.
    """
    if plan.is_persistent:
        world.hypervisor(plan.dest).set_autostart(plan.uuid, plan.is_autostart)
    world.hypervisor(plan.source).undefine(plan.uuid)
    if plan.restart:
        start_moved(plan, world)
    for copy in plan.files:
        if copy.is_kept:  # other VMs of the source build on it
            continue
        if copy.is_device:
            keep_volume(plan, copy, world)
            continue
        aside = aside_path(plan, copy)
        made(plan, world, StepName.FINISH, FileSetAside(host=plan.source, path=copy.source_path, aside=aside))
        world.tools(plan.source).set_aside(copy.source_path, aside)
    set_images_aside(plan, world)
    refresh_source_pools(plan, world)
    world.hypervisor(plan.dest).unmark(plan.uuid, plan.run)
    return Nothing()


_STEPS: dict[StepName, Callable[[MigrationPlan, World], Effect]] = {
    StepName.RESERVE: _reserve,
    StepName.STORAGE: bring_storage,
    StepName.DEFINITION: _definition,
    StepName.MOVE: pass_pivot,
    StepName.VERIFY: _verify,
    StepName.FINISH: _finish,
}
