"""The freeze switch: no move starts in the whole fleet, whichever vmferry would start it.

It stands in the journal, for all that share it, and on every host, for all others (docs/decisions/0026).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from vmferry.errors import PermanentError, VmferryError
from vmferry.model.mark import MarkKind
from vmferry.model.operation import Freeze, parse_freeze
from vmferry.ports import World

logger = logging.getLogger("vmferry.steps")

_AT_ONCE = 16


class Frozen(PermanentError):
    """Somebody has frozen the fleet: no move starts."""


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


def freeze_seen_from(world: World, hosts: Iterable[str]) -> Freeze | None:
    """Return the freeze that the journal or one of these hosts tells; None when moves may start.

    A host that does not answer tells nothing: a move that needs it will not get far.
    """
    if (found := world.journal.frozen()) is not None:
        return found
    for host in dict.fromkeys(hosts):
        try:
            there = world.tools(host).swap_mark("", "", MarkKind.FREEZE)
        except VmferryError as error:
            logger.warning("host %s: whether the fleet is frozen cannot be read there: %s", host, error)
            continue
        if (freeze := parse_freeze(there)) is not None:
            return freeze
    return None


def refuse_frozen(world: World, hosts: Iterable[str], vm: str | None = None) -> None:
    """Raise Frozen when the fleet is frozen; called just before a run is opened."""
    if (found := freeze_seen_from(world, hosts)) is not None:
        what = f"vm {vm}: not moved: " if vm is not None else ""
        raise Frozen(f"{what}{found.words()}", vm=vm)


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
