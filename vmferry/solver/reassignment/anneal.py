"""Simulated annealing: shifts and swaps at one temperature, with the prices of violations that the state holds."""

from __future__ import annotations

import math

import numpy as np

from vmferry.solver.reassignment.compiling import inlined, kernel
from vmferry.solver.reassignment.kernels import (
    below,
    carry,
    count_moved,
    exchange,
    keep_best,
    price_moved,
    recount_service,
    share,
    standing,
    structure,
)
from vmferry.solver.reassignment.tables import (
    BEST,
    COST,
    LONELY,
    NARROW,
    OF_AWAY,
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

NEAR = 32  # this part of the active processes, on each side, is about as dear
PATIENCE = 60  # tries of a push without a move


@kernel
def anneal(t: Tables, s: State, steps: int, temperature: float, active: int, mix: Floats) -> int:
    """Spend so many tries of a move; return how many were accepted.

    `active`: only so many of the dearest processes are chosen; pushes may move others too. `mix`: shares of swaps
    and of pushes among the moves, of near ones among the swaps, and of the way home among the shifts, the rest.
    """
    accepted, spent = 0, 0
    machines = s.load.shape[0]
    while machines > 1 and spent < steps:
        spent += 1
        p = t.order[below(s, active)]
        most = -temperature * math.log(share(s))
        kind = share(s)
        if kind <= mix[0]:
            q = partner(t, s, p, active, mix[2])
            accepted += s.where[p] != s.where[q] and swap(t, s, p, q, most)
            continue
        dest = below(s, machines)
        is_push = kind <= mix[0] + mix[1]
        if is_push:
            p = burden(t, s, p)
        elif share(s) <= mix[3]:
            dest = t.home[p]
        if s.on_machine[t.service[p], dest] > 0:
            continue
        if is_push:
            tried = push(t, s, p, dest, most)
            spent += abs(tried)
            accepted += tried > 0
        else:
            accepted += shift(t, s, p, dest, most)
    if s.tally[PENDING] > 0:
        keep_best(s)
    return accepted


@inlined
def partner(t: Tables, s: State, p: int, active: int, near: float) -> int:
    """Draw a process to change places with: any, or one that is about as dear, which is likelier to fit."""
    if share(s) > near:
        return int(t.order[below(s, active)])
    reach = max(2, active // NEAR)
    return int(t.order[min(max(t.rank[p] - reach + below(s, 2 * reach + 1), 0), active - 1)])


@inlined
def burden(t: Tables, s: State, p: int) -> int:
    """Return a process of the costliest of some machines: its largest one, or any."""
    machine, worst = s.where[p], -1.0
    for _ in range(8):
        other = s.where[below(s, s.where.size)]
        load, over = standing(t, s, other)
        if load + s.price[OF_OVER] * over > worst:
            machine, worst = other, load + s.price[OF_OVER] * over
    if below(s, 2) == 0:
        return largest(t, s, machine)
    q = s.head[machine]
    while s.next[q] >= 0 and below(s, 4) > 0:
        q = s.next[q]
    return int(q)


@inlined
def largest(t: Tables, s: State, machine: int) -> int:
    """Return the largest process on a machine; -1 if there is none."""
    found, q = s.head[machine], s.head[machine]
    while q >= 0:
        if t.size[q] > t.size[found]:
            found = q
        q = s.next[q]
    return int(found)


@inlined
def push(t: Tables, s: State, p: int, dest: int, most: float) -> int:
    """Put a process on a machine at any cost and let others leave it where that is cheaper; undo all if it was not
    worth it.

    Single moves cannot bring a large process to a machine whose room is scattered: others must make room first,
    and most of what leaves fits where the large one was. Returns how many tries it took, negative if all was undone.
    """
    allowed = priced(t, s) + most
    source = s.where[p]
    q = largest(t, s, dest) if below(s, 2) == 0 else -1
    s.trail[0, 0], s.trail[0, 1] = p, source
    shift(t, s, p, dest, np.inf)
    done, idle, tried = 1, 0, 1
    if q >= 0 and s.on_machine[t.service[q], source] == 0:
        s.trail[1, 0], s.trail[1, 1] = q, dest
        shift(t, s, q, source, np.inf)
        done, tried = 2, 2
    q = s.next[p]
    while done < s.trail.shape[0] and idle < PATIENCE:
        if q < 0:
            q = s.head[dest]
        following = s.next[q]
        other = source if below(s, 2) == 0 else below(s, s.load.shape[0])
        tried += 1
        idle += 1
        if q != p and s.on_machine[t.service[q], other] == 0 and shift(t, s, q, other, -1.0):
            s.trail[done, 0], s.trail[done, 1] = q, dest
            done += 1
            idle = 0
            if priced(t, s) <= allowed:
                return tried
        q = following
    if priced(t, s) <= allowed:
        return tried
    for i in range(done - 1, -1, -1):
        shift(t, s, s.trail[i, 0], s.trail[i, 1], np.inf)
    return -tried


@inlined
def priced(t: Tables, s: State) -> float:
    """Return the cost of a state with its violations, without the price of transient use."""
    total = s.tally[COST] + t.service_weight[0] * s.tally[TOP] + s.price[OF_OVER] * s.tally[OVER]
    return float(total + violation_price(s))


@inlined
def shift(t: Tables, s: State, p: int, dest: int, most: float) -> bool:
    """Move a process to a machine without another of its service, if it makes things worse by `most` at most."""
    source, service, home = s.where[p], t.service[p], t.home[p]
    leaves, arrives = int(source == home), int(dest == home)
    nobody = s.where.size
    cost, over = exchange(t, s, dest, nobody, 0, p, arrives)
    gain, under = exchange(t, s, source, p, leaves, nobody, 0)
    cost += gain + t.travel[home, dest] - t.travel[home, source] + (leaves - arrives) * t.move[p]
    over += under
    away = s.price[OF_TRANSIENT] * t.transient[p] + s.price[OF_AWAY]
    worse = cost + s.price[OF_OVER] * over + away * (leaves - arrives)
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


@inlined
def swap(t: Tables, s: State, p: int, q: int, most: float) -> bool:
    """Let two processes on different machines change places, if it makes things worse by `most` at most."""
    a, b, one, two = s.where[p], s.where[q], t.service[p], t.service[q]
    if one != two and (s.on_machine[one, b] > 0 or s.on_machine[two, a] > 0):
        return False
    cost, over, away = swap_cost(t, s, p, q)
    worse = cost + s.price[OF_OVER] * over + away
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
    first = int(a == t.home[p]) - int(b == t.home[p])
    second = int(b == t.home[q]) - int(a == t.home[q])
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


@inlined
def swap_cost(t: Tables, s: State, p: int, q: int) -> tuple[float, float, float]:
    """Return what a swap changes: cost without the service move, use above capacity, the
    prices of being away."""
    a, b = s.where[p], s.where[q]
    p_leaves, p_arrives = int(a == t.home[p]), int(b == t.home[p])
    q_leaves, q_arrives = int(b == t.home[q]), int(a == t.home[q])
    cost, over = exchange(t, s, a, p, p_leaves, q, q_arrives)
    other, more = exchange(t, s, b, q, q_leaves, p, p_arrives)
    cost += other + t.travel[t.home[p], b] - t.travel[t.home[p], a] + t.travel[t.home[q], a] - t.travel[t.home[q], b]
    cost += (p_leaves - p_arrives) * t.move[p] + (q_leaves - q_arrives) * t.move[q]
    away = (p_leaves - p_arrives) * (s.price[OF_TRANSIENT] * t.transient[p] + s.price[OF_AWAY])
    away += (q_leaves - q_arrives) * (s.price[OF_TRANSIENT] * t.transient[q] + s.price[OF_AWAY])
    return cost, over + more, away


@inlined
def violation_price(s: State) -> float:
    """Return what all violations of spread and dependencies cost now: no move can win more by mending them."""
    return float(s.price[OF_LONELY] * s.tally[LONELY] + s.price[OF_NARROW] * s.tally[NARROW])


@inlined
def before_change(s: State) -> None:
    """Keep the state if it is the best so far and about to be left."""
    if s.tally[PENDING] > 0:
        keep_best(s)


@inlined
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
