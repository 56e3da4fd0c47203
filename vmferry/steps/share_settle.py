"""Settle a share whose process died, or that is held: look at the hosts, then undo what it made, or finish it.

Its pivot is the first start of a VM from the share. Before it all is undone; from there on the image on the server is
the only true one, and it is finished. Taking a share in use back goes on to its end. No VM is stopped or started.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

from vmferry.errors import PermanentError, TransientError, UnsafeError, VmferryError
from vmferry.model.sharing import Run, ShareOutcome, ShareRecord, ShareState, ShareUse
from vmferry.ports.sharing import ShareWorld
from vmferry.steps import share_use, sharing, unsharing

logger = logging.getLogger("vmferry.steps")

_LOOK_EVERY_S = 2.0
_SPECIAL = re.compile(r"([][\\.^$*+?(){}|])")  # in an extended regular expression of POSIX


def settle_share(share: str, world: ShareWorld) -> ShareOutcome:
    """Bring a share that is not settled to its end: shared, undone, or held with the reason.

    Safe at any time and any number of times; the caller owns it (`ShareJournal.take_over`).
    """
    record = world.shares.find(share)
    if record.state in (ShareState.SHARED, ShareState.UNDONE):
        return ShareOutcome(plan=record.plan, state=record.state, changed=False)
    try:
        await_left_programs(record, world)
        outcome = _settle(record, share_use.use_of(share, world), world)
    except VmferryError as error:
        outcome = ShareOutcome(plan=record.plan, state=ShareState.HELD, changed=True, problems=(str(error),))
    if outcome.problems:
        world.shares.turn(share, ShareState.HELD, "; ".join(outcome.problems))
    logger.info("share %s: %s: %s", share, outcome.state, "; ".join((*outcome.problems, *outcome.notes)))
    return outcome


def _settle(record: ShareRecord, use: ShareUse, world: ShareWorld) -> ShareOutcome:
    share, is_new = record.plan.share, record.state is ShareState.OPEN
    if use.is_used and (use.is_going_back or record.state is ShareState.UNDOING):
        return _finish_back(record, world)
    if use.first is None or (is_new and use.started):
        return _go_forward(record, use, world)
    if share_use.keep_what_runs(record, world):
        raise PermanentError(f"a VM runs from it; shut it down, then `vmferry unshare {record.plan.key}`")
    return _ended(share, unsharing.undo_share(share, world, use.first), world)


def _go_forward(record: ShareRecord, use: ShareUse, world: ShareWorld) -> ShareOutcome:
    """It is in use: say so first, so that nothing takes its images for copies, then prove that it is whole."""
    share, request = record.plan.share, record.plan.request
    share_use.keep_images(share, world)
    sharing.prove_shared(share, world)
    world.shares.turn(share, ShareState.SHARED)
    names = dict.fromkeys(image.vm for image in record.plan.images if str(image.uuid) in use.started)
    tries = (f"vm {name} has not moved live yet: `vmferry migrate {name} --to {request.dest}`" for name in names)
    return _ended(share, (), world, *tries)


def _finish_back(record: ShareRecord, world: ShareWorld) -> ShareOutcome:
    share = record.plan.share
    images = unsharing.homes(record, world)
    unsharing.unmount(record, world)
    kept = unsharing.bring_home(world.shares.find(share), images, world)
    notes = (f"kept, remove what you do not need: {', '.join(kept)}",) if kept else ()
    return _ended(share, unsharing.undo_share(share, world), world, *notes)


def _ended(share: str, problems: tuple[str, ...], world: ShareWorld, *notes: str) -> ShareOutcome:
    record = world.shares.find(share)
    return ShareOutcome(plan=record.plan, state=record.state, changed=True, notes=notes, problems=problems)


def await_left_programs(record: ShareRecord, world: ShareWorld) -> None:
    """Wait for programs that a dead process has left running on the hosts: what they do comes after an undo.

    A mount that waits for its server, or a package manager, goes on when the connection that started it is gone.
    Raises TransientError when one does not end in the time it has. A host that does not answer, or has no pgrep, is
    not waited for: its own undo shows what is there.
    """
    for host in record.plan.request.hosts:
        runs = tuple(_begun_runs(record, host))
        pattern, waited = "|".join(_pattern(run.argv) for run in runs), 0.0
        while runs and _is_running(pattern, host, world):
            if waited > max(run.timeout_s for run in runs):
                raise TransientError(f"host {host}: a program still runs: `pgrep -af '{pattern}'` shows it", host=host)
            world.clock.sleep(_LOOK_EVERY_S)
            waited += _LOOK_EVERY_S


def _begun_runs(record: ShareRecord, host: str) -> Iterator[Run]:
    for index in record.begun:
        step = record.plan.steps[index]
        if step.host == host:
            yield from (act for act in (*step.do, *step.undo) if isinstance(act, Run))


def _pattern(argv: tuple[str, ...]) -> str:
    """Return what the program's command line matches, and that of the look for it does not."""
    words = list(argv)
    if words[0] == "env":  # it is replaced by what it runs
        words = [word for word in words[1:] if "=" not in word]
    text = " ".join(words)
    return f"[{text[0]}]" + _SPECIAL.sub(r"\\\1", text[1:])


def _is_running(pattern: str, host: str, world: ShareWorld) -> bool:
    try:
        return world.setup(host).run(("pgrep", "-f", "--", pattern), 60).exit_code == 0
    except (TransientError, UnsafeError):
        return False
