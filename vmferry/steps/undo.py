"""Undo what a run made: domain first, then files; guarded, and going on after a failure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from vmferry.errors import UnsafeError, VmferryError
from vmferry.model.disks import CopyKind
from vmferry.model.effects import (
    AutostartCleared,
    DomainDefined,
    DomainMoved,
    Effect,
    FileMade,
    FileSetAside,
    Nothing,
    VmMarked,
    VmStopped,
    VolumeKept,
    VolumeMade,
)
from vmferry.model.journal import Mark
from vmferry.model.migration import MigrationPlan
from vmferry.planning.leftovers import backing_path
from vmferry.planning.places import named_paths
from vmferry.ports import World
from vmferry.steps.restart import start_again
from vmferry.steps.volumes import remove_volume


def undo_all(plan: MigrationPlan, world: World) -> tuple[str, ...]:
    """Undo all effects of a run, newest kind first; return the problems, empty when everything is undone.

    Only effects in the journal are touched, and what is removed at the destination only after proof that the VM is
    not active there. Idempotent: an effect that is gone counts as undone.
    """
    problems: list[str] = []
    for step, effect in sorted(_open_effects(plan, world), key=lambda item: _ORDER[type(item[1])]):
        try:
            _undo(effect, plan, world)
            world.journal.write(plan.run, step, Mark.UNDONE, effect)
        except VmferryError as error:
            problems.append(str(error))
    return tuple(problems)


# A file goes only after the domain that may have it open is gone.
_ORDER: dict[type[Effect], int] = {
    DomainMoved: 0,
    DomainDefined: 0,
    FileMade: 1,
    VolumeMade: 1,
    VolumeKept: 3,
    FileSetAside: 1,
    AutostartCleared: 2,
    VmStopped: 3,  # it runs again when nothing of the run is left that another copy could use
    Nothing: 3,
    VmMarked: 4,  # others keep off as long as anything of it is left
}


def _open_effects(plan: MigrationPlan, world: World) -> Sequence[tuple[str, Effect]]:
    """Return the effects that are in the journal and not yet undone, newest first."""
    made: list[tuple[str, Effect]] = []
    for row in world.journal.rows(plan.run):
        if row.effect is None:
            continue
        if row.mark is Mark.UNDONE:
            made = [item for item in made if item[1] != row.effect]
        else:
            made.append((row.step, row.effect))
    return tuple(dict.fromkeys(reversed(made)))


def _undo(effect: Effect, plan: MigrationPlan, world: World) -> None:
    match effect:
        case FileMade():
            _prove_not_active(effect.host, plan, world)
            _remove_ours(effect, plan, world)
        case VolumeMade():
            _prove_not_active(effect.host, plan, world)
            remove_volume(effect, plan, world)
        case DomainDefined():
            _prove_not_active(effect.host, plan, world)
            world.hypervisor(effect.host).undefine(effect.uuid)
        case FileSetAside():
            world.tools(effect.host).set_aside(effect.aside, effect.path)
        case AutostartCleared():
            world.hypervisor(effect.host).set_autostart(effect.uuid, True)
        case VmMarked():
            world.hypervisor(effect.host).unmark(effect.uuid, plan.run)
        case VmStopped():
            _prove_not_active(plan.dest, plan, world)
            start_again(plan, world)
        case DomainMoved() | VolumeKept() | Nothing():
            return
        case _:
            assert_never(effect)


def _remove_ours(effect: FileMade, plan: MigrationPlan, world: World) -> None:
    """Remove a file when it is provably the one that this run made, and no other VM has come to build on it."""
    tools = world.tools(effect.host)
    if effect.inode is None:
        tools.remove_file(effect.path)
        return
    found = tools.stat_files([effect.path]).get(effect.path)
    if found is not None and found.inode == effect.inode and not _is_layer_of_others(effect, plan, world):
        tools.remove_file(effect.path)


def _is_layer_of_others(effect: FileMade, plan: MigrationPlan, world: World) -> bool:
    """Whether another run counts on a layer that this one has brought, or a domain there builds on it by now."""
    if not any(c.dest_path == effect.path and c.kind is CopyKind.BACKING for c in plan.files):
        return False
    for record in world.journal.unsettled():
        other = record.plan
        if other.run != plan.run and other.dest == effect.host and effect.path in {c.dest_path for c in other.files}:
            return True
    facts, tools = world.hypervisor(effect.host).read_host(), world.tools(effect.host)
    asked, seen = {path for vm in facts.vms if vm.uuid != plan.uuid for path in named_paths(vm, facts)}, set[str]()
    while asked:
        seen |= asked
        headers = tools.backing_files(sorted(asked))
        below = {path for image, text in headers.items() if (path := backing_path(image, text)) is not None}
        asked = below - seen
    return effect.path in seen


def _prove_not_active(host: str, plan: MigrationPlan, world: World) -> None:
    seen = world.hypervisor(host).look(plan.uuid)
    if not seen.is_reachable or seen.state.is_active:
        raise UnsafeError(
            f"vm {plan.vm}: on {host} it is {seen.words()}; nothing of it is removed there. "
            f"When it is shut off or gone, run `vmferry recover`",
            vm=plan.vm,
            host=host,
        )
