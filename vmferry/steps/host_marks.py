"""The mark of a host: one vmferry at a time empties it, and all of them know that it is closed for arrivals."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from vmferry.errors import AlreadyMoving, VmferryError
from vmferry.model.mark import LEASE_S, HostMark, parse_host_mark
from vmferry.ports import World

logger = logging.getLogger("vmferry.steps")

_TRIES = 5


@contextmanager
def host_in_work(host: str, reason: str, world: World, ticket: str = "") -> Iterator[None]:
    """Mark a host as being emptied for the length of the block; afterwards it is marked as closed for arrivals.

    Raises AlreadyMoving when somebody else empties it. A host that takes no mark (its ssh user may not write there) is
    worked on all the same: the marks of the VMs hold.
    """
    held = _Held(host, reason, world, ticket)
    held.claim()
    try:
        yield
    finally:
        held.release()


def close_host(host: str, reason: str, world: World, ticket: str = "") -> None:
    """Tell every vmferry that the host is closed for arrivals; one that somebody empties keeps that mark."""
    mark = HostMark(owner=world.journal.owner, reason=reason, ticket=ticket, since=world.clock.now())
    _try(lambda: world.tools(host).swap_mark("", mark.text()), host)


def open_host(host: str, world: World) -> None:
    """Take away what keeps arrivals off; the mark of one who is at work stays."""

    def take() -> None:
        there = world.tools(host).swap_mark("", "")
        mark = parse_host_mark(there)
        if there and (mark is None or not mark.is_work or _is_over(mark, world)):
            world.tools(host).swap_mark(there, "")

    _try(take, host)


def _is_over(mark: HostMark, world: World) -> bool:
    return mark.is_stale(world.clock.now()) or world.journal.is_dead(mark.owner)


def _try(act: Callable[[], object], host: str) -> None:
    try:
        act()
    except VmferryError as error:
        logger.warning("host %s: its mark cannot be changed, other vmferrys do not know: %s", host, error)


class _Held:
    """The mark of one evacuation, renewed by a thread as long as this process lives."""

    def __init__(self, host: str, reason: str, world: World, ticket: str) -> None:
        self._host, self._world = host, world
        self._closed = HostMark(owner=world.journal.owner, reason=reason, ticket=ticket, since=world.clock.now())
        self._text = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"mark-{host}", daemon=True)

    def claim(self) -> None:
        """Write the mark, over none, over one that only closes the host, and over that of a dead process."""
        wanted, expected = self._mark(), ""
        for _ in range(_TRIES):
            try:
                there = self._world.tools(self._host).swap_mark(expected, wanted)
            except VmferryError as error:
                logger.warning("host %s takes no mark, other vmferrys do not see this: %s", self._host, error)
                return
            if there == wanted:
                self._text = wanted
                self._thread.start()
                return
            mark = parse_host_mark(there)
            if mark is not None and mark.is_work and not _is_over(mark, self._world):
                raise AlreadyMoving(
                    f"host {self._host}: {mark.words()}: one at a time empties it; wait for its end, or settle what is "
                    "left when that process is dead: `vmferry recover`, then repeat this",
                    host=self._host,
                )
            expected = there

    def release(self) -> None:
        """Leave the host closed for arrivals."""
        self._ended.set()
        if self._text:
            self._thread.join()
            _try(lambda: self._world.tools(self._host).swap_mark(self._text, self._closed.text()), self._host)

    def _mark(self) -> str:
        until = self._world.clock.now() + timedelta(seconds=LEASE_S)
        return self._closed.model_copy(update={"until": until}).text()

    def _renew(self) -> None:
        while not self._ended.wait(LEASE_S / 3):
            _try(self._renew_once, self._host)

    def _renew_once(self) -> None:
        wanted = self._mark()
        there = self._world.tools(self._host).swap_mark(self._text, wanted)
        if there == wanted:
            self._text = wanted
        else:
            logger.error("host %s: another vmferry has taken its mark: %s", self._host, there)
