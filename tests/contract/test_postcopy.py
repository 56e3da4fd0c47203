"""Contract of Hypervisor: a job that is switched to post-copy, and one that is adopted and helped on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.contract_fleet import DEST, SOURCE, FleetUnderTest, WatcherGone, ignore, wait_for, words
from tests.contract.test_convergence import MOVED, refusing, restless, runs_at_the_source
from vmferry.errors import OutcomeUnknown, VmferryError
from vmferry.model.convergence import Action, Order, PolicyName, PostCopy, SetDowntime, Suspend
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.model.transport import Switch

RUNS_THERE = ("shut off (migrated)", "running (migrated)")
LADDER: list[Action] = [SetDowntime(limit_ms=400), SetDowntime(limit_ms=500)]


def splittable(fleet: FleetUnderTest, deadline_s: float = 60) -> MigrationPlan:
    """Plan the move of a VM that never converges, so that it may be switched to post-copy."""
    plan = restless(fleet, PolicyName.POST_COPY, deadline_s)
    return plan.model_copy(update={"switch": Switch.POSTCOPY})


def test_a_vm_that_never_converges_runs_at_the_destination_before_all_of_its_memory_is_there(
    fleet: FleetUnderTest,
) -> None:
    plan, orders = splittable(fleet), list[Order]()
    stats = fleet.world.hypervisor(SOURCE).migrate(plan, ignore, orders.append)
    assert words(fleet, plan.uuid) == RUNS_THERE
    assert [order.action for order in orders] == [*LADDER, PostCopy()]
    assert stats.data_processed_bytes > 0
    assert fleet.world.hypervisor(DEST).look(plan.uuid).is_persistent


def test_a_switch_that_cannot_be_written_down_is_not_made(fleet: FleetUnderTest) -> None:
    plan = splittable(fleet, deadline_s=15)
    with pytest.raises(OutcomeUnknown, match="within 15 s under policy post-copy"):
        fleet.world.hypervisor(SOURCE).migrate(plan, ignore, refusing(PostCopy))
    assert runs_at_the_source(fleet, plan.uuid)


def test_a_job_that_was_begun_without_post_copy_is_never_switched(fleet: FleetUnderTest) -> None:
    plan, orders = restless(fleet, PolicyName.POST_COPY, deadline_s=15), list[Order]()
    with pytest.raises(OutcomeUnknown, match="within 15 s"):
        fleet.world.hypervisor(SOURCE).migrate(plan, ignore, orders.append)
    assert [order.action for order in orders] == LADDER
    assert runs_at_the_source(fleet, plan.uuid)


def begin_and_die(fleet: FleetUnderTest, plan: MigrationPlan) -> None:
    """Begin a move, and end who watches it as soon as memory travels."""

    def die(stats: JobStats) -> None:
        if stats.data_processed_bytes > 0:
            raise WatcherGone

    with pytest.raises(WatcherGone):
        fleet.world.hypervisor(SOURCE).migrate(plan, die, lambda _order: None)
    assert fleet.world.hypervisor(SOURCE).look(plan.uuid).has_job


@pytest.mark.parametrize(
    ("make", "end", "last"),
    [
        (splittable, RUNS_THERE, PostCopy),
        (lambda fleet: restless(fleet, PolicyName.SUSPEND_IF_NEEDED), MOVED, Suspend),
    ],
    ids=["post-copy", "suspend"],
)
def test_the_job_of_a_process_that_died_is_helped_to_its_end(
    fleet: FleetUnderTest,
    make: Callable[[FleetUnderTest], MigrationPlan],
    end: tuple[str, str],
    last: type[Action],
) -> None:
    plan, orders = make(fleet), list[Order]()
    begin_and_die(fleet, plan)
    assert fleet.world.hypervisor(SOURCE).adopt(plan, ignore, orders.append, timeout_s=90)
    wait_for(fleet, lambda: words(fleet, plan.uuid) == end)
    assert last in {type(order.action) for order in orders}


def test_an_adopted_job_is_aborted_at_its_own_deadline_and_that_is_told(fleet: FleetUnderTest) -> None:
    plan, orders = restless(fleet, PolicyName.MINIMAL_DOWNTIME, deadline_s=12), list[Order]()
    begin_and_die(fleet, plan)
    assert fleet.world.hypervisor(SOURCE).adopt(plan, ignore, orders.append, timeout_s=90)
    assert "within 12 s under policy minimal-downtime" in orders[-1].reason
    assert runs_at_the_source(fleet, plan.uuid)


def test_an_adopted_job_that_outlives_the_patience_of_its_watcher_is_left_running(fleet: FleetUnderTest) -> None:
    plan = restless(fleet, PolicyName.MINIMAL_DOWNTIME)
    begin_and_die(fleet, plan)
    source = fleet.world.hypervisor(SOURCE)
    assert not source.adopt(plan, ignore, lambda _order: None, timeout_s=2)
    assert source.look(plan.uuid).has_job
    source.abort_job(plan.uuid)
    assert runs_at_the_source(fleet, plan.uuid)


def test_there_is_no_post_copy_to_resume_where_none_broke_off(fleet: FleetUnderTest) -> None:
    plan = splittable(fleet)
    with pytest.raises(VmferryError):
        fleet.world.hypervisor(SOURCE).resume_postcopy(plan, ignore)
    assert words(fleet, plan.uuid)[1] == "absent"
    assert runs_at_the_source(fleet, plan.uuid)
