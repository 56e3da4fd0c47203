"""Where VMs belong: written down before an evacuation moves them, proved before they are brought back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from vmferry.domxml.digest import definition_digest
from vmferry.errors import VmferryError
from vmferry.model.migration import MigrationOutcome, MigrationPlan, OutcomeKind
from vmferry.model.operation import Home
from vmferry.ports import World

logger = logging.getLogger("vmferry.steps")


@contextmanager
def leaving_home(plan: MigrationPlan, state: str, reason: str, world: World) -> Iterator[None]:
    """Write down, before the run of the block is opened, where the VM is and how it stands.

    A VM that our own last run took away from its home keeps that home: it is only taken further. Where the block
    raises, no run was opened, and what was written down before holds again.
    """
    uuid = str(plan.uuid)
    before = world.journal.find_home(uuid)
    _write(plan, before, state, reason, world)
    try:
        yield
    except BaseException:
        if before is None:
            world.journal.forget_home(uuid)
        else:
            world.journal.remember_home(before)
        raise


def _write(plan: MigrationPlan, before: Home | None, state: str, reason: str, world: World) -> None:
    uuid = str(plan.uuid)
    is_away = before is not None and before.away == plan.source and before.run == world.journal.last_run(uuid)
    if before is not None and is_away:
        home = before.model_copy(update={"away": plan.dest, "run": plan.run, "definition": ""})
    else:
        home = Home(
            uuid=uuid,
            vm=plan.vm,
            home=plan.source,
            away=plan.dest,
            run=plan.run,
            state=state,
            is_autostart=plan.is_autostart,
            reason=reason,
            since=world.clock.now(),
        )
    world.journal.remember_home(home)


def settle_home(outcome: MigrationOutcome, uuid: str, world: World) -> None:
    """Write down what the run has come to: the definition that it left, or that the VM is still at home."""
    home = world.journal.find_home(uuid)
    if home is None or home.run != outcome.run:
        return
    if outcome.kind is OutcomeKind.MOVED and home.home == outcome.dest:
        world.journal.forget_home(uuid)
    elif outcome.kind is OutcomeKind.MOVED:
        world.journal.remember_home(home.model_copy(update={"definition": digest_at(outcome.dest, uuid, world)}))
    elif outcome.kind is OutcomeKind.ROLLED_BACK and home.home == outcome.source:
        world.journal.forget_home(uuid)
    elif outcome.kind is OutcomeKind.ROLLED_BACK:
        world.journal.remember_home(home.model_copy(update={"away": outcome.source}))


def digest_at(host: str, uuid: str, world: World) -> str:
    """Return the digest of the VM's persistent definition on a host; empty where it could not be read."""
    try:
        return definition_digest(world.hypervisor(host).read_xml(UUID(uuid), is_inactive=True))
    except VmferryError as error:
        logger.warning("vm %s: its definition on %s was not read: %s", uuid, host, error)
        return ""
