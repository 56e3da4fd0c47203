"""Shares of a link: never more than its total, nobody starves, nothing lies idle that somebody could use."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.model.host import Limits
from vmferry.planning.link_register import share_of, travelling
from vmferry.planning.link_shares import Travel, fair_shares, first_grant

HOSTS = ("kvm1", "kvm2", "kvm3", "kvm4")


def travel(run: str, source: str = "kvm1", dest: str = "kvm2", **rest: int | None) -> Travel:
    return Travel.model_validate({"run": run, "source": source, "dest": dest, **rest})


@st.composite
def travels(draw: st.DrawFn) -> list[Travel]:
    pairs = st.tuples(st.sampled_from(HOSTS), st.sampled_from(HOSTS)).filter(lambda pair: pair[0] != pair[1])
    caps = st.none() | st.integers(1, 400)
    return [
        travel(f"r{n:02}", *draw(pairs), cap_mib_s=draw(caps))
        for n in range(draw(st.integers(min_value=1, max_value=9)))
    ]


totals = st.dictionaries(st.sampled_from(HOSTS), st.integers(10, 1000))


def used(moves: list[Travel], shares: dict[str, int]) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for move in moves:
        for link in move.links:
            sums[link] += shares.get(move.run, 0)
    return sums


@given(travels(), totals)
def test_no_link_is_given_more_than_its_total_and_nobody_starves(
    moves: list[Travel], given_totals: dict[str, int]
) -> None:
    shares = fair_shares(moves, given_totals)
    for (_, host), mib_s in used(moves, shares).items():
        assert mib_s <= given_totals.get(host, mib_s)
    for move in moves:
        if move.run in shares:
            counts = [sum(link in other.links for other in moves) for link in move.links if link[1] in given_totals]
            hosts = [given_totals[link[1]] for link in move.links if link[1] in given_totals]
            least = min([total // count for total, count in zip(hosts, counts, strict=True)], default=10**9)
            assert shares[move.run] >= min(least, move.cap_mib_s or least), "less than its equal part, or than its cap"
            assert shares[move.run] <= (move.cap_mib_s or shares[move.run])
        else:
            assert move.cap_mib_s is None and not any(host in given_totals for _, host in move.links)


@given(travels(), totals)
def test_whoever_could_use_more_is_held_back_by_a_full_link(moves: list[Travel], given_totals: dict[str, int]) -> None:
    shares = fair_shares(moves, given_totals)
    sums = used(moves, shares)
    for move in moves:
        if move.run in shares and shares[move.run] != move.cap_mib_s:
            assert any(sums[link] == given_totals.get(link[1]) for link in move.links)


@given(travels(), totals)
def test_shares_do_not_depend_on_the_order(moves: list[Travel], given_totals: dict[str, int]) -> None:
    assert fair_shares(moves[::-1], given_totals) == fair_shares(moves, given_totals)


def test_what_a_capped_move_leaves_goes_to_the_others() -> None:
    moves = [travel("a", cap_mib_s=10), travel("b"), travel("c", dest="kvm3")]
    assert fair_shares(moves, {"kvm1": 100}) == {"a": 10, "b": 45, "c": 45}


def test_leaving_and_arriving_are_two_links() -> None:
    assert fair_shares([travel("a"), travel("b", "kvm3", "kvm1")], {"kvm1": 100}) == {"a": 100, "b": 100}


def test_more_moves_than_mib_leave_one_for_each() -> None:
    assert set(fair_shares([travel(str(n)) for n in range(5)], {"kvm1": 2}).values()) == {1}


def test_what_cannot_change_any_more_is_taken_off_first() -> None:
    assert fair_shares([travel("a", fixed_mib_s=30), travel("b")], {"kvm1": 100}) == {"a": 30, "b": 70}


@pytest.mark.parametrize(
    ("cap", "source", "dest", "grant"),
    [
        (None, Limits(), Limits(), None),
        (7, Limits(), Limits(), 7),
        (None, Limits(total_mib_s=100, outgoing=4), Limits(), 25),
        (None, Limits(total_mib_s=100, outgoing=4), Limits(total_mib_s=30, incoming=2), 15),
        (None, Limits(total_mib_s=3, outgoing=8), Limits(), 1),
        (5, Limits(total_mib_s=100, outgoing=4), Limits(), 5),
    ],
)
def test_a_copy_gets_a_part_that_is_always_free(
    cap: int | None, source: Limits, dest: Limits, grant: int | None
) -> None:
    assert first_grant(travel("a", cap_mib_s=cap), {"kvm1": source, "kvm2": dest}) == grant


def test_the_register_shares_anew_when_one_starts_or_ends() -> None:
    limits = {"kvm1": Limits(total_mib_s=20)}
    assert share_of("a") is None
    with travelling(travel("a"), limits):
        assert share_of("a") == 20
        with travelling(travel("b"), limits, [travel("elsewhere")]):
            assert sorted(share_of(run) or 0 for run in ("a", "b", "elsewhere")) == [6, 7, 7]
        with travelling(travel("b"), limits):
            assert (share_of("a"), share_of("b")) == (10, 10)
        assert (share_of("a"), share_of("b")) == (20, None)
    assert share_of("a") is None


def test_without_a_total_nothing_is_capped() -> None:
    with travelling(travel("a"), {"kvm1": Limits()}), travelling(travel("b"), {}):
        assert (share_of("a"), share_of("b")) == (None, None)
