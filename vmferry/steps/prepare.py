"""From a judged request to the plan that the steps follow: pure, no host is touched."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from vmferry.domxml.read import parse_vm
from vmferry.model.convergence import POLICIES, Policy
from vmferry.model.disks import LiveDisk
from vmferry.model.host import FleetSnapshot, Host
from vmferry.model.migration import MigrationPlan, MigrationRequest
from vmferry.model.vm import Vm
from vmferry.planning.copying import file_copies
from vmferry.planning.forecast import forecast_move
from vmferry.planning.link_shares import least_grant
from vmferry.planning.mirroring import backing_copies, live_disks, mirror_deadline_s
from vmferry.planning.single import VmDecision
from vmferry.planning.switching import choose_switch
from vmferry.planning.transport import choose_transport
from vmferry.rules.case import Case
from vmferry.rules.room import hugepages_needed_kib, memory_needed_kib


def new_run_id(now: datetime) -> str:
    """Return an id that sorts by time and is safe in file names."""
    return f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:8]}"


def arriving_of(request: MigrationRequest) -> Vm | None:
    """Return the VM that the operator's own XML defines; None without one. Raises InvalidInput for broken XML."""
    return parse_vm(request.xml) if request.xml is not None else None


def make_plan(
    decision: VmDecision, request: MigrationRequest, snapshot: FleetSnapshot, *, move_timeout_s: float | None = None
) -> MigrationPlan:
    """Return the plan of one run; the decision's report must hold no blocker."""
    case, vm = decision.case, decision.vm
    source, dest = case.source.host, case.dest.host
    policy = POLICIES[request.policy or source.convergence]
    transport, (switch, switch_reason) = choose_transport(case, policy), choose_switch(case, policy)
    disks, bandwidth = live_disks(case), _bandwidth(request, source, dest)
    plan = MigrationPlan(
        run=new_run_id(snapshot.taken_at),
        vm=vm.name,
        uuid=vm.uuid,
        source=source.name,
        dest=dest.name,
        mode=decision.mode,
        mode_reason=decision.mode_reason,
        state_before=vm.state,
        is_persistent=vm.is_persistent,
        is_autostart=vm.is_autostart,
        memory_kib=vm.memory_kib,
        **_reserved(case),
        changes=request.changes,
        given_xml=request.xml,
        given_persistent_xml=request.persistent_xml,
        files=(*file_copies(case), *backing_copies(case)),
        disks=disks,
        copy_method=request.copy_method,
        encryption=transport.encryption,
        transport=transport,
        switch=switch,
        switch_reason=switch_reason,
        peer_uri=dest.peer_uri,
        migration_uri=f"tcp://{_bracketed(dest.migration_address)}",
        bandwidth_mib_s=bandwidth,
        policy=policy.name,
        deadline_s=move_timeout_s or _deadline_s(case, policy, disks, bandwidth),
        warnings=decision.report.warnings,
    )
    return plan.model_copy(update={"forecast": forecast_move(case, plan)})


def _reserved(case: Case) -> dict[str, Any]:
    """Return what the VM takes on the destination from the start of its run: nothing when it is shut off."""
    vm = case.vm
    if not vm.is_active:
        return {"reserved_kib": 0}
    return {
        "reserved_kib": memory_needed_kib(vm),
        "reserved_vcpus": vm.vcpus,
        "reserved_hugepages_kib": hugepages_needed_kib(vm, case.dest.facts),
    }


def _deadline_s(case: Case, policy: Policy, disks: Sequence[LiveDisk], bandwidth: int | None) -> float:
    """Return when the move is over, one way or the other; disks that are mirrored keep the speed they begin with."""
    least = least_grant(case.source.host, case.dest.host, bandwidth)
    return policy.deadline_s(case.vm.memory_kib) + mirror_deadline_s(disks, policy, least)


def _bandwidth(request: MigrationRequest, source: Host, dest: Host) -> int | None:
    caps = (request.bandwidth_mib_s, source.limits.bandwidth_mib_s, dest.limits.bandwidth_mib_s)
    return min((cap for cap in caps if cap is not None), default=None)


def _bracketed(address: str) -> str:
    """IPv6 addresses stand in brackets in a URI."""
    return f"[{address}]" if ":" in address else address
