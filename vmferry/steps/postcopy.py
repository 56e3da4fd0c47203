"""A move whose memory is on both hosts: it goes on, or a human is told exactly what is left."""

from __future__ import annotations

import logging

from vmferry.errors import VmferryError
from vmferry.model.migration import MigrationPlan
from vmferry.model.sighting import Sighting
from vmferry.ports import OnProgress, World
from vmferry.steps.look import Pair, look_once

logger = logging.getLogger("vmferry.steps")

# The guest stands still wherever it needs a page that has not come: waiting for the link is all that helps it. A stream
# that died is noticed by the other side within TCP's backoff after the link is back, up to two minutes.
PATIENCE_S = 300.0
_AGAIN_S = 5.0


def is_split(pair: Pair) -> bool:
    """Whether one side at least shows a VM in post-copy."""
    return any(_is_postcopy(seen) for seen in (pair.source, pair.dest))


def try_to_resume(plan: MigrationPlan, world: World, on_progress: OnProgress) -> str:
    """Let a post-copy go on, again and again while the link heals; return why it did not, empty when it did or ended.

    Nothing is asked of a source while the other side is silent.
    """
    source, clock = world.hypervisor(plan.source), world.clock
    begun, problem = clock.now(), "the hosts did not answer"
    while (clock.now() - begun).total_seconds() < PATIENCE_S:
        pair = look_once(plan, world)
        if pair.is_known:
            if not is_split(pair):
                return ""
            try:
                source.resume_postcopy(plan, on_progress)
                return ""
            except VmferryError as error:
                problem = str(error)
                logger.warning("vm %s: post-copy is not resumed yet: %s", plan.vm, error)
        clock.sleep(_AGAIN_S)
    return problem


def has_lost_memory(pair: Pair) -> bool:
    """Whether a post-copy broke off and the QEMU of the other side is gone: the VM can only be started anew."""
    sides = (pair.source, pair.dest)
    is_broken = any(seen.reason == "post-copy failed" for seen in sides)
    is_alone = any(not seen.state.is_active and seen.reason != "migrated" for seen in sides)
    return pair.is_known and is_broken and is_alone


def lost_memory(plan: MigrationPlan, pair: Pair) -> str:
    """Say what was lost, and what is left of the VM."""
    gone = pair.source if not pair.source.state.is_active else pair.dest
    kept = pair.dest if gone is pair.source else pair.source
    return (
        f"MEMORY LOST: its QEMU on {gone.host} ended in post-copy, with a part of the memory; {kept.host} shows it "
        f"{kept.words()} and cannot go on; its disks are as after a power cut: end what is left of it, then start it "
        f"once, on {plan.dest}"
    )


def commands_after_loss(plan: MigrationPlan, pair: Pair, uris: dict[str, str]) -> tuple[str, ...]:
    """Return what a human types to start the VM anew: end what is left of it first, then one start."""
    left = [seen.host for seen in (pair.source, pair.dest) if seen.state.is_active]
    ends = tuple(f"virsh -c '{uris.get(host, host)}' destroy '{plan.uuid}'" for host in left)
    defined = [seen.host for seen in (pair.dest, pair.source) if seen.is_persistent]
    starts = tuple(f"virsh -c '{uris.get(host, host)}' start '{plan.uuid}'" for host in defined[:1])
    return (*ends, *starts)


def _is_postcopy(seen: Sighting) -> bool:
    return seen.is_reachable and seen.reason.startswith("post-copy")
