"""The mark of a host: one at a time empties it, and every vmferry knows that it is closed."""

from __future__ import annotations

import pytest

from vmferry.adapters.journal import SqlJournal, this_owner
from vmferry.adapters.simulated import Blow, Fault, SimulatedFleet
from vmferry.errors import AlreadyMoving
from vmferry.model.mark import LEASE_S, SKEW_S, parse_host_mark
from vmferry.ports import World
from vmferry.steps.host_marks import close_host, host_in_work, open_host
from vmferry.steps.read import read_fleet

AWAY = "ops@mgmt2:4711:99"


def installation(fleet: SimulatedFleet, owner: str = "root@mgmt1:1:1") -> World:
    """Return a vmferry with a journal of its own."""
    return fleet.world(journal=SqlJournal("sqlite://", owner=owner))


def cordoned(world: World) -> dict[str, str]:
    """Return who has closed which host, as preflight reads it."""
    return {cordon.host: cordon.owner for cordon in read_fleet(world).cordons}


def test_a_host_is_emptied_by_one_at_a_time_and_stays_closed_for_all() -> None:
    fleet = SimulatedFleet.of("kvm1", "kvm2")
    first, second = installation(fleet, AWAY), installation(fleet)
    with host_in_work("kvm1", "new fans", first):
        assert cordoned(second) == {"kvm1": AWAY}
        holder = r"host kvm1: ops@mgmt2:4711:99 .*new fans, since .* until .* recover"
        with pytest.raises(AlreadyMoving, match=holder), host_in_work("kvm1", "mine", second):
            pytest.fail("two empty one host")
    assert cordoned(second) == {"kvm1": AWAY}
    with host_in_work("kvm1", "mine", second):  # nobody works on it any more
        assert cordoned(first) == {"kvm1": "root@mgmt1:1:1"}
    open_host("kvm1", first)
    assert cordoned(second) == {}


def test_who_opens_a_host_does_not_take_the_mark_of_one_who_is_at_work() -> None:
    fleet = SimulatedFleet.of("kvm1", "kvm2")
    first, second = installation(fleet, AWAY), installation(fleet)
    with host_in_work("kvm1", "new fans", first):
        close_host("kvm1", "by hand", second)
        open_host("kvm1", second)
        assert cordoned(second) == {"kvm1": AWAY}


DEAD = f"{this_owner().rpartition(':')[0]}:0"  # another process had our number before us


@pytest.mark.parametrize(("owner", "waits"), [(AWAY, True), (DEAD, False)], ids=["elsewhere", "here"])
def test_the_mark_of_a_dead_process_is_taken_over_at_once_here_and_after_its_lease_elsewhere(
    owner: str, waits: bool
) -> None:
    fleet = SimulatedFleet.of("kvm1", "kvm2")
    dead, second = installation(fleet, owner), installation(fleet)
    work = host_in_work("kvm1", "new fans", dead)
    work.__enter__()
    if waits:
        fleet.advance(LEASE_S + SKEW_S - 1)
        with pytest.raises(AlreadyMoving), host_in_work("kvm1", "mine", second):
            pytest.fail("its owner may live")
        fleet.advance(2)
        assert cordoned(second) == {}
    with host_in_work("kvm1", "mine", second):
        mark = parse_host_mark(fleet.hosts["kvm1"].system.mark)
        assert mark is not None and mark.owner == "root@mgmt1:1:1"


def test_a_host_that_takes_no_mark_is_emptied_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    fleet = SimulatedFleet.of("kvm1", "kvm2")
    fleet.inject(Fault(does=Blow.PERMANENT, op="swap_mark", times=9))
    with host_in_work("kvm1", "new fans", installation(fleet)):
        assert "kvm1 takes no mark" in caplog.text


def test_what_is_no_mark_closes_no_host_and_is_written_over() -> None:
    fleet = SimulatedFleet.of("kvm1", "kvm2")
    world = installation(fleet)
    fleet.set_system("kvm1", mark="{not ours")
    assert cordoned(world) == {}
    with host_in_work("kvm1", "new fans", world):
        assert cordoned(world) == {"kvm1": "root@mgmt1:1:1"}
