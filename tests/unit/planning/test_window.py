"""The sliding window: limits hold at every instant, nothing waits without need."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.builders import build_host
from vmferry.model.evacuation import Move
from vmferry.model.host import Inventory, Limits
from vmferry.model.migration import MigrationMode
from vmferry.planning.window import Window, limits_of


def build_move(number: int, dest: str = "d0", source: str = "s") -> Move:
    return Move(
        vm=f"vm-{number}",
        uuid=f"uuid-{number}",
        source=source,
        dest=dest,
        mode=MigrationMode.LIVE,
        mode_reason="",
        dest_reason="",
        order=number,
        memory_kib=1,
        vcpus=1,
    )


hosts = st.sampled_from(["s", "d0", "d1", "d2"])
moves = st.lists(st.tuples(hosts, hosts), max_size=12).map(
    lambda pairs: tuple(build_move(n, dest, source) for n, (source, dest) in enumerate(pairs))
)
limits = st.dictionaries(hosts, st.builds(Limits, outgoing=st.integers(1, 4), incoming=st.integers(1, 4)))


def holds(window: Window) -> bool:
    outgoing = Counter(m.source for m in window.running)
    incoming = Counter(m.dest for m in window.running)
    limit = {host: window.limits.get(host) or Limits() for host in {*outgoing, *incoming}}
    return (
        len(window.running) <= window.max_parallel
        and all(count <= limit[host].outgoing for host, count in outgoing.items())
        and all(count <= limit[host].incoming for host, count in incoming.items())
    )


@given(moves, limits, st.integers(1, 6), st.randoms(use_true_random=False))
@examples(200)
def test_limits_hold_at_every_instant_and_every_move_starts_once(
    planned: tuple[Move, ...], limit: dict[str, Limits], most: int, end: random.Random
) -> None:
    window = Window.open(planned, limit, most)
    started: list[Move] = []
    while not window.is_finished:
        batch, window = window.take()
        started += batch
        assert holds(window)
        assert window.startable() == ()  # nothing that could start is left waiting
        assert window.running  # no deadlock
        window = window.done(end.choice(window.running).uuid)
    assert sorted(m.uuid for m in started) == sorted(m.uuid for m in planned)


@given(moves, limits, st.integers(1, 6))
@examples(100)
def test_no_waiting_move_could_start_beside_those_taken(
    planned: tuple[Move, ...], limit: dict[str, Limits], most: int
) -> None:
    _, window = Window.open(planned, limit, most).take()
    for move in window.waiting:
        more = Window(window.waiting, (*window.running, move), window.limits, most)
        assert not holds(more)


def test_a_freed_slot_is_used_while_the_slowest_still_runs() -> None:
    window = Window.open([build_move(n, f"d{n}") for n in range(3)], {"s": Limits(outgoing=2)}, 8)
    first, window = window.take()
    assert [m.vm for m in first] == ["vm-0", "vm-1"]
    second, window = window.done("uuid-1").take()
    assert [m.vm for m in second] == ["vm-2"]
    assert {m.vm for m in window.running} == {"vm-0", "vm-2"}


def test_a_busy_destination_does_not_hold_up_the_moves_behind() -> None:
    planned = [build_move(0, "d0"), build_move(1, "d0"), build_move(2, "d1")]
    limit = {"s": Limits(outgoing=8), "d0": Limits(incoming=1)}
    started, window = Window.open(planned, limit, 8).take()
    assert [m.vm for m in started] == ["vm-0", "vm-2"]
    assert [m.vm for m in window.waiting] == ["vm-1"]


def test_moves_start_in_the_order_of_the_plan() -> None:
    planned = [build_move(n, f"d{n}") for n in (2, 0, 1)]
    started, _ = Window.open(planned, {"s": Limits(outgoing=2)}, 8).take()
    assert [m.order for m in started] == [0, 1]


def test_a_stopped_window_starts_nothing_and_waits_for_what_runs() -> None:
    _, window = Window.open([build_move(n) for n in range(4)], {}, 1).take()
    left, window = window.stop()
    assert len(left) == 3
    assert window.startable() == () and not window.is_finished
    assert window.done("uuid-0").is_finished


def test_a_window_is_a_value() -> None:
    window = Window.open([build_move(0)], {}, 1)
    window.take()
    assert window.running == () and len(window.waiting) == 1


def test_only_a_running_move_can_be_done() -> None:
    with pytest.raises(KeyError):
        Window.open([build_move(0)], {}, 1).done("uuid-0")


def test_the_same_vm_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="every VM once"):
        Window.open([build_move(0), build_move(0)], {}, 1)


def test_limits_come_from_the_inventory() -> None:
    inventory = Inventory(hosts=(build_host("a", limits=Limits(outgoing=3)), build_host("b")))
    assert limits_of(inventory) == {"a": Limits(outgoing=3), "b": Limits()}
