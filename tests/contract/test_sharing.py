"""Contract of Hypervisor: a running job keeps to its share of a link, which changes while it runs."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.contract.contract_fleet import DEST, SOURCE, FleetUnderTest, ignore, plan_of
from vmferry.errors import OutcomeUnknown
from vmferry.model.convergence import LiftCap, Order, PolicyName, Suspend
from vmferry.model.host import Limits
from vmferry.model.migration import JobStats
from vmferry.planning.link_register import travelling
from vmferry.planning.link_shares import Travel

TOTAL_MIB_S = 12
ALONE_MS, DEADLINE_S = 7_000, 15


def mean_mib_s(samples: list[JobStats], from_ms: int, to_ms: int) -> float:
    """Return what was really sent per second between two moments of the job's own clock."""
    chosen = [sample for sample in samples if from_ms <= sample.elapsed_ms <= to_ms]
    first, last = chosen[0], chosen[-1]
    return (
        (last.data_processed_bytes - first.data_processed_bytes) / 2**20 / (last.elapsed_ms - first.elapsed_ms) * 1000
    )


def test_a_move_takes_over_the_share_of_one_that_ended(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract", is_restless=True)
    plan = plan_of(fleet, uuid, bandwidth_mib_s=TOTAL_MIB_S // 2, deadline_s=DEADLINE_S)
    limits = {SOURCE: Limits(total_mib_s=TOTAL_MIB_S)}
    samples: list[JobStats] = []
    with ExitStack() as other, travelling(Travel(run=plan.run, source=SOURCE, dest=DEST), limits):
        other.enter_context(travelling(Travel(run="another", source=SOURCE, dest=DEST), limits))

        def on_progress(sample: JobStats) -> None:
            samples.append(sample)
            if sample.elapsed_ms > ALONE_MS:
                other.close()

        with pytest.raises(OutcomeUnknown, match="did not finish within"):
            fleet.world.hypervisor(SOURCE).migrate(plan, on_progress)
    half = mean_mib_s(samples, 2_000, ALONE_MS)
    whole = mean_mib_s(samples, ALONE_MS + 1_500, DEADLINE_S * 1000)
    assert half < TOTAL_MIB_S / 2 * 1.15
    assert TOTAL_MIB_S * 0.8 < whole < TOTAL_MIB_S * 1.15


def test_a_vm_that_stands_still_is_not_held_back_by_its_share(fleet: FleetUnderTest) -> None:
    """The cap that a suspend lifts is not put on again, whatever the others do."""
    uuid = fleet.make_vm("contract", is_restless=True)
    plan = plan_of(fleet, uuid, bandwidth_mib_s=TOTAL_MIB_S // 2, deadline_s=60)
    plan = plan.model_copy(update={"policy": PolicyName.SUSPEND_IF_NEEDED})
    limits, orders = {SOURCE: Limits(total_mib_s=TOTAL_MIB_S)}, list[Order]()
    with ExitStack() as other, travelling(Travel(run=plan.run, source=SOURCE, dest=DEST), limits):
        other.enter_context(travelling(Travel(run="another", source=SOURCE, dest=DEST), limits))

        def on_order(order: Order) -> None:
            orders.append(order)
            if isinstance(order.action, Suspend):
                other.close()  # the share doubles at the worst moment

        stats = fleet.world.hypervisor(SOURCE).migrate(plan, ignore, on_order)
    assert [type(order.action) for order in orders][-2:] == [Suspend, LiftCap]
    assert stats.data_processed_bytes > 0
