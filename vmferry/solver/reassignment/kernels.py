"""Sums and their changes: what a shift of one process, or a swap of two, does to cost and violations.

Hard constraints are priced here, not refused, but for conflict (two processes of one service on a machine), which
always holds.
"""

from __future__ import annotations

import numpy as np

from vmferry.solver.reassignment.compiling import inlined, kernel
from vmferry.solver.reassignment.tables import COST, DIRTY, LONELY, NARROW, OVER, PENDING, TOP, State, Tables


@kernel
def recount(t: Tables, s: State) -> None:
    """Fill in every sum of a state from `where`."""
    s.load[:] = 0
    s.head[:] = -1
    s.on_machine[:] = 0
    s.in_location[:] = 0
    s.in_place[:] = 0
    s.moved[:] = 0
    s.moved_count[:] = 0
    s.tally[TOP] = 0.0
    cost = 0.0
    for p in range(s.where.size):
        machine, home, service = s.where[p], t.home[p], t.service[p]
        enlist(s, p, machine)
        for r in range(t.load_weight.size):
            s.load[machine, 0, r] += t.demand[p, 0, r]
            s.load[machine, 1, r] += t.demand[p, 0, r]
            s.load[home, 1, r] += (machine != home) * (t.demand[p, 0, r] - t.demand[p, 1, r])
        s.on_machine[service, machine] += 1
        s.in_location[service, t.place[machine, 0]] += 1
        s.in_place[service, t.place[machine, 1]] += 1
        if machine != home:
            s.moved[service] += 1
            cost += t.move[p] + t.travel[home, machine]
    for service in range(s.moved.size):
        s.moved_count[s.moved[service]] += 1
        s.tally[TOP] = max(s.tally[TOP], s.moved[service])
        s.locations[service] = 0
        for location in range(s.in_location.shape[1]):
            s.locations[service] += s.in_location[service, location] > 0
    s.tally[COST] = cost
    s.tally[OVER] = 0.0
    for machine in range(s.load.shape[0]):
        load, over = standing(t, s, machine)
        s.tally[COST] += load
        s.tally[OVER] += over
    count_violations(t, s)


@inlined
def enlist(s: State, p: int, machine: int) -> None:
    """Put a process before the others in the list of a machine."""
    first = s.head[machine]
    s.previous[p], s.next[p] = -1, first
    if first >= 0:
        s.previous[first] = p
    s.head[machine] = p


@inlined
def strike(s: State, p: int, machine: int) -> None:
    """Take a process out of the list of its machine."""
    before, after = s.previous[p], s.next[p]
    if before >= 0:
        s.next[before] = after
    else:
        s.head[machine] = after
    if after >= 0:
        s.previous[after] = before


@inlined
def standing(t: Tables, s: State, machine: int) -> tuple[float, float]:
    """Return load and balance cost of a machine, and its use above capacity."""
    load, over = 0.0, 0.0
    for r in range(t.load_weight.size):
        load += t.load_weight[r] * max(0.0, s.load[machine, 0, r] - t.limit[machine, 1, r])
        over += max(0.0, s.load[machine, 1, r] - t.limit[machine, 0, r])
    for b in range(t.pair.shape[0]):
        first, second = t.pair[b, 0], t.pair[b, 1]
        free = t.limit[machine, 0, first] - s.load[machine, 0, first]
        other = t.limit[machine, 0, second] - s.load[machine, 0, second]
        load += t.balance[b, 1] * max(0.0, t.balance[b, 0] * free - other)
    return load, over


@inlined
def count_violations(t: Tables, s: State) -> None:
    """Count locations that services lack, and processes without a service that they depend on."""
    narrow, lonely = 0, 0
    for service in range(t.spread.size):
        narrow += max(0, t.spread[service] - s.locations[service])
        for i in range(t.needs_at[service], t.needs_at[service + 1]):
            for place in range(s.in_place.shape[1]):
                if s.in_place[t.needs[i], place] == 0:
                    lonely += s.in_place[service, place]
    s.tally[NARROW] = narrow
    s.tally[LONELY] = lonely


@inlined
def exchange(t: Tables, s: State, machine: int, out: int, leaves: int, into: int, arrives: int) -> tuple[float, float]:
    """Return what a machine's cost and its use above capacity change by when process `out` leaves and `into` arrives.

    Process number P is nobody. `leaves` and `arrives` are 1 for a process whose home this machine is.
    """
    cost, over = 0.0, 0.0
    for r in range(t.load_weight.size):
        used = s.load[machine, 0, r]
        then = used - t.demand[out, 0, r] + t.demand[into, 0, r]
        safe = t.limit[machine, 1, r]
        cost += t.load_weight[r] * (max(0.0, then - safe) - max(0.0, used - safe))
        hard = s.load[machine, 1, r]
        after = hard - t.demand[out, leaves, r] + t.demand[into, arrives, r]
        most = t.limit[machine, 0, r]
        over += max(0.0, after - most) - max(0.0, hard - most)
    for b in range(t.pair.shape[0]):
        i, j = t.pair[b, 0], t.pair[b, 1]
        free, other = t.limit[machine, 0, i] - s.load[machine, 0, i], t.limit[machine, 0, j] - s.load[machine, 0, j]
        then = free + t.demand[out, 0, i] - t.demand[into, 0, i]
        rest = other + t.demand[out, 0, j] - t.demand[into, 0, j]
        cost += t.balance[b, 1] * (max(0.0, t.balance[b, 0] * then - rest) - max(0.0, t.balance[b, 0] * free - other))
    return cost, over


