"""A step whose data travels gets the run's share of its hosts' links, and nothing where no host has a total."""

from __future__ import annotations

import pytest

from tests.unit.steps.voyage import DEST, SCENARIOS, SOURCE, Voyage
from vmferry.model.disks import LiveDisk
from vmferry.model.host import Limits
from vmferry.model.migration import MigrationPlan
from vmferry.planning.link_register import share_of
from vmferry.ports import World
from vmferry.steps.link import on_the_link
from vmferry.steps.names import StepName


def limited(voyage: Voyage, **limits: Limits) -> World:
    """Return the voyage's world, its run open, with these limits."""
    voyage.world.journal.open_run(voyage.plan)
    inventory = voyage.fleet.inventory
    hosts = tuple(
        host.model_copy(update={"limits": limits[host.name]}) if host.name in limits else host
        for host in inventory.hosts
    )
    voyage.fleet.inventory = inventory.model_copy(update={"hosts": hosts})
    return voyage.process()


def cap(voyage: Voyage, world: World, step: StepName, plan: MigrationPlan | None = None) -> int | None:
    with on_the_link(plan or voyage.plan, step, world) as shared:
        assert shared.model_copy(update={"bandwidth_mib_s": (plan or voyage.plan).bandwidth_mib_s}) == (
            plan or voyage.plan
        )
        return shared.bandwidth_mib_s


def test_without_a_total_the_plan_stays_as_it_is() -> None:
    voyage = Voyage(SCENARIOS["live"])
    assert cap(voyage, limited(voyage), StepName.MOVE) is None


def test_a_move_alone_gets_all_of_it_and_leaves_the_link_at_its_end() -> None:
    voyage = Voyage(SCENARIOS["live"])
    world = limited(voyage, **{SOURCE: Limits(total_mib_s=100), DEST: Limits(total_mib_s=80)})
    assert cap(voyage, world, StepName.MOVE) == 80
    assert share_of(voyage.run) is None


@pytest.mark.parametrize("step", [StepName.RESERVE, StepName.STORAGE, StepName.VERIFY])
def test_steps_in_which_nothing_travels_have_no_share(step: StepName) -> None:
    voyage = Voyage(SCENARIOS["live"])
    world = limited(voyage, **{SOURCE: Limits(total_mib_s=100)})
    with on_the_link(voyage.plan, step, world) as plan:
        assert (plan, share_of(voyage.run)) == (voyage.plan, None)


def test_a_copy_gets_the_part_that_is_free_when_all_places_are_taken() -> None:
    voyage = Voyage(SCENARIOS["offline"])
    world = limited(voyage, **{SOURCE: Limits(total_mib_s=100, outgoing=4)})
    assert cap(voyage, world, StepName.STORAGE) == 25


def test_disks_that_are_mirrored_share_their_moves_part() -> None:
    voyage = Voyage(SCENARIOS["live"])
    world = limited(voyage, **{SOURCE: Limits(total_mib_s=100, outgoing=2)})
    disks = tuple(LiveDisk(target=t, source_path=f"/{t}", dest_path=f"/{t}", size_bytes=1) for t in ("vda", "vdb"))
    plan = voyage.plan.model_copy(update={"disks": disks})
    with on_the_link(plan, StepName.MOVE, world) as shared:
        # libvirt gives 25 to each disk; the memory after them may use 50.
        assert (shared.bandwidth_mib_s, share_of(voyage.run)) == (25, 50)


def test_the_runs_own_cap_holds_besides() -> None:
    voyage = Voyage(SCENARIOS["live"])
    world = limited(voyage, **{SOURCE: Limits(total_mib_s=100)})
    assert cap(voyage, world, StepName.MOVE, voyage.plan.model_copy(update={"bandwidth_mib_s": 7})) == 7
