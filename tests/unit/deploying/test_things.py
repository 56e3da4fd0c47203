"""The difference between what is wanted and what a server holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from vmferry.deploying.things import Change, ChangeKind, Kind, Thing, compare

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
CONTENT = st.dictionaries(st.text(min_size=1, max_size=3), JSON, max_size=3)


def _pool(**content: object) -> Thing:
    return Thing(kind=Kind.POOL, name="vmferry", content=content)


def _only(changes: tuple[Change, ...]) -> Change:
    (change,) = changes
    return change


def test_what_is_missing_is_created_and_what_is_there_is_left_alone() -> None:
    assert _only(compare([_pool(type="process")], [])).kind is ChangeKind.CREATE
    assert _only(compare([_pool(type="process")], [_pool(type="process")])).kind is ChangeKind.SAME


def test_a_difference_is_told_by_its_place() -> None:
    change = _only(compare([_pool(a={"b": 2, "d": 4})], [_pool(a={"b": 1, "c": 3})]))
    assert change.words() == ("~ work pool vmferry", "    a.b: 1 → 2", "    a.c: 3 → removed", "    a.d: new: 4")


def test_what_is_no_longer_wanted_is_extra() -> None:
    assert _only(compare([], [_pool()])).kind is ChangeKind.EXTRA


def test_things_are_made_in_an_order_in_which_each_finds_what_it_names() -> None:
    wanted = [Thing(kind=kind, name="x", content={}) for kind in reversed(Kind)]
    assert [change.thing.kind for change in compare(wanted, [])] == list(Kind)


@given(before=CONTENT, after=CONTENT)
@examples(200)
def test_lines_are_told_exactly_where_two_contents_differ(before: dict[str, object], after: dict[str, object]) -> None:
    change = _only(compare([_pool(**after)], [_pool(**before)]))
    assert (change.kind is ChangeKind.SAME) == (before == after)
    assert bool(change.lines) == (before != after)
