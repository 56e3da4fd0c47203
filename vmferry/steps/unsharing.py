"""Take a share back: after a failure, or because it is no longer wanted; newest step first, the images come home."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterator

from vmferry.errors import InvalidInput, VmferryError
from vmferry.model.host import HostFacts
from vmferry.model.sharing import Bring, SharePlan, ShareRecord, ShareState, StepKind
from vmferry.planning.places import named_paths
from vmferry.ports.sharing import ShareWorld
from vmferry.reporting.share_plan import act_words
from vmferry.steps.share_acts import bring, perform
from vmferry.steps.share_use import begin_back, end_back

logger = logging.getLogger("vmferry.steps")

HOME_STEP = -1  # the journal's number of what brings images home


def undo_share(share: str, world: ShareWorld, first: int = 0) -> tuple[str, ...]:
    """Take back all steps from `first` on that have begun, newest first; return the problems, empty when none is left.

    It goes on after a failure, except behind a mount that stays: what its host uses is not taken away below it.
    May be repeated: what is undone stays undone.
    """
    record = world.shares.find(share)
    world.shares.turn(share, ShareState.UNDOING, record.reason)
    problems: list[str] = []
    for index in sorted((i for i in record.begun if i >= first), reverse=True):
        step = record.plan.steps[index]
        try:
            undo_step(record.plan, index, world)
        except VmferryError as error:
            problems.append(f"{step.host}: {step.kind} is not taken back: {error}")
            logger.error("share %s: %s", share, problems[-1])
            if step.kind is StepKind.MOUNT:
                problems.append(f"what {step.host} still has mounted stays shared")
                break
    if problems:
        world.shares.turn(share, ShareState.HELD, "; ".join(problems))
    else:  # what was there before this attempt stays shared
        world.shares.turn(share, ShareState.SHARED if first else ShareState.UNDONE, record.reason)
    return tuple(problems)


def undo_step(plan: SharePlan, index: int, world: ShareWorld) -> None:
    """Take one step back; the journal knows when nothing is left of it."""
    step = plan.steps[index]
    logger.info("share %s: take back %s on %s", plan.share, step.kind, step.host)
    for act in step.undo:
        perform(act, step, plan, index, world)
    world.shares.undone(plan.share, index)


def open_commands(record: ShareRecord) -> tuple[str, ...]:
    """Return what a human would type to take back what is left of a share."""
    lines = []
    for index in reversed(record.begun):
        step = record.plan.steps[index]
        lines += [f"{step.host}# {act_words(act)}" for act in step.undo]
    return tuple(lines)


def homes(record: ShareRecord, world: ShareWorld) -> tuple[Bring, ...]:
    """Say which images go home, and where: each to the host on which the VM is defined that uses it.

    Raises InvalidInput with everything that stands against it: VMs that run from the share, homes with too little room,
    hosts that both define a VM.
    """
    request = record.plan.request
    guests = {host: world.hypervisor(host).read_host() for host in request.hosts}
    problems = list(_running(record, guests))
    users: dict[str, dict[str, str]] = {}  # path in the mount point → host → vm
    for host in request.clients:
        for vm in guests[host].vms:
            for path in named_paths(vm, guests[host]):
                if path.startswith(f"{request.mount_at}/"):
                    users.setdefault(path, {})[host] = vm.name
    found: list[Bring] = []
    on_server = {path: _on_server(path, record) for path in users}
    there = world.tools(request.server).stat_files(list(on_server.values()))
    for path, hosts in sorted(users.items()):
        if on_server[path] not in there:
            continue
        if len(hosts) > 1:
            problems.append(
                f"{path}: VMs of {' and '.join(f'{host} ({vm})' for host, vm in hosts.items())} use it; undefine one, "
                "for the image can go home to one host only"
            )
        home = next(iter(hosts))
        found.append(Bring(from_host=request.server, path=on_server[path], to_host=home, to_path=path))
    if problems:
        raise InvalidInput(
            "storage stays shared, nothing was touched: " + "; ".join(problems), problems=tuple(problems)
        )
    return tuple(found)


def _on_server(path: str, record: ShareRecord) -> str:
    request = record.plan.request
    return posixpath.join(request.directory, posixpath.relpath(path, request.mount_at))


def _running(record: ShareRecord, guests: dict[str, HostFacts]) -> Iterator[str]:
    request = record.plan.request
    for host, facts in guests.items():
        places = {request.directory, request.mount_at} if host in request.clients else {request.directory}
        for vm in facts.vms:
            paths = [p for p in named_paths(vm, facts) if any(p.startswith(f"{place}/") for place in places)]
            if vm.state.is_active and paths:
                yield f"host {host}: vm {vm.name} runs from {paths[0]}; shut it down, or move it elsewhere first"


def unmount(record: ShareRecord, world: ShareWorld) -> None:
    """Take the mounts and pools of both hosts back; when one stays, what was taken back is mounted again."""
    share = record.plan.share
    begin_back(share, world)
    world.shares.turn(share, ShareState.UNDOING)
    taken: list[int] = []
    try:
        for index in reversed(record.begun):
            if record.plan.steps[index].kind in (StepKind.MOUNT, StepKind.POOL):
                undo_step(record.plan, index, world)
                taken.append(index)
    except VmferryError:
        remount(record, taken, world)
        raise


def remount(record: ShareRecord, taken: list[int], world: ShareWorld) -> None:
    """Put mounts and pools back, as they were when it was shared."""
    for index in sorted(taken):
        step = record.plan.steps[index]
        world.shares.begin(record.plan.share, index)
        for act in step.do:
            perform(act, step, record.plan, index, world)
    end_back(record.plan.share, world)


def bring_home(record: ShareRecord, images: tuple[Bring, ...], world: ShareWorld) -> tuple[str, ...]:
    """Copy the images home and give those on the server another name; return what is kept where.

    When one cannot be brought, the copies are removed again, the mounts are put back, and it stays shared.
    """
    share, plan = record.plan.share, record.plan
    try:
        for image in images:
            bring(image, share, HOME_STEP, world)
    except VmferryError:
        for image in images:
            _remove_copy(image, share, world)
        mounts = [i for i, step in enumerate(plan.steps) if step.kind in (StepKind.MOUNT, StepKind.POOL)]
        remount(record, mounts, world)
        raise
    kept = []
    for image in images:
        aside = f"{image.path}.vmferry-unshared-{share}"
        world.tools(image.from_host).set_aside(image.path, aside)
        kept.append(f"{image.from_host}:{aside}")
    old = [f"{image.host}:{image.aside}" for image in plan.images]
    return tuple([*kept, *old])


def _remove_copy(image: Bring, share: str, world: ShareWorld) -> None:
    tools = world.tools(image.to_host)
    found = tools.stat_files([image.to_path]).get(image.to_path)
    if found is not None and f"{image.to_path} is inode {found.inode}" in world.shares.notes(share, HOME_STEP):
        tools.remove_file(image.to_path)
