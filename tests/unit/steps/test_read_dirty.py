"""What a forecast is made from, read beside the pairs on the simulated fleet."""

from __future__ import annotations

from uuid import UUID

from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import SimulatedFleet
from vmferry.model.host import FleetSnapshot
from vmferry.model.migration import MigrationOutcome, MigrationRequest, OutcomeKind
from vmferry.planning.single import plan_vm
from vmferry.ports import World
from vmferry.steps.forward import run_step
from vmferry.steps.names import StepName
from vmferry.steps.prepare import make_plan
from vmferry.steps.read import read_fleet
from vmferry.steps.read_dirty import measure_rates, read_ways
from vmferry.steps.recover import close


def read(world: World) -> FleetSnapshot:
    snapshot = read_fleet(world)
    facts = snapshot.facts("a")
    assert facts is not None
    return read_ways(world, snapshot, "a", ["b"], facts.vms)


def move(world: World, vm: UUID) -> MigrationOutcome:
    snapshot, request = read(world), MigrationRequest(vm=str(vm), source="a", dest="b")
    plan = make_plan(plan_vm(snapshot, request), request, snapshot)
    world.journal.open_run(plan)
    for step in StepName:
        run_step(plan.run, step, world)
    return close(world.journal.find(plan.run), world, OutcomeKind.MOVED)


def test_running_vms_are_measured_and_others_are_not() -> None:
    fleet = SimulatedFleet.of("a", "b")
    world = fleet.world(journal=SqlJournal("sqlite://"))
    busy = fleet.add_vm("a", "busy", dirty_mib_s=30, working_set_mib=512)
    small = fleet.add_vm("a", "small", dirty_mib_s=100, working_set_mib=40)
    idle = fleet.add_vm("a", "idle")
    fleet.add_vm("b", "elsewhere", dirty_mib_s=30)
    snapshot = read(world)
    facts = snapshot.facts("a")
    assert facts is not None and set(facts.dirty) == {str(busy), str(small), str(idle)}
    assert (facts.dirty[str(busy)].mib_s, facts.dirty[str(busy)].working_set_mib) == (30, None)
    assert (facts.dirty[str(small)].mib_s, facts.dirty[str(small)].working_set_mib) == (40, 40)
    assert facts.dirty[str(idle)].mib_s == 0
    assert snapshot.pair("a", "b") is not None


def test_a_libvirt_that_is_too_old_leaves_the_rate_unknown_and_the_move_allowed() -> None:
    fleet = SimulatedFleet.of("a", "b")
    world = fleet.world(journal=SqlJournal("sqlite://"))
    fleet.hosts["a"].libvirt_version = 6_000_000
    vm = fleet.add_vm("a", "old", dirty_mib_s=30)
    facts = read(world).facts("a")
    assert facts is not None
    rate = facts.dirty[str(vm)]
    assert rate.mib_s is None and "7.2.0" in rate.detail


def test_a_host_that_is_lost_meanwhile_leaves_all_rates_unknown() -> None:
    fleet = SimulatedFleet.of("a", "b")
    world = fleet.world(journal=SqlJournal("sqlite://"))
    vm = fleet.add_vm("a", "lost")
    facts = read_fleet(world).facts("a")
    fleet.cut_power("a")
    assert facts is not None
    rate = measure_rates(world, "a", facts.vms)[vm]
    assert rate.mib_s is None and rate.detail != ""


def test_what_a_move_reached_is_known_of_the_next_one_and_stands_in_its_outcome() -> None:
    fleet = SimulatedFleet.of("a", "b")
    world = fleet.world(journal=SqlJournal("sqlite://"))
    first, second = fleet.add_vm("a", "first", memory_mib=2048), fleet.add_vm("a", "second", memory_mib=2048)
    outcome = move(world, first)
    pair = read(world).pair("a", "b")
    assert pair is not None
    (past,) = pair.past
    assert past.mib_s > 100 and past.moves == 1
    outcome = move(world, second)
    assert outcome.forecast is not None and "as the last move" in outcome.forecast.basis
    assert outcome.forecast.seconds is not None and outcome.move_seconds is not None
    assert abs(outcome.forecast.seconds - outcome.move_seconds) < 0.15 * outcome.move_seconds
    assert outcome.notes[0].startswith("forecast ") and ", measured " in outcome.notes[0]
