"""The solver of timetables: arrays in, times out."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from vmferry.solver.timetable.backend import compiled, interpreted
from vmferry.solver.timetable.bounds import lower_bound
from vmferry.solver.timetable.decode import empty_times
from vmferry.solver.timetable.polish import polish
from vmferry.solver.timetable.problem import NEVER, Problem, ints, rows
from vmferry.solver.timetable.solve import solve


def build(moves: list[tuple[int, int, int, int]], sites: int, cap: int = 10, places: int = 3) -> Problem:
    """Moves of (source, dest, ticks, rate), a link out of and one into each site; a second pace is half as fast."""
    n = len(moves)
    link_at, link = rows([[source, sites + dest] for source, dest, _, _ in moves])
    slot_at, slot = rows([[0] for _ in moves])
    after_at, after = rows([[] for _ in moves])
    room = np.zeros((n, 1), dtype=np.int64)
    return Problem(
        ticks=ints([[ticks, 2 * ticks] for _, _, ticks, _ in moves]),
        rate=ints([[rate, max(1, rate // 2)] for _, _, _, rate in moves]),
        link_at=link_at,
        link=link,
        link_cap=ints([cap] * (2 * sites)),
        slot_at=slot_at,
        slot=slot,
        slot_cap=ints([places]),
        source=ints([move[0] for move in moves]),
        dest=ints([move[1] for move in moves]),
        take=room,
        give=room,
        free=np.zeros((sites, 1), dtype=np.int64),
        opens=ints([0] * n),
        closes=ints([NEVER] * n),
        pinned=ints([0] * n),
        after_at=after_at,
        after=after,
        behind=ints([-1] * n),
    )


def drawn(count: int, seed: int, sites: int = 5) -> Problem:
    draw = np.random.default_rng(seed)
    moves = []
    for _ in range(count):
        source, dest = draw.choice(sites, 2, replace=False)
        moves.append((int(source), int(dest), int(draw.integers(1, 50)), int(draw.integers(1, 11))))
    return build(moves, sites, places=20)


def test_compiled_and_interpreted_kernels_give_the_same_bytes() -> None:
    kernels = compiled()
    assert kernels is not None
    for seed in range(4):
        p = drawn(25, seed)
        found = []
        for one in (interpreted(), kernels):
            order, pace, times = np.arange(25), np.zeros(25, dtype=np.int64), empty_times(25)
            used = one.improve(p, order, pace, lower_bound(p).ticks, 40, NEVER, seed)
            rank = np.empty(25, dtype=np.int64)
            rank[order] = np.arange(25)
            cost = one.decode(p, rank, pace, times)
            found.append((used, cost, order.tobytes(), pace.tobytes(), times.starts.tobytes(), times.used.tobytes()))
        assert found[0] == found[1]


def test_the_search_never_gives_a_longer_schedule_than_the_list() -> None:
    for seed in range(10):
        p = drawn(20, seed)
        listed, searched = solve(p, tries=0), solve(p, tries=100)
        assert lower_bound(p).ticks <= searched.makespan <= listed.makespan


def test_a_hundred_runs_give_the_same_bytes() -> None:
    p = drawn(20, 3)
    first = solve(p, tries=30, seed=7)
    assert all(solve(p, tries=30, seed=7).times.starts.tobytes() == first.times.starts.tobytes() for _ in range(100))


def test_moves_over_links_of_their_own_run_at_once_and_those_of_one_link_do_not() -> None:
    assert solve(build([(0, 1, 5, 10), (2, 3, 5, 10)], 4)).makespan == 5
    assert solve(build([(0, 1, 5, 10), (0, 2, 5, 10)], 4)).makespan == 10


def test_the_bound_names_what_gives_it() -> None:
    assert lower_bound(build([(0, 1, 5, 10), (0, 2, 5, 10)], 4))[:2] == (10, "link")
    assert lower_bound(build([(0, 1, 9, 1)], 2))[:2] == (9, "job")
    assert lower_bound(build([(0, 1, 9, 1), (1, 2, 9, 1), (2, 0, 9, 1)], 3, places=1))[:2] == (27, "slot")


def tight(count: int, seed: int, sites: int = 3) -> Problem:
    """Moves between sites that have hardly any room: most wait for others to leave."""
    draw, p = np.random.default_rng(seed), drawn(count, seed, sites)
    size = draw.integers(1, 3, (count, 1))
    cap = int(draw.integers(10, 21))
    return p._replace(
        take=ints(size), give=ints(size), free=ints(draw.integers(0, 9, (sites, 1))),
        link_cap=ints([cap] * (2 * sites)), slot_cap=ints([int(draw.integers(2, 6))]),
        opens=ints(draw.integers(0, 2, count) * draw.integers(0, 30)),
    )  # fmt: skip


def test_no_order_at_all_is_shorter_than_the_bound() -> None:
    kernels, whole = interpreted(), 0
    for seed in range(40):
        p = tight(5, seed)
        bound, times, best = lower_bound(p).ticks, empty_times(5), []
        for order in permutations(range(5)):
            rank = np.empty(5, dtype=np.int64)
            rank[list(order)] = np.arange(5)
            missing, makespan, _ = kernels.decode(p, rank, np.zeros(5, dtype=np.int64), times)
            best += [] if missing else [int(makespan)]
        whole += bool(best)
        assert not best or bound <= min(best), f"seed {seed}"
    assert whole > 10


def test_the_exact_solver_finds_nothing_below_the_bound() -> None:
    for seed in range(8):
        p = tight(7, seed, sites=4)
        found = solve(p, tries=20)
        if not found.missing:
            assert polish(p, found).makespan >= lower_bound(p).ticks


def test_who_comes_to_a_full_site_waits_for_the_shortest_to_leave() -> None:
    """One of 3 leaves, then three of 5 come, one after the other: 18; the links alone say 15."""
    moves = [(0, 1, 3, 10), (0, 2, 9, 10), (1, 0, 5, 10), (2, 0, 5, 10), (1, 0, 5, 10)]
    p = build(moves, 3)._replace(take=ints([[1]] * 5), give=ints([[3]] * 5), free=ints([[0], [9], [9]]))
    assert lower_bound(p).ticks == solve(p, tries=30).makespan == 18


def test_the_last_to_come_waits_for_all_that_must_leave_first() -> None:
    """Both must leave, 3 and 9 over one link, before the second one comes: 17; the links alone say 12."""
    moves = [(0, 1, 3, 10), (0, 2, 9, 10), (1, 0, 5, 10), (2, 0, 5, 10)]
    p = build(moves, 3)._replace(take=ints([[1]] * 4), give=ints([[1]] * 4), free=ints([[0], [9], [9]]))
    assert lower_bound(p).ticks == solve(p, tries=30).makespan == 17


def test_the_end_is_what_durations_can_add_up_to() -> None:
    """Five of 6 by three places: 10 by their work, and 12 as there is nothing between 6 and 12."""
    p = build([(n, n + 1, 6, 1) for n in range(5)], 6)
    p = p._replace(ticks=p.ticks[:, :1], rate=p.rate[:, :1])
    assert (lower_bound(p).ticks, solve(p, tries=5).makespan) == (12, 12)


def test_arrays_that_do_not_fit_are_refused_with_every_problem() -> None:
    p = build([(0, 1, 5, 10), (0, 2, 0, 10)], 3)
    with pytest.raises(ValueError, match="job 1: no pace; source: a site is unknown"):
        solve(p._replace(source=ints([0, 9])))
