"""consolidate-fleet on the simulated fleet: emptied where it is worth it, and nothing done where it is not."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.consolidate_fleet import consolidate_fleet
from flows.return_vms import return_vms
from flows.sample_usage import sample_usage
from tasks.optimize import closed_for_arrivals
from tests.flows.yard import Yard
from tests.prefect_side import PrefectServer, run_id
from vmferry.adapters.simulated import Blow
from vmferry.errors import AlreadyMoving
from vmferry.model.host import Energy, Optimization, TakesPart
from vmferry.model.journal import RunState
from vmferry.model.optimization import OptimizationReport
from vmferry.model.options import CautionOptions, WindowOptions
from vmferry.model.returning import Returning
from vmferry.model.vm import DomainState
from vmferry.steps.host_marks import host_in_work

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]


def observe(yard: Yard, minutes: int = 90) -> None:
    """Let the fleet be sampled every five minutes."""
    with yard.process("sampler") as world:
        for _ in range(minutes // 5 + 1):
            for host in yard.fleet.hosts:
                world.usage.take(world.hypervisor(host).read_counters())
            world.clock.sleep(300)


def consolidate(yard: Yard, **given: Any) -> State[Any]:
    with yard.process():
        return consolidate_fleet(return_state=True, **given)


def report_of(state: State[Any]) -> OptimizationReport:
    found = state.result()
    assert isinstance(found, OptimizationReport)
    return found


def set_inventory(yard: Yard, hosts: dict[str, dict[str, Any]] | None = None, **given: Any) -> None:
    entries = tuple(h.model_copy(update=(hosts or {}).get(h.name, {})) for h in yard.fleet.inventory.hosts)
    optimization = Optimization.model_validate({"spare_hosts": 0, **given})
    yard.fleet.inventory = yard.fleet.inventory.model_copy(update={"hosts": entries, "optimization": optimization})


def fill(yard: Yard, load_cpus: float = 0.2) -> None:
    """Two VMs per host, quiet ones."""
    for number, host in enumerate(("kvm1", "kvm1", "kvm2", "kvm2", "kvm3", "kvm3")):
        yard.add(f"vm{number}", host, vcpus=2, load_cpus=load_cpus)


def test_quiet_vms_are_packed_and_the_emptied_hosts_are_closed(yard: Yard) -> None:
    fill(yard)
    set_inventory(yard)
    observe(yard)
    report = report_of(consolidate(yard))
    assert len(report.emptied) == 2 and report.switch_off == report.emptied
    assert all(yard.names_on(host) == set() for host in report.emptied)
    assert {cordon.host for cordon in yard.journal.cordons()} == set(report.emptied) == set(report.cordoned)
    assert report.decision.worth is not None and report.decision.worth.net_wh > 1500
    assert "They stay on" in report.power
    assert yard.is_sound() and yard.fleet.down() == ()


@pytest.mark.parametrize(
    ("bounds", "moved", "why"),
    [
        ({"window": WindowOptions(length_s=20)}, 2, "lies outside of the window"),
        ({"caution": CautionOptions(max_moves=2)}, 2, "the cap of 2 moves per run is reached"),
        ({"caution": CautionOptions(max_downtime_ms=1)}, 1, "more than 1 ms"),
    ],
    ids=["window", "cap", "downtime"],
)
def test_it_keeps_within_the_bounds_of_a_run(yard: Yard, bounds: dict[str, Any], moved: int, why: str) -> None:
    fill(yard)
    set_inventory(yard)
    observe(yard)
    state = consolidate(yard, max_parallel=1, **bounds)
    assert state.is_failed() and why in str(state.message), state.message
    assert len(yard.runs()) == moved and yard.is_sound()


def test_vms_that_left_for_the_night_return_in_the_morning(yard: Yard) -> None:
    fill(yard)
    set_inventory(yard)
    observe(yard)
    before = {host: yard.names_on(host) for host in ("kvm1", "kvm2", "kvm3")}
    report = report_of(consolidate(yard, reason="night"))
    assert {home.home for home in yard.journal.homes()} == set(report.emptied)
    with yard.process():
        states = [return_vms(host, returning=Returning.AUTO, return_state=True) for host in report.emptied]
    assert [state.is_completed() for state in states] == [True, True], [state.message for state in states]
    assert {host: yard.names_on(host) for host in before} == before
    assert yard.journal.cordons() == () and yard.journal.homes() == ()
    assert yard.is_sound()


def test_the_dearest_host_is_emptied_first(yard: Yard) -> None:
    fill(yard)
    set_inventory(
        yard, {"kvm2": {"energy": Energy(idle_watts=300, max_watts=500)}, "kvm3": {"energy": Energy(idle_watts=50)}}
    )
    observe(yard)
    report = report_of(consolidate(yard, dry_run=True))
    assert report.decision.emptied == ("kvm2", "kvm1")
    assert report.decision.assumed == ("kvm1",)


def test_busy_vms_stay_where_they_are(yard: Yard) -> None:
    """Six VMs that use 5 of 16 CPUs each: two of them fit on a host, not four."""
    for number, host in enumerate(("kvm1", "kvm1", "kvm2", "kvm2", "kvm3", "kvm3")):
        yard.add(f"vm{number}", host, vcpus=6, load_cpus=5.5)
    set_inventory(yard)
    observe(yard)
    report = report_of(consolidate(yard))
    assert (report.outcomes, report.reason) == ((), "nothing worth doing: no host can be emptied")
    assert yard.runs() == () and yard.journal.cordons() == ()


def test_what_was_never_observed_counts_with_all_its_vcpus(yard: Yard) -> None:
    for number, host in enumerate(("kvm1", "kvm2", "kvm3")):
        yard.add(f"vm{number}", host, vcpus=12)
    set_inventory(yard)
    assert report_of(consolidate(yard)).decision.plan.moves == ()
    observe(yard)
    assert len(report_of(consolidate(yard, dry_run=True)).decision.emptied) == 2


def test_nothing_is_done_where_it_brings_too_little_and_the_figures_are_told(yard: Yard) -> None:
    fill(yard)
    set_inventory(yard)
    observe(yard)
    state = consolidate(yard, min_gain_wh=5000)
    assert state.is_completed()
    assert "nothing worth doing: 1.6 kWh net in 8 h for 4 moves, less than 5.0 kWh" in report_of(state).reason
    assert (yard.runs(), yard.journal.cordons()) == ((), ())


def test_a_dry_run_touches_nothing_and_tells_moves_and_worth(yard: Yard, prefect: PrefectServer) -> None:
    fill(yard)
    set_inventory(yard)
    observe(yard)
    files = yard.files()
    state = consolidate(yard, dry_run=True)
    report = report_of(state)
    assert (yard.writes(), yard.runs(), yard.journal.cordons()) == ((), (), ())
    assert yard.files() == files
    assert len(report.decision.plan.moves) == 4
    assert all(move.forecast is not None for move in report.decision.plan.moves)
    (artifact,) = prefect.artifacts(run_id(state))
    assert "## Worth" in str(artifact.data) and "## Moves" in str(artifact.data)


def test_vms_that_moved_today_and_excluded_ones_are_left_alone(yard: Yard) -> None:
    fill(yard)
    set_inventory(yard, exclude_vms=("vm0",))
    observe(yard)
    first = report_of(consolidate(yard))
    assert "kvm1" not in first.emptied and "vm0 is excluded" in str(first.decision.left_alone)
    with yard.process() as world:
        for host in first.emptied:
            world.journal.uncordon(host)
    again = report_of(consolidate(yard))
    assert again.decision.plan.moves == ()
    assert "rests for 12 h" in str(again.decision.left_alone)


def test_a_host_that_takes_no_part_is_neither_emptied_nor_filled(yard: Yard) -> None:
    fill(yard)
    set_inventory(yard, {"kvm2": {"takes_part": TakesPart(consolidation=False)}})
    observe(yard)
    report = report_of(consolidate(yard))
    assert yard.names_on("kvm2") == {"vm2", "vm3"}
    assert len(report.emptied) == 1


def test_the_reserve_and_the_least_number_stay_on(yard: Yard) -> None:
    fill(yard)
    set_inventory(yard, spare_hosts=1)
    observe(yard)
    report = report_of(consolidate(yard))
    assert (len(report.emptied), len(report.switch_off), len(report.reserve)) == (2, 1, 1)


def test_a_host_whose_vm_stayed_is_opened_again(yard: Yard) -> None:
    fill(yard)
    set_inventory(yard)
    observe(yard)
    yard.break_at(Blow.ABORTED, op="migrate", phase="memory", nth=1)
    state = consolidate(yard, max_parallel=1)
    assert state.is_failed() and "1 rolled back" in str(state.message)
    left = [name for name in ("kvm1", "kvm2", "kvm3") if yard.names_on(name)]
    assert len(left) == 2
    assert {cordon.host for cordon in yard.journal.cordons()} == {"kvm1", "kvm2", "kvm3"} - set(left)
    assert yard.is_sound()


def test_a_vm_that_is_shut_off_leaves_too_or_its_host_is_not_empty(yard: Yard) -> None:
    yard.add("busy", "kvm1", load_cpus=0.5)
    off = yard.add_local("off", DomainState.SHUTOFF, "kvm2")
    set_inventory(yard)
    observe(yard)
    report = report_of(consolidate(yard))
    assert report.emptied == ("kvm2",) or report.emptied == ("kvm1",)
    assert yard.state_on(yard.where(off)[0], off) is DomainState.SHUTOFF
    assert all(run.state is RunState.CLOSED for run in yard.runs())
    assert yard.is_sound()


def test_where_somebody_else_empties_a_host_none_stays_closed(yard: Yard) -> None:
    fill(yard)
    with (
        yard.process("other") as other,
        host_in_work("kvm2", "new fans", other),
        yard.process(),
        pytest.raises(AlreadyMoving, match="new fans"),
        closed_for_arrivals(("kvm1", "kvm2"), "consolidation"),
    ):
        pass
    assert yard.journal.cordons() == ()
    with yard.process() as world:
        assert world.tools("kvm1").read_system().mark == ""


def test_sampling_is_a_flow_of_its_own_that_names_hosts_without_an_answer(yard: Yard) -> None:
    fill(yard)
    yard.fleet.kill_libvirtd("kvm2")
    with yard.process() as world:
        assert sample_usage(return_state=True).message == "2 hosts, 4 VMs: 0 samples; did not answer: kvm2"
        world.clock.sleep(300)
        state = sample_usage(return_state=True)
    assert (state.name, state.message) == ("With findings", "2 hosts, 4 VMs: 6 samples; did not answer: kvm2")
