"""The scheduling problem as arrays: integers only, so that the same input gives the same bytes everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Number = Any  # an int, or numpy's: kernels are compiled, and interpreted too
NEVER = 2**60  # ticks: no end of a window


class Problem(NamedTuple):
    """`n` jobs with up to `k` paces, over links, places and the room of sites.

    A job takes room at `dest` from its start, and frees room at `source` when it ends. It uses each of its links at the
    rate of its pace, and one unit of each of its slots (places for moves, a group of which one runs at a time).
    """

    ticks: Ints  # [n, k] duration at each pace; 0: there is no such pace; the first one is the fastest
    rate: Ints  # [n, k] what it takes of each of its links meanwhile
    link_at: Ints  # [n + 1] job j uses link[link_at[j]:link_at[j + 1]]
    link: Ints
    link_cap: Ints
    slot_at: Ints  # [n + 1]
    slot: Ints
    slot_cap: Ints
    source: Ints  # [n] sites
    dest: Ints
    take: Ints  # [n, r] of each kind of room
    give: Ints
    free: Ints  # [sites, r] at the beginning
    opens: Ints  # [n] not before
    closes: Ints  # [n] ended by then
    pinned: Ints  # [n] 1: it runs already; it starts at 0 whatever there is
    after_at: Ints  # [n + 1] job j lets after[after_at[j]:after_at[j + 1]] start when it has ended
    after: Ints
    behind: Ints  # [n] the job that may start once this one has started; -1: none


def rows(lists: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    """Return lists of different lengths as (offsets, values)."""
    at = np.zeros(len(lists) + 1, dtype=np.int64)
    np.cumsum([len(one) for one in lists], out=at[1:])
    return at, ints([value for one in lists for value in one])


def ints(values: Any) -> Ints:
    """Return values as the solver's integers."""
    return np.ascontiguousarray(values, dtype=np.int64)


def problems_of(p: Problem) -> list[str]:
    """Return everything that makes the arrays no problem to be solved, as text; empty for good ones."""
    n, wrong = len(p.ticks), []
    if n and (p.ticks.ndim != 2 or p.ticks.shape != p.rate.shape):
        wrong.append(f"paces: {p.ticks.shape} durations, {p.rate.shape} rates")
    for name in ("source", "dest", "opens", "closes", "pinned", "behind", "take", "give"):
        if len(getattr(p, name)) != n:
            wrong.append(f"{name}: {len(getattr(p, name))} values for {n} jobs")
    if wrong or not n:
        return wrong
    wrong += [f"job {j}: no pace" for j in np.flatnonzero(p.ticks[:, 0] <= 0)]
    wrong += [f"job {j}: a negative duration, rate or room" for j in np.flatnonzero(_negative(p))]
    for name, at, values, limit in (
        ("link", p.link_at, p.link, len(p.link_cap)),
        ("slot", p.slot_at, p.slot, len(p.slot_cap)),
        ("after", p.after_at, p.after, n),
    ):
        if len(at) != n + 1 or at[-1] != len(values) or (len(values) and not 0 <= values.min() <= values.max() < limit):
            wrong.append(f"{name}: indices do not fit")
    for name in ("source", "dest"):
        sites = getattr(p, name)
        if not 0 <= sites.min() <= sites.max() < len(p.free):
            wrong.append(f"{name}: a site is unknown")
    return wrong


def _negative(p: Problem) -> Any:
    return (p.ticks < 0).any(1) | (p.rate < 0).any(1) | (p.take < 0).any(1) | (p.give < 0).any(1)