@inlined
def structure(t: Tables, s: State, service: int, source: int, dest: int) -> tuple[int, int]:
    """Return the change of lonely processes and lacking locations when one of a service goes from source to dest."""
    lonely, narrow = 0, 0
    here, there = t.place[source, 0], t.place[dest, 0]
    if here != there:
        before = s.locations[service]
        after = before - (s.in_location[service, here] == 1) + (s.in_location[service, there] == 0)
        narrow = max(0, t.spread[service] - after) - max(0, t.spread[service] - before)
    here, there = t.place[source, 1], t.place[dest, 1]
    if here != there:
        for i in range(t.needs_at[service], t.needs_at[service + 1]):
            lonely += (s.in_place[t.needs[i], there] == 0) - (s.in_place[t.needs[i], here] == 0)
        if s.in_place[service, here] == 1:
            for i in range(t.serves_at[service], t.serves_at[service + 1]):
                lonely += s.in_place[t.serves[i], here]
        if s.in_place[service, there] == 0:
            for i in range(t.serves_at[service], t.serves_at[service + 1]):
                lonely -= s.in_place[t.serves[i], there]
    return lonely, narrow


@inlined
def recount_service(t: Tables, s: State, service: int, source: int, dest: int) -> None:
    """Count one process of a service at dest instead of source."""
    s.on_machine[service, source] -= 1
    s.on_machine[service, dest] += 1
    here, there = t.place[source, 0], t.place[dest, 0]
    if here != there:
        s.in_location[service, here] -= 1
        s.locations[service] -= s.in_location[service, here] == 0
        s.locations[service] += s.in_location[service, there] == 0
        s.in_location[service, there] += 1
    s.in_place[service, t.place[source, 1]] -= 1
    s.in_place[service, t.place[dest, 1]] += 1


@inlined
def price_moved(s: State, service: int, more: int) -> int:
    """Return what the greatest number of moved processes of a service changes by."""
    top, moved = int(s.tally[TOP]), int(s.moved[service])
    if more > 0:
        return max(top, moved + more) - top
    if more < 0 and moved == top and s.moved_count[top] == 1:
        return -1
    return 0


@inlined
def count_moved(s: State, service: int, more: int) -> None:
    """Count so many more moved processes of a service."""
    moved = s.moved[service]
    s.moved_count[moved] -= 1
    s.moved_count[moved + more] += 1
    s.moved[service] = moved + more
    top = max(int(s.tally[TOP]), moved + more)
    while top > 0 and s.moved_count[top] == 0:
        top -= 1
    s.tally[TOP] = top


@inlined
def carry(t: Tables, s: State, p: int, source: int, dest: int) -> None:
    """Take a process from source to dest in the loads; the other sums are the caller's."""
    leaves, arrives = int(source == t.home[p]), int(dest == t.home[p])
    for r in range(t.load_weight.size):
        s.load[source, 0, r] -= t.demand[p, 0, r]
        s.load[dest, 0, r] += t.demand[p, 0, r]
        s.load[source, 1, r] -= t.demand[p, leaves, r]
        s.load[dest, 1, r] += t.demand[p, arrives, r]
    s.where[p] = dest
    strike(s, p, source)
    enlist(s, p, dest)
    if s.is_dirty[p] == 0:
        s.is_dirty[p] = 1
        s.dirty[int(s.tally[DIRTY])] = p
        s.tally[DIRTY] += 1


@inlined
def keep_best(s: State) -> None:
    """Copy what changed since the last time into the best assignment."""
    for i in range(int(s.tally[DIRTY])):
        p = s.dirty[i]
        s.best[p] = s.where[p]
        s.is_dirty[p] = 0
    s.tally[DIRTY] = 0
    s.tally[PENDING] = 0


@inlined
def below(s: State, count: int) -> int:
    """Draw a number from 0 to count - 1 (xorshift64*, its upper half)."""
    x = s.random[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    s.random[0] = x
    return int(np.int64((((x * np.uint64(2685821657736338717)) >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32)))


@inlined
def share(s: State) -> float:
    """Draw a number above 0, at most 1."""
    return (below(s, 1 << 31) + 1.0) / 2147483648.0
