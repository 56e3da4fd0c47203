"""The acts of a share on the hosts; each may be repeated, and finds out for itself what is done already."""

from __future__ import annotations

import posixpath
import shlex
from typing import assert_never

from vmferry.errors import CopyFailed, PermanentError, ProgramMissing, TransientError, UnsafeError
from vmferry.model.disks import CopyOptions
from vmferry.model.sharing import Act, Bring, Discard, Edit, Run, SetAside, SharePlan, ShareStep
from vmferry.planning.sharing.edits import edited
from vmferry.ports.sharing import Ran, ShareWorld

_TRIES = 5
# What package managers say while another one is at work.
_BUSY = ("Could not get lock", "is locked by another", "another app is currently holding", "Waiting for process")


def perform(act: Act, step: ShareStep, plan: SharePlan, index: int, world: ShareWorld) -> None:
    """Do one act of a step on its host."""
    match act:
        case Run():
            _run(act, step.host, world)
        case Edit():
            _edit(act, step.host, world)
        case Bring():
            prove_at_rest(plan, world)
            bring(act, plan.share, index, world)
        case Discard():
            _discard(act, step.host, plan, index, world)
        case SetAside():
            prove_at_rest(plan, world)
            world.tools(step.host).set_aside(act.path, act.aside)
        case _:
            assert_never(act)


def prove_at_rest(plan: SharePlan, world: ShareWorld) -> None:
    """Prove that no VM whose image is in work runs on either host; raises UnsafeError where that is not known."""
    for image in {image.uuid: image for image in plan.images}.values():
        for host in plan.request.clients:
            seen = world.hypervisor(host).look(image.uuid)
            if not seen.is_reachable or seen.state.is_active:
                raise UnsafeError(
                    f"vm {image.vm}: is {seen.words()} on {host}; its image is not touched. Shut it down, then "
                    "repeat this",
                    vm=image.vm,
                    host=host,
                )


def _run(act: Run, host: str, world: ShareWorld) -> None:
    setup = world.setup(host)
    if act.only_if and setup.run(act.only_if, act.timeout_s).exit_code != 0:
        return
    if act.unless and setup.run(act.unless, act.timeout_s).exit_code == 0:
        return
    ran = setup.run(act.argv, act.timeout_s)
    if ran.exit_code != 0:
        raise _failed(act, host, ran)


def _failed(act: Run, host: str, ran: Ran) -> PermanentError | TransientError:
    words = shlex.join(act.argv)
    if ran.exit_code in (126, 127):
        return ProgramMissing(f"host {host}: `{words}`: a program is missing: {ran.complaint}", host=host)
    if any(text in ran.complaint for text in _BUSY):
        return TransientError(f"host {host}: `{words}`: {ran.complaint}", host=host)
    if ran.exit_code == 124 and act.argv[0] == "timeout":
        return PermanentError(f"host {host}: `{words}`: no end within {act.argv[1]} s", host=host)
    return PermanentError(f"host {host}: `{words}`: {ran.complaint}", host=host)


def _edit(act: Edit, host: str, world: ShareWorld) -> None:
    """Change a file as it is now; when somebody else writes it at the same moment, look again."""
    setup = world.setup(host)
    for _ in range(_TRIES):
        now = setup.read_text(act.path)
        wanted = edited(act, now)
        if wanted == now or setup.swap_text(act.path, now, wanted, act.mode):
            return
    raise TransientError(f"host {host}: {act.path} changes all the time; nothing of it was changed", host=host)


def bring(act: Bring, share: str, index: int, world: ShareWorld) -> None:
    """Copy an image, verified; a copy that this share has published counts as done, any other file is never touched."""
    there = world.tools(act.to_host)
    staging = posixpath.join(posixpath.dirname(act.to_path), f".vmferry-{share}", posixpath.basename(act.to_path))
    found = there.stat_files([act.to_path]).get(act.to_path)
    if found is not None:
        if _inode_note(act, found.inode) in world.shares.notes(share, index):
            return
        raise CopyFailed(
            f"host {act.to_host}: {act.to_path} exists and is not overwritten; look whose it is, then move it away",
            host=act.to_host,
        )
    dest = world.inventory.find(act.to_host)
    assert dest is not None, act.to_host
    world.tools(act.from_host).copy_file(act.path, dest, staging, CopyOptions(keeps_owner=True))
    staged = there.stat_files([staging]).get(staging)
    if staged is None:
        raise CopyFailed(f"host {act.to_host}: {staging} is gone; the original is unchanged", host=act.to_host)
    world.shares.note(share, index, _inode_note(act, staged.inode))
    there.publish(staging, act.to_path)


def _inode_note(act: Bring | Discard, inode: int) -> str:
    path = act.to_path if isinstance(act, Bring) else act.path
    return f"{path} is inode {inode}"


def _discard(act: Discard, host: str, plan: SharePlan, index: int, world: ShareWorld) -> None:
    """Remove the copy that was brought, when it is that very file and its original is where it was."""
    prove_at_rest(plan, world)
    tools = world.tools(host)
    staging = posixpath.join(posixpath.dirname(act.path), f".vmferry-{plan.share}", posixpath.basename(act.path))
    tools.remove_file(staging)
    found = tools.stat_files([act.path]).get(act.path)
    if found is None or _inode_note(act, found.inode) not in world.shares.notes(plan.share, index):
        return
    if not world.tools(act.from_host).stat_files(list(act.originals)):
        raise UnsafeError(
            f"host {host}: {act.path} is kept: none of {', '.join(act.originals)} is on {act.from_host}", host=host
        )
    tools.remove_file(act.path)
