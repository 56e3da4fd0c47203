"""Who leaves a host that is too busy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from vmferry.planning.relief import Load, leaving


def loads(*cpus: float, prices: tuple[float, ...] = (), host: str = "a") -> list[Load]:
    return [
        Load(key=f"{host}{n}", host=host, cpus=used, price=prices[n] if prices else 1.0) for n, used in enumerate(cpus)
    ]


def test_nobody_leaves_a_host_that_has_enough() -> None:
    assert leaving(loads(5, 5), {"a": 10}) == {}
    assert leaving([], {"a": 10}) == {}


def test_the_smallest_that_suffices_leaves() -> None:
    assert leaving(loads(6, 1, 2, 3), {"a": 11}) == {"a": ("a2",)}


def test_of_those_that_suffice_the_cheapest_leaves() -> None:
    assert leaving(loads(6, 1, 2, 3, prices=(9, 1, 5, 2)), {"a": 11}) == {"a": ("a3",)}


def test_where_none_suffices_the_largest_leaves_first() -> None:
    assert leaving(loads(3, 3.5, 3, 3), {"a": 6}, target=1.0) == {"a": ("a1", "a0")}


def test_a_vm_that_is_too_large_for_its_host_keeps_it() -> None:
    assert leaving(loads(20), {"a": 10}) == {"a": ()}


@given(st.lists(st.floats(0, 8), max_size=12), st.floats(1, 20))
@examples(80)
def test_what_stays_fits_or_is_one_vm(cpus: list[float], most: float) -> None:
    found = leaving(loads(*cpus), {"a": most}, target=0.9)
    gone = set(found.get("a", ()))
    stays = [used for n, used in enumerate(cpus) if f"a{n}" not in gone]
    assert sum(stays) <= most + 1e-9 or len(stays) == 1
    assert bool(gone) <= (sum(cpus) > most)
