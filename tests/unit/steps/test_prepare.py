"""The plan of one run: which policy and deadline it gets."""

from __future__ import annotations

import pytest

from tests.unit.builders import build_fleet, build_vm
from vmferry.model.convergence import PolicyName
from vmferry.model.host import FleetSnapshot
from vmferry.model.migration import MigrationPlan, MigrationRequest
from vmferry.planning.single import plan_vm
from vmferry.steps.prepare import make_plan

GIB_KIB = 2**20


def plan_with(host: PolicyName | None, request: PolicyName | None, timeout_s: float | None = None) -> MigrationPlan:
    """Plan the move of a VM of 4 GiB; `host` is what the inventory says of its host."""
    fleet = build_fleet([build_vm("a", memory_kib=4 * GIB_KIB)], dests=1)
    asked = MigrationRequest(vm="a", dest="dest-1", policy=request)
    snapshot = fleet if host is None else _with_policy(fleet, host)
    return make_plan(plan_vm(snapshot, asked), asked, snapshot, move_timeout_s=timeout_s)


def _with_policy(fleet: FleetSnapshot, policy: PolicyName) -> FleetSnapshot:
    source, *others = fleet.inventory.hosts
    hosts = (source.model_copy(update={"convergence": policy}), *others)
    return fleet.model_copy(update={"inventory": fleet.inventory.model_copy(update={"hosts": hosts})})


AUTO, LARGE = PolicyName.AUTO_CONVERGE, PolicyName.VERY_LARGE_VM


@pytest.mark.parametrize(
    ("host", "request_", "policy"),
    [(None, None, PolicyName.MINIMAL_DOWNTIME), (AUTO, None, AUTO), (AUTO, LARGE, LARGE), (None, LARGE, LARGE)],
)
def test_a_request_goes_before_the_source_hosts_policy(
    host: PolicyName | None, request_: PolicyName | None, policy: PolicyName
) -> None:
    assert plan_with(host, request_).policy is policy


def test_the_policy_sets_the_deadline_unless_a_setting_does() -> None:
    assert plan_with(None, None).deadline_s == 120 + 4 * 150
    assert plan_with(None, LARGE).deadline_s == 600 + 4 * 300
    assert plan_with(None, LARGE, timeout_s=90).deadline_s == 90
