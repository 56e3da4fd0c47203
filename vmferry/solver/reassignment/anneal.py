"""Simulated annealing: shifts and swaps at one temperature, with the prices of violations that the state holds."""

from __future__ import annotations

import math

import numpy as np

from vmferry.solver.reassignment.compiling import kernel
from vmferry.solver.reassignment.kernels import (
    below,
    carry,
    count_moved,
    exchange,
    keep_best,
    price_moved,
    recount_service,
    share,
    structure,
)
from vmferry.solver.reassignment.tables import (
    BEST,
    COST,
    LONELY,
    NARROW,
    OF_LONELY,
    OF_NARROW,
    OF_OVER,
    OF_TRANSIENT,
    OVER,
    PENDING,
    TOP,
    Floats,
    State,
    Tables,
)


@kernel
def anneal(t: Tables, s: State, steps: int, temperature: float, swaps: float, nothing: Floats) -> int:
    """Try so many moves, a share of them swaps; return how many were accepted. `nothing` is a row of zeros."""
    accepted = 0
    processes, machines = s.where.size, s.load.shape[0]
    if machines < 2:
        return 0
    for _ in range(steps):
        p = below(s, processes)
        most = -temperature * math.log(share(s))
        if share(s) <= swaps:
            q = below(s, processes)
            accepted += s.where[p] != s.where[q] and swap(t, s, p, q, most)
        else:
            dest = below(s, machines)
            if s.on_machine[t.service[p], dest] == 0:
                accepted += shift(t, s, p, dest, most, nothing)
    if s.tally[PENDING] > 0:
        keep_best(s)
    return accepted


@kernel
def shift(t: Tables, s: State, p: int, dest: int, most: float, nothing: Floats) -> bool:
    """Move a process to a machine without another of its service, if it makes things worse by `most` at most."""
    source, service, home = s.where[p], t.service[p], t.home[p]
    leaves, arrives = np.int64(source == home), np.int64(dest == home)
    full = t.demand[p, 0]
    cost, over = exchange(
        s.load[dest], t.limit[dest], t.load_weight, t.pair, t.balance, nothing, full, nothing, t.demand[p, arrives]
    )
    gain, under = exchange(
        s.load[source], t.limit[source], t.load_weight, t.pair, t.balance, full, nothing, t.demand[p, leaves], nothing
    )
    cost += gain + t.travel[home, dest] - t.travel[home, source] + (leaves - arrives) * t.move[p]
    over += under
    worse = cost + s.price[OF_OVER] * over + s.price[OF_TRANSIENT] * (leaves - arrives) * t.transient[p]
    if worse > most + violation_price(s) + t.service_weight[0]:
        return False
    lonely, narrow = 0, 0
    if t.is_bound[service]:
        lonely, narrow = structure(t, s, service, source, dest)
        worse += s.price[OF_LONELY] * lonely + s.price[OF_NARROW] * narrow
    worse += t.service_weight[0] * price_moved(s, service, leaves - arrives)
    if worse > most:
        return False
    before_change(s)
    recount_service(t, s, service, source, dest)
    if leaves != arrives:
        count_moved(s, service, leaves - arrives)
    carry(t, s, p, source, dest)
    after_change(t, s, cost, over, lonely, narrow)
    return True


@kernel
def swap(t: Tables, s: State, p: int, q: int, most: float) -> bool:
    """Let two processes on different machines change places, if it makes things worse by `most` at most."""
    a, b, one, two = s.where[p], s.where[q], t.service[p], t.service[q]
    if one != two and (s.on_machine[one, b] > 0 or s.on_machine[two, a] > 0):
        return False
    cost, over, transient = swap_cost(t, s, p, q)
    worse = cost + s.price[OF_OVER] * over + s.price[OF_TRANSIENT] * transient
    if worse > most + violation_price(s) + 2 * t.service_weight[0]:
        return False
    lonely, narrow = 0, 0
    if one != two:
        lonely, narrow = structure(t, s, one, a, b)
        recount_service(t, s, one, a, b)
        more_lonely, more_narrow = structure(t, s, two, b, a)
        lonely += more_lonely
        narrow += more_narrow
        recount_service(t, s, two, b, a)
    worse += s.price[OF_LONELY] * lonely + s.price[OF_NARROW] * narrow
    first = np.int64(a == t.home[p]) - np.int64(b == t.home[p])
    second = np.int64(b == t.home[q]) - np.int64(a == t.home[q])
    worse += t.service_weight[0] * (price_moved(s, one, first) + price_moved(s, two, second))
    if worse > most:
        if one != two:
            recount_service(t, s, two, a, b)
            recount_service(t, s, one, b, a)
        return False
    before_change(s)
    if first != 0:
        count_moved(s, one, first)
    if second != 0:
        count_moved(s, two, second)
    carry(t, s, p, a, b)
    carry(t, s, q, b, a)
    after_change(t, s, cost, over, lonely, narrow)
    return True


@kernel
def swap_cost(t: Tables, s: State, p: int, q: int) -> tuple[float, float, float]:
    """Return what a swap changes: cost without the service move, use above capacity, transient shares."""
    a, b = s.where[p], s.where[q]
    p_leaves, p_arrives = np.int64(a == t.home[p]), np.int64(b == t.home[p])
    q_leaves, q_arrives = np.int64(b == t.home[q]), np.int64(a == t.home[q])
    cost, over = exchange(
        s.load[a], t.limit[a], t.load_weight, t.pair, t.balance,
        t.demand[p, 0], t.demand[q, 0], t.demand[p, p_leaves], t.demand[q, q_arrives],
    )  # fmt: skip
    other, more = exchange(
        s.load[b], t.limit[b], t.load_weight, t.pair, t.balance,
        t.demand[q, 0], t.demand[p, 0], t.demand[q, q_leaves], t.demand[p, p_arrives],
    )  # fmt: skip
    cost += other + t.travel[t.home[p], b] - t.travel[t.home[p], a] + t.travel[t.home[q], a] - t.travel[t.home[q], b]
    cost += (p_leaves - p_arrives) * t.move[p] + (q_leaves - q_arrives) * t.move[q]
    transient = (p_leaves - p_arrives) * t.transient[p] + (q_leaves - q_arrives) * t.transient[q]
    return cost, over + more, transient


@kernel
def violation_price(s: State) -> float:
    """Return what all violations of spread and dependencies cost now: no move can win more by mending them."""
    return s.price[OF_LONELY] * s.tally[LONELY] + s.price[OF_NARROW] * s.tally[NARROW]


@kernel
def before_change(s: State) -> None:
    """Keep the state if it is the best so far and about to be left."""
    if s.tally[PENDING] > 0:
        keep_best(s)


@kernel
def after_change(t: Tables, s: State, cost: float, over: float, lonely: int, narrow: int) -> None:
    """Add up what a move changed, and note whether the state is now the best feasible one."""
    s.tally[COST] += cost
    s.tally[OVER] += over
    s.tally[LONELY] += lonely
    s.tally[NARROW] += narrow
    if s.tally[OVER] == 0 and s.tally[LONELY] == 0 and s.tally[NARROW] == 0:
        total = s.tally[COST] + t.service_weight[0] * s.tally[TOP]
        if total < s.tally[BEST]:
            s.tally[BEST] = total
            s.tally[PENDING] = 1
