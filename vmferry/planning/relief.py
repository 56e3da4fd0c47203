"""Which VMs should leave a host that is too busy: the cheapest that suffice. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """A VM, where it is, what it uses now or is expected to, and what moving it costs."""

    key: str
    host: str
    cpus: float
    price: float


def leaving(loads: Iterable[Load], capacity: Mapping[str, float], target: float = 0.95) -> dict[str, tuple[str, ...]]:
    """Return host → VMs that should leave it, for every host that needs more CPUs than it has.

    Hosts are emptied down to `target` of their capacity. Of VMs whose leaving suffices alone the cheapest goes, then
    the smallest; where none suffices the largest goes first. Hosts in the order of `capacity`; a host whose VMs cannot
    help (one VM alone is too large for it) keeps its smallest ones.
    """
    by_host: dict[str, list[Load]] = {}
    for load in loads:
        by_host.setdefault(load.host, []).append(load)
    found: dict[str, tuple[str, ...]] = {}
    for host, most in capacity.items():
        there = by_host.get(host, [])
        busy = sum(load.cpus for load in there)
        if busy > most:
            found[host] = _leaving(there, busy, most * target)
    return found


def _leaving(there: list[Load], busy: float, wanted: float) -> tuple[str, ...]:
    left: list[str] = []
    stay = list(there)
    while busy > wanted and len(stay) > 1:
        enough = [load for load in stay if load.cpus >= busy - wanted]
        if enough:
            goes = min(enough, key=lambda load: (load.price, load.cpus, load.key))
        else:
            goes = max(stay, key=lambda load: (load.cpus, load.key))
        stay.remove(goes)
        left.append(goes.key)
        busy -= goes.cpus
    return tuple(left)
