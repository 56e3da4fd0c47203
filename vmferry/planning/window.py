"""The sliding window: which moves may start now, given what runs. A frozen value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from vmferry.model.evacuation import Move
from vmferry.model.host import Inventory, Limits

_FULL = 1.001  # of a link: shares are rounded


@dataclass(frozen=True)
class Window:
    """Moves that wait, in the order of starting, and moves that run.

    At most `max_parallel` run at once; a host takes part in no more than its limits allow. Where the plan knows what
    part of a link each move fills, no more start than fill it; one starts where nothing else uses its links. A move
    that cannot start holds up none behind it: a slot is used again as soon as its move is done, never a batch waited
    for.
    """

    waiting: tuple[Move, ...]
    running: tuple[Move, ...]
    limits: Mapping[str, Limits]
    max_parallel: int

    @classmethod
    def open(cls, moves: Iterable[Move], limits: Mapping[str, Limits], max_parallel: int) -> Window:
        """Return a window in which nothing runs; a host without `limits` has the default ones."""
        waiting = tuple(sorted(moves, key=lambda move: move.order))
        uuids = [move.uuid for move in waiting]
        if len(set(uuids)) != len(uuids) or max_parallel < 1:
            raise ValueError("a window needs every VM once and at least one move at a time")
        return cls(waiting, (), dict(limits), max_parallel)

    @property
    def is_finished(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self.waiting and not self.running

    def startable(self, may: Callable[[Move], bool] = lambda move: True) -> tuple[Move, ...]:
        """Return the waiting moves that may all start now, in their order; empty when every slot is taken.

        `may` is asked of each move for which there is a slot: whether anything else speaks against it.
        """
        outgoing = Counter(move.source for move in self.running)
        incoming = Counter(move.dest for move in self.running)
        chosen: list[Move] = []
        for move in self.waiting:
            if len(self.running) + len(chosen) >= self.max_parallel:
                break
            if not _has_link(move, (*self.running, *chosen)):
                continue
            source, dest = self._limits(move.source), self._limits(move.dest)
            if outgoing[move.source] < source.outgoing and incoming[move.dest] < dest.incoming and may(move):
                outgoing[move.source] += 1
                incoming[move.dest] += 1
                chosen.append(move)
        return tuple(chosen)

    def take(self) -> tuple[tuple[Move, ...], Window]:
        """Return what may start now and the window in which it runs."""
        return self._start(self.startable())

    def take_one(self, may: Callable[[Move], bool]) -> tuple[Move | None, Window]:
        """Return the first move that may start now, None when there is none, and the window in which it runs."""
        started, window = self._start(self.startable(may)[:1])
        return (started[0] if started else None), window

    def _start(self, started: tuple[Move, ...]) -> tuple[tuple[Move, ...], Window]:
        waiting = tuple(move for move in self.waiting if move not in started)
        return started, replace(self, waiting=waiting, running=(*self.running, *started))

    def done(self, uuid: str) -> Window:
        """Return the window after the running move of this VM has ended; raises KeyError when none runs."""
        if all(move.uuid != uuid for move in self.running):
            raise KeyError(uuid)
        return replace(self, running=tuple(move for move in self.running if move.uuid != uuid))

    def drop(self, uuids: Collection[str]) -> Window:
        """Return the window without those waiting moves."""
        return replace(self, waiting=tuple(move for move in self.waiting if move.uuid not in uuids))

    def exchange(self, moves: Iterable[Move]) -> Window:
        """Return the window in which these moves wait, in their order, instead of those that did."""
        fresh = Window.open(moves, self.limits, self.max_parallel)
        if {move.uuid for move in fresh.waiting} & {move.uuid for move in self.running}:
            raise ValueError("a VM that moves cannot wait for another move")
        return replace(self, waiting=fresh.waiting)

    def stop(self) -> tuple[tuple[Move, ...], Window]:
        """Return the moves that will not start, and the window that waits for the running ones."""
        return self.waiting, replace(self, waiting=())

    def _limits(self, host: str) -> Limits:
        return self.limits.get(host) or Limits()


def _has_link(move: Move, beside: Iterable[Move]) -> bool:
    """Whether both links of a move have room for it beside those moves."""
    if move.slot is None:
        return True
    out, arriving = move.slot.out_share, move.slot.in_share
    for other in beside:
        if other.slot is not None:
            out += other.slot.out_share if other.source == move.source else 0
            arriving += other.slot.in_share if other.dest == move.dest else 0
    is_out_free = out <= _FULL or out == move.slot.out_share
    return is_out_free and (arriving <= _FULL or arriving == move.slot.in_share)


def limits_of(inventory: Inventory) -> dict[str, Limits]:
    """Return the limits of every host of the inventory."""
    return {host.name: host.limits for host in inventory.hosts}
