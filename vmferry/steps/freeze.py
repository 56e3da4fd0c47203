"""The freeze switch: no move starts in the whole fleet, whichever vmferry would start it.

It stands in the journal, for all that share it, and on every host, for all others (docs/decisions/0026).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from vmferry.errors import Frozen, PermanentError, VmferryError
from vmferry.model.mark import HostMarks, MarkKind, parse_host_mark
from vmferry.model.migration import MigrationPlan
from vmferry.model.operation import Freeze, parse_freeze
from vmferry.ports import World

logger = logging.getLogger("vmferry.steps")

_AT_ONCE = 16


def freeze_fleet(world: World, reason: str, ticket: str = "") -> tuple[Freeze, tuple[str, ...]]:
    """Freeze the fleet; return the freeze that holds, and what keeps hosts from knowing it."""
    found = world.journal.freeze(reason, ticket)
    text = found.model_dump_json()

    def mark(host: str) -> None:
        there = world.tools(host).swap_mark("", text, MarkKind.FREEZE)
        if there != text and parse_freeze(there) is None:
            raise PermanentError(f"host {host}: takes no freeze: {there!r}", host=host)

    return found, _on_all(world, mark)


def thaw_fleet(world: World) -> tuple[bool, tuple[str, ...]]:
    """Let moves start again; return whether anything was frozen, and what keeps hosts frozen."""
    was_frozen = world.journal.unfreeze()
    seen: list[str] = []

    def take(host: str) -> None:
        tools = world.tools(host)
        there = tools.swap_mark("", "", MarkKind.FREEZE)
        if not there:
            return
        seen.append(host)
        if tools.swap_mark(there, "", MarkKind.FREEZE):
            raise PermanentError(f"host {host}: somebody froze the fleet again at the same time", host=host)

    problems = _on_all(world, take)
    return was_frozen or bool(seen), problems


def why_frozen(world: World) -> str:
    """Return why the journal says that no move may start; empty when it does not."""
    found = world.journal.frozen()
    return found.words() if found is not None else ""


def refuse_start(plan: MigrationPlan, world: World) -> None:
    """Look once more, just before a run is opened, whether somebody has frozen the fleet or closed the destination.

    Raises Frozen or PermanentError. A host that does not tell, because it does not answer or its marks may not be
    read, keeps nobody off: a move that needs it will not get far.
    """
    if why := why_frozen(world):
        raise Frozen(f"vm {plan.vm}: not moved: {why}", vm=plan.vm)
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="marks") as pool:
        source, dest = pool.map(lambda host: _marks(host, world), (plan.source, plan.dest))
    for there in (source, dest):
        if (freeze := parse_freeze(there.freeze)) is not None:
            raise Frozen(f"vm {plan.vm}: not moved: {freeze.words()}", vm=plan.vm)
    closed = parse_host_mark(dest.mark)
    if closed is not None and not plan.goes_back and not closed.is_stale(world.clock.now()):
        raise PermanentError(
            f"vm {plan.vm}: {plan.dest} was cordoned meanwhile: {closed.words()}; choose another host", vm=plan.vm
        )


def _marks(host: str, world: World) -> HostMarks:
    try:
        return world.tools(host).read_marks()
    except VmferryError as error:
        logger.warning("host %s: its marks cannot be read: %s", host, error)
        return HostMarks()


def _on_all(world: World, act: Callable[[str], None]) -> tuple[str, ...]:
    def attempt(host: str) -> str:
        try:
            act(host)
        except VmferryError as error:
            return str(error)
        return ""

    names: Sequence[str] = world.inventory.names()
    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="freeze") as pool:
        return tuple(problem for problem in pool.map(attempt, names) if problem)
