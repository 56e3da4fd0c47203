"""The packing solver on arrays: compiled and interpreted alike, never over-committed, bounds that hold, bad input."""

from __future__ import annotations

import builtins
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from vmferry.errors import InvalidInput
from vmferry.solver.packing import backend
from vmferry.solver.packing.board import Apart, Board, Problem, make_board
from vmferry.solver.packing.bounds import least_hosts
from vmferry.solver.packing.emptying import Emptying, empty_hosts
from vmferry.solver.packing.kernels import ALIGNED, EMPTIEST, TIGHTEST
from vmferry.solver.packing.placing import Placing, place_items, relieve


def problem_of(seed: int, hosts: int = 6, items: int = 30, filled: float = 0.6, groups: int = 3) -> Problem:
    """Random sizes and homes with room; some items are apart, two tones, hosts in two racks."""
    rng = np.random.default_rng(seed)
    demand = np.stack([rng.integers(1, 12, items), rng.integers(1, 5, items)], axis=1)
    room = np.ceil(demand.sum(axis=0) / filled / hosts).astype(int) + 4
    home, load = np.full(items, -1), np.zeros((hosts, 2), int)
    for item in np.argsort(-demand[:, 0]):
        for host in (rng.integers(hosts) + np.arange(hosts)) % hosts:
            if (load[host] + demand[item] <= room).all():
                home[item] = host
                load[host] += demand[item]
                break
    by_host = [next((int(i) for i in np.flatnonzero(home == h)), None) for h in range(hosts)]
    group = tuple(i for i in by_host if i is not None)
    apart = [Apart(group[k : k + 3], level=k % 2) for k in range(groups) if len(group[k : k + 3]) > 1]
    return Problem(demand, np.tile(room, (hosts, 1)), home, apart=apart, domains=[np.arange(hosts) // 1])


def is_right(board: Board, where: Any) -> bool:
    """Whether no host holds more than it can and no group shares a host; sums done anew."""
    for host in range(board.capacity.shape[0]):
        if (board.demand[where == host, 0, :].sum(axis=0) > board.capacity[host]).any():
            return False
    for group in range(board.level.shape[0]):
        members = board.member[board.member_ptr[group] : board.member_ptr[group + 1]]
        places = [int(where[m]) for m in members if where[m] >= 0]
        if len(set(places)) < len(places):
            return False
    return True


@given(st.integers(0, 10_000), st.sampled_from([0.4, 0.7, 0.9]))
@examples(60)
def test_placing_and_emptying_never_over_commit_a_host_or_join_a_group(seed: int, filled: float) -> None:
    board = make_board(problem_of(seed, filled=filled))
    emptied = empty_hosts(board, Emptying(cost=np.ones(6)))
    assert is_right(board, emptied.where)
    assert emptied.bound <= len(set(emptied.where.tolist()))
    assert not set(emptied.hosts) & set(emptied.where.tolist())
    is_open = np.arange(6) != 0
    items = np.flatnonzero(board.home == 0)
    placed = place_items(board, Placing(items, is_open, budget=20_000, most_extra=3))
    assert is_right(board, placed.board.where)
    assert set(np.flatnonzero(placed.board.where < 0)) == set(placed.left)
    away = (placed.board.where != board.home) & (board.home != 0)
    assert int(away.sum()) <= 3
    assert (board.where == board.home).all(), "the board that was given is not changed"


@pytest.mark.parametrize("rule", [TIGHTEST, ALIGNED, EMPTIEST])
def test_compiled_and_interpreted_kernels_give_the_same(rule: int) -> None:
    kernels = backend.compiled()
    assert kernels is not None, "numba is a dependency"
    for seed in range(20):
        boards = [make_board(problem_of(seed, filled=0.95)) for _ in range(2)]
        for board, found in zip(boards, (kernels, backend.interpreted()), strict=True):
            items = np.flatnonzero(board.home < 2)
            is_open = np.arange(6) >= 2
            for item in items:
                found.take(board, item)
            rank, budget = np.zeros(6, np.int64), np.array([5_000])
            found.place_all(board, items, is_open, rank, rule)
            found.make_room(board, items, is_open, rank, rule, 3, budget)
        assert all((one == other).all() for one, other in zip(*boards, strict=True))


def test_without_numba_everything_is_interpreted_and_equal() -> None:
    board = make_board(problem_of(1, hosts=12, items=200))
    wanted = empty_hosts(board, Emptying(cost=np.ones(12)))
    found_import = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "numba":
            raise ImportError(name)
        return found_import(name, *args, **kwargs)

    backend.compiled.cache_clear()
    try:
        with mock.patch.object(builtins, "__import__", missing):
            assert backend.compiled() is None
            found = empty_hosts(board, Emptying(cost=np.ones(12)))
    finally:
        backend.compiled.cache_clear()
    assert (found.where == wanted.where).all() and found.hosts == wanted.hosts


def test_kernels_are_compiled_anew_where_no_cache_can_be_written() -> None:
    calls = []

    def njit(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs)
        if kwargs.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return args[0]

    assert backend._compile(njit, is_right) is is_right
    assert calls == [{"cache": True}, {}]


def test_the_dearest_hosts_are_emptied_and_kept_ones_stay() -> None:
    board = make_board(Problem([[2]] * 4, [[8]] * 4, [0, 1, 2, 3]))
    assert empty_hosts(board, Emptying(cost=[1, 9, 1, 5])).hosts[:2] == (1, 3)
    keep = [False, True, False, False]
    assert set(empty_hosts(board, Emptying(cost=[1, 9, 1, 5], keep=keep)).hosts) == {3, 0, 2}
    capped = empty_hosts(board, Emptying(cost=[1, 9, 1, 5], most_moves=1))
    assert (capped.hosts, capped.moves) == ((1,), 1)


def test_a_host_with_an_item_that_may_not_move_is_not_emptied() -> None:
    board = make_board(Problem([[2]] * 3, [[8]] * 3, [0, 1, 2], movable=[True, False, True]))
    found = empty_hosts(board, Emptying(cost=[1, 9, 1]))
    assert set(found.hosts) == {0, 2}


def test_bounds_count_sums_groups_and_what_may_not_move() -> None:
    everywhere = np.arange(4)
    assert least_hosts(make_board(Problem([[5]] * 4, [[8]] * 4, [0, 1, 2, 3])), everywhere) == 3
    apart = [Apart((0, 1, 2))]
    assert least_hosts(make_board(Problem([[1]] * 4, [[8]] * 4, [0, 1, 2, 3], apart=apart)), everywhere) == 3
    still = [False, False, True, True]
    assert least_hosts(make_board(Problem([[1]] * 4, [[8]] * 4, [0, 1, 2, 3], movable=still)), everywhere) == 2
    assert least_hosts(make_board(Problem([[1]] * 4, [[8]] * 4, [0, 0, 0, 0], tone=[0, 1, 1, 2])), everywhere) == 3


def test_an_exact_search_finds_what_no_single_push_does_and_proves_what_is_impossible() -> None:
    """6 + 4 + 4 and 7 + 7 fill two hosts of 14 exactly; largest first puts 7 and 6 together."""
    board = make_board(Problem([[6], [4], [4], [7], [7]], [[28], [14], [14]], [0] * 5))
    is_open = np.array([False, True, True])
    assert place_items(board, Placing(np.arange(5), is_open)).left == ()
    full = make_board(Problem([[8], [8], [8]], [[24], [15], [15]], [0] * 3))
    placed = place_items(full, Placing(np.arange(3), is_open))
    assert (len(placed.left), placed.is_proved) == (1, True)


def test_colours_share_a_host_only_with_their_own() -> None:
    """Two items of each colour, room for all on each host."""
    apart = [Apart((0, 1, 2, 3), colours=(0, 0, 1, 1))]
    board = make_board(Problem([[1]] * 4, [[9]] * 3, [0, 0, 0, 0], apart=apart))
    where = place_items(board, Placing(np.arange(4), np.array([False, True, True]))).board.where
    assert set(where[:2]).isdisjoint(where[2:])


def test_what_a_host_cannot_hold_leaves_it_the_smallest_that_helps() -> None:
    board = make_board(Problem([[5], [3], [2], [4]], [[10], [10]], [0, 0, 0, 0]))
    state, leaving = relieve(board)
    assert leaving.tolist() == [3]
    assert (board.load > board.capacity).any(axis=1).tolist() == [True, False]
    assert (state.load <= state.capacity).all()


def test_all_that_is_wrong_with_arrays_is_told_at_once() -> None:
    bad = Problem([[1], [-1]], [[5]], [0, 7], apart=[Apart((0, 9)), Apart((0, 1), level=4)], tone=[0, -1])
    with pytest.raises(InvalidInput) as caught:
        make_board(bad)
    assert len(caught.value.problems) == 5
    with pytest.raises(InvalidInput, match="no hosts"):
        make_board(Problem(np.empty((0, 1)), np.empty((0, 1)), []))
