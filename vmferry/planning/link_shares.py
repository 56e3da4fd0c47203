"""How runs that travel at the same time share the links of their hosts: pure, max-min fair.

`total_mib_s` of a host holds twice: for all that leaves it together, and for all that comes to it together (links are
full duplex). Without it nothing is computed and nothing is capped: TCP shares fairly by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

from vmferry.model.base import Model
from vmferry.model.host import Host, Limits

Link = tuple[str, str]  # ("out" | "in", host)


class Travel(Model):
    """One run whose data travels now; `cap_mib_s` is its own, MiB/s."""

    run: str
    source: str
    dest: str
    cap_mib_s: int | None = None
    # What it was given at its start, when that cannot be changed any more: a copy, or a disk that QEMU mirrors.
    fixed_mib_s: int | None = None

    @property
    def links(self) -> tuple[Link, Link]:
        """The two links that it uses."""
        return ("out", self.source), ("in", self.dest)


def fair_shares(travels: Iterable[Travel], totals: Mapping[str, int]) -> dict[str, int]:
    """Return run → MiB/s; a run that nothing limits is left out.

    All rise together until a link or a cap is full; who is held back by one leaves the rest to the others. No share is
    below 1 MiB/s, the least that libvirt can be told (0 means: no cap): only then can the sum exceed the total.
    """
    listed = sorted(travels, key=lambda travel: travel.run)
    room = {link: totals[link[1]] for travel in listed for link in travel.links if link[1] in totals}
    shares: dict[str, int] = {}
    rising: list[Travel] = []
    for travel in listed:
        if travel.fixed_mib_s is not None:
            shares[travel.run] = travel.fixed_mib_s
            _take(room, travel, travel.fixed_mib_s)
        elif travel.cap_mib_s is not None or any(link in room for link in travel.links):
            rising.append(travel)
    levels = _fill(rising, {link: Fraction(max(0, left)) for link, left in room.items()})
    for travel in rising:
        shares[travel.run] = max(1, int(levels[travel.run]))
        _take(room, travel, shares[travel.run])
    for travel in rising:  # what rounding down has left over
        free = min([room[link] for link in travel.links if link in room], default=1)
        if free >= 1 and (travel.cap_mib_s is None or shares[travel.run] < travel.cap_mib_s):
            shares[travel.run] += 1
            _take(room, travel, 1)
    return shares


def first_grant(travel: Travel, limits: Mapping[str, Limits]) -> int | None:
    """Return what a run gets that must keep what it gets: its part when all places of both hosts are taken.

    So those that come later never starve, and nothing exceeds the total. None: nothing limits it.
    """
    wanted = [] if travel.cap_mib_s is None else [travel.cap_mib_s]
    source, dest = limits.get(travel.source, Limits()), limits.get(travel.dest, Limits())
    for total, places in ((source.total_mib_s, source.outgoing), (dest.total_mib_s, dest.incoming)):
        if total is not None:
            wanted.append(max(1, total // places))
    return min(wanted, default=None)


def least_grant(source: Host, dest: Host, cap_mib_s: int | None) -> int | None:
    """Return the least that a run from `source` to `dest` gets however many travel; None: nothing limits it."""
    travel = Travel(run="", source=source.name, dest=dest.name, cap_mib_s=cap_mib_s)
    return first_grant(travel, {source.name: source.limits, dest.name: dest.limits})


def _fill(rising: list[Travel], room: dict[Link, Fraction]) -> dict[str, Fraction]:
    """Raise all at the same speed; each stops when its cap or one of its links is full."""
    levels = {travel.run: Fraction(0) for travel in rising}
    while rising:
        users = {link: sum(link in travel.links for travel in rising) for link in room}
        steps = [room[link] / count for link, count in users.items() if count]
        steps += [travel.cap_mib_s - levels[travel.run] for travel in rising if travel.cap_mib_s is not None]
        step = min(steps)
        for travel in rising:
            levels[travel.run] += step
        room = {link: left - step * users[link] for link, left in room.items()}
        rising = [
            travel
            for travel in rising
            if levels[travel.run] != travel.cap_mib_s and all(room.get(link, 1) > 0 for link in travel.links)
        ]
    return levels


def _take(room: dict[Link, int], travel: Travel, mib_s: int) -> None:
    for link in travel.links:
        if link in room:
            room[link] -= mib_s
