"""Moves to a host that is to be emptied: awaited, aborted, or a reason not to begin."""

from __future__ import annotations

import logging
from datetime import timedelta

from vmferry.errors import AlreadyMoving, NotFound, VmferryError
from vmferry.model.journal import RunRecord, RunState
from vmferry.model.operation import Incoming
from vmferry.ports import World

logger = logging.getLogger("vmferry.steps")

_EVERY_S = 2.0
PATIENCE_S = 3600.0  # for the ends of incoming moves; each has a deadline of its own


def settle_incoming(host: str, policy: Incoming, world: World, patience_s: float = PATIENCE_S) -> bool:
    """See to it that nothing is on its way to the host; return whether anything was. The host is closed already.

    Runs that wait for a human, and those whose process is dead, come to no end by themselves: they keep nobody, the
    plan tells of their VMs. Raises AlreadyMoving when the policy is to refuse, or when patience ends.
    """
    runs = coming(host, world)
    if not runs:
        return False
    if policy is Incoming.REFUSE:
        raise AlreadyMoving(f"host {host}: {_words(runs)}; wait for their ends, or choose to wait or cancel", host=host)
    ends_at = world.clock.now() + timedelta(seconds=patience_s)
    asked: set[str] = set()
    while runs:
        if world.clock.now() > ends_at:
            said = f"host {host}: after {patience_s:.0f} s still {_words(runs)}; look: vmferry runs"
            raise AlreadyMoving(said, host=host)
        for record in runs if policy is Incoming.CANCEL else ():
            if record.run not in asked and _abort(record, world):
                asked.add(record.run)
        world.clock.sleep(_EVERY_S)
        runs = coming(host, world)
    return True


def coming(host: str, world: World) -> tuple[RunRecord, ...]:
    """Return the runs that are under way to the host and that somebody works on."""
    journal = world.journal
    return tuple(
        record
        for record in journal.unsettled()
        if record.plan.dest == host and record.state is RunState.OPEN and not journal.is_dead(record.owner)
    )


def _abort(record: RunRecord, world: World) -> bool:
    """Ask the source to end the VM's job; its own run sees that and rolls back. False: there was none yet."""
    source = world.hypervisor(record.plan.source)
    try:
        if not source.look(record.plan.uuid).has_job:
            return False
        source.abort_job(record.plan.uuid)
    except NotFound:
        return False
    except VmferryError as error:
        logger.warning("run %s of %s: its job was not aborted: %s", record.run, record.plan.vm, error)
        return False
    return True


def _words(runs: tuple[RunRecord, ...]) -> str:
    moves = ", ".join(f"{r.plan.vm} from {r.plan.source} (run {r.run} of {r.owner})" for r in runs)
    return f"moves are under way to it: {moves}"
