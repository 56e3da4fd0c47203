"""Contract of Hypervisor: what a policy does to the job of a VM that dirties more than the bandwidth carries."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from tests.contract.contract_fleet import DEST, SOURCE, FleetUnderTest, ignore, plan_of, wait_for, words
from vmferry.errors import OutcomeUnknown, PermanentError
from vmferry.model.convergence import Action, LiftCap, Order, PolicyName, SetDowntime, Suspend, Throttled
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.model.vm import DomainState

MOVED = ("shut off (migrated)", "paused (user)")
CAP_MIB_S = 6


def restless(fleet: FleetUnderTest, policy: PolicyName, deadline_s: float = 60) -> MigrationPlan:
    """Plan the move of a VM that never converges at CAP_MIB_S."""
    uuid = fleet.make_vm("contract", is_restless=True)
    plan = plan_of(fleet, uuid, bandwidth_mib_s=CAP_MIB_S, deadline_s=deadline_s)
    return plan.model_copy(update={"policy": policy})


def runs_at_the_source(fleet: FleetUnderTest, uuid: UUID) -> bool:
    wait_for(fleet, lambda: words(fleet, uuid)[1] == "absent")
    seen = fleet.world.hypervisor(SOURCE).look(uuid)
    return (seen.state, seen.has_job) == (DomainState.RUNNING, False)


def test_a_vm_that_never_converges_is_suspended_uncapped_and_arrives(fleet: FleetUnderTest) -> None:
    plan, orders = restless(fleet, PolicyName.SUSPEND_IF_NEEDED), list[Order]()
    samples: list[JobStats] = []
    fleet.world.hypervisor(SOURCE).migrate(plan, samples.append, orders.append)
    assert words(fleet, plan.uuid) == MOVED
    acts: list[Action] = [SetDowntime(limit_ms=400), SetDowntime(limit_ms=500), Suspend(), LiftCap()]
    assert [order.action for order in orders] == acts
    assert max(sample.iteration for sample in samples) >= orders[-1].iteration > 4


def test_a_throttled_vm_arrives_without_a_suspend(fleet: FleetUnderTest) -> None:
    plan, orders = restless(fleet, PolicyName.AUTO_CONVERGE, deadline_s=120), list[Order]()
    fleet.world.hypervisor(SOURCE).migrate(plan, ignore, orders.append)
    assert words(fleet, plan.uuid) == MOVED
    assert {type(order.action) for order in orders} <= {SetDowntime, Throttled}
    percents = [order.action.percent for order in orders if isinstance(order.action, Throttled)]
    assert percents[0] == 50 and percents == sorted(set(percents))


def test_minimal_downtime_aborts_at_the_deadline(fleet: FleetUnderTest) -> None:
    plan = restless(fleet, PolicyName.MINIMAL_DOWNTIME, deadline_s=12)
    with pytest.raises(OutcomeUnknown, match="within 12 s under policy minimal-downtime"):
        fleet.world.hypervisor(SOURCE).migrate(plan, ignore, lambda _order: None)
    assert runs_at_the_source(fleet, plan.uuid)


def test_without_somebody_who_writes_it_down_nothing_is_done_until_the_deadline(fleet: FleetUnderTest) -> None:
    plan = restless(fleet, PolicyName.SUSPEND_IF_NEEDED, deadline_s=15)
    with pytest.raises(OutcomeUnknown, match="within 15 s"):
        fleet.world.hypervisor(SOURCE).migrate(plan, ignore)
    assert runs_at_the_source(fleet, plan.uuid)


def refusing(kind: type[Action]) -> Callable[[Order], None]:
    def on_order(order: Order) -> None:
        if isinstance(order.action, kind):
            raise PermanentError("not now")

    return on_order


def test_an_order_that_cannot_be_written_down_is_not_carried_out(fleet: FleetUnderTest) -> None:
    plan = restless(fleet, PolicyName.SUSPEND_IF_NEEDED, deadline_s=15)
    with pytest.raises(OutcomeUnknown, match="within 15 s"):
        fleet.world.hypervisor(SOURCE).migrate(plan, ignore, refusing(Suspend))
    assert runs_at_the_source(fleet, plan.uuid)


def test_a_vm_that_was_suspended_runs_again_when_its_move_is_aborted(fleet: FleetUnderTest) -> None:
    """The cap stays, so that there is time to abort: libvirt resumes the source although it was suspended."""
    plan, source = restless(fleet, PolicyName.SUSPEND_IF_NEEDED), fleet.world.hypervisor(SOURCE)
    seen: list[tuple[str, str]] = []

    def abort_when_it_stands_still(_stats: JobStats) -> None:
        if not seen and source.look(plan.uuid).state is DomainState.PAUSED:
            seen.append(words(fleet, plan.uuid))
            source.abort_job(plan.uuid)

    with pytest.raises(OutcomeUnknown):
        source.migrate(plan, abort_when_it_stands_still, refusing(LiftCap))
    assert seen == [("paused (migrating)", "paused (migrating)")]
    assert runs_at_the_source(fleet, plan.uuid)


def test_a_vm_that_its_user_paused_is_not_touched(fleet: FleetUnderTest) -> None:
    uuid, orders = fleet.make_vm("contract", state=DomainState.PAUSED), list[Order]()
    plan = plan_of(fleet, uuid).model_copy(update={"policy": PolicyName.SUSPEND_IF_NEEDED})
    fleet.world.hypervisor(SOURCE).migrate(plan, ignore, orders.append)
    assert words(fleet, uuid) == MOVED and orders == []
    assert fleet.world.hypervisor(DEST).look(uuid).state is DomainState.PAUSED
