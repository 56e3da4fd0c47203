"""Plan one VM's move: find the VM, choose the mode, judge."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vmferry.errors import InvalidInput
from vmferry.model.findings import Finding, PreflightReport, Severity
from vmferry.model.host import FleetSnapshot
from vmferry.model.migration import DomainChanges, MigrationMode, MigrationRequest
from vmferry.model.vm import DomainState, Vm
from vmferry.planning.constraints.hold import HardConstraints
from vmferry.planning.mode import choose_mode
from vmferry.rules.case import Case, Fleet, apply_changes
from vmferry.rules.judge import Judge
from vmferry.rules.policy import check_lifted


@dataclass(frozen=True)
class VmDecision:
    """What is known before a MigrationPlan is built; `report` may hold blockers."""

    case: Case
    mode: MigrationMode
    mode_reason: str
    report: PreflightReport

    @property
    def vm(self) -> Vm:
        """The VM as it is on the source."""
        return self.case.vm


Found = dict[str, Vm]  # host → the VM there


def plan_vm(snapshot: FleetSnapshot, request: MigrationRequest, arriving: Vm | None = None) -> VmDecision:
    """Find the VM, choose its mode and judge the move by all rules.

    `arriving` is what the operator's own XML (`request.xml`) defines, parsed by the caller; without it the
    typed changes apply. Raises InvalidInput with all problems at once: unknown hosts, VM not found or
    ambiguous, source is destination.
    """
    fleet = Fleet(snapshot)
    found = _find(fleet, request.vm)
    problems = _dest_problems(fleet, request)
    source, more = _choose_source(fleet, request, found)
    problems += more
    if source is not None and source == request.dest:
        problems.append(f"dest: vm {request.vm} is on {source} already; name another host")
    problems += [f"lift: {problem}" for problem in check_lifted(request.lift)]
    if source is not None:
        problems += _unknown_changes(found[source], request.changes)
    if problems or source is None:
        raise InvalidInput(f"vm {request.vm}: " + "; ".join(problems), problems=tuple(problems), vm=request.vm)
    vm = found[source]
    mode, reason = choose_mode(vm, request.mode)
    arriving = arriving or apply_changes(vm, request.changes)
    case = fleet.case(vm, source, request.dest, mode, arriving, request.policy)
    return VmDecision(case, mode, reason, Judge(fleet, request.lift).check(case))


@dataclass(frozen=True)
class _Going:
    vm: str
    uuid: str
    dest: str


def warned_of_constraints(decision: VmDecision, snapshot: FleetSnapshot) -> VmDecision:
    """Return the decision with a warning of the hard constraints that the move would break.

    It is no block: a person has asked for this VM and this host.
    """
    vm, report = decision.vm, decision.report
    try:
        broken = HardConstraints.of(snapshot).broken([_Going(vm.name, str(vm.uuid), report.dest)])
    except InvalidInput as error:
        broken = str(error)
    if not broken:
        return decision
    message = f"vm {vm.name}: on {report.dest} it breaks what is to hold: {broken}; see `constraints` in the inventory"
    finding = Finding(rule="constraints", severity=Severity.WARN, message=message, source="inventory, domain metadata")
    return replace(decision, report=report.model_copy(update={"findings": (*report.findings, finding)}))


def _unknown_changes(vm: Vm, changes: DomainChanges) -> list[str]:
    """Name what is to be changed and is not there: a misspelt disk would be copied to its old path."""
    has = {
        "disk": {disk.target for disk in vm.disks if disk.target},
        "bridge": {nic.source for nic in vm.nics if nic.kind == "bridge" and nic.source},
        "network": {nic.source for nic in vm.nics if nic.kind == "network" and nic.source},
    }
    asked = {"disk": changes.disk_sources, "bridge": changes.bridges, "network": changes.networks}
    return [
        f"{kind}: {vm.name} has no {kind} {name}; it has {', '.join(sorted(has[kind])) or 'none'} "
        f"(see `virsh {'domblklist' if kind == 'disk' else 'domiflist'} {vm.name}`)"
        for kind, names in asked.items()
        for name in names
        if name not in has[kind]
    ]


def locate_vm(fleet: Fleet, vm: str) -> tuple[str, Vm]:
    """Return the VM of this name or UUID and its host: the only one, or the only one where it is active.

    Raises InvalidInput when no host has it, or when several do and which is meant cannot be told.
    """
    found = _find(fleet, vm)
    source, problems = _only_source(fleet, vm, found) if found else (None, [f"no VM {vm}: {_not_found(fleet)}"])
    if source is None:
        raise InvalidInput("; ".join(problems), problems=tuple(problems), vm=vm)
    return source, found[source]


def _find(fleet: Fleet, vm: str) -> Found:
    seen = {name: side.facts.find_vm(vm) for name, side in fleet.sides.items()}
    return {name: there for name, there in seen.items() if there is not None}


def _unread(fleet: Fleet) -> str:
    """Say which hosts were not searched; empty when all were."""
    why = {u.host: u.reason for u in fleet.snapshot.unreachable}
    unread = [name for name in fleet.snapshot.inventory.names() if name not in fleet.sides]
    return ", ".join(f"{name} ({why.get(name, 'not read')})" for name in unread)


def _host_problem(fleet: Fleet, field: str, name: str) -> list[str]:
    names = fleet.snapshot.inventory.names()
    if name not in names:
        return [f"{field}: no host {name} in the inventory ({', '.join(names)})"]
    if name not in fleet.sides:
        why = next((u.reason for u in fleet.snapshot.unreachable if u.host == name), "it was not asked")
        return [f"{field}: {name} was not read: {why}; see `vmferry hosts`"]
    return []


def _dest_problems(fleet: Fleet, request: MigrationRequest) -> list[str]:
    return _host_problem(fleet, "dest", request.dest)


def _choose_source(fleet: Fleet, request: MigrationRequest, found: Found) -> tuple[str | None, list[str]]:
    """Return where the VM is to be taken from, or problems."""
    if request.source is not None:
        problems = _host_problem(fleet, "source", request.source)
        if not problems and request.source not in found:
            elsewhere = f"it is on {', '.join(found)}" if found else _not_found(fleet)
            problems = [f"source: no VM {request.vm} on {request.source}; {elsewhere}"]
        return (None if problems else request.source), problems
    if not found:
        return None, [f"vm: no VM {request.vm}: {_not_found(fleet)}"]
    return _only_source(fleet, request.vm, found)


def _not_found(fleet: Fleet) -> str:
    unread = _unread(fleet)
    also = f"; not searched: {unread}" if unread else ""
    return f"searched {', '.join(fleet.sides) or 'no host'}{also}; see `virsh list --all`"


def _only_source(fleet: Fleet, name: str, found: Found) -> tuple[str | None, list[str]]:
    """Return the one host that is meant: the only one, or the only one where the VM is active."""
    where = ", ".join(f"{host} ({vm.state}, {vm.uuid})" for host, vm in found.items())
    active = [host for host, vm in found.items() if vm.is_active]
    uuids = {vm.uuid for vm in found.values()}
    if len(found) == 1:
        return next(iter(found)), []
    if len(uuids) > 1:
        return None, [f"vm: several VMs are named {name}: {where}; name the source or give the UUID"]
    if len(active) > 1 and (moving := _is_moving(fleet, found)):
        return None, [f"vm: {name} {moving} ({where}); wait for its end"]
    if len(active) > 1:
        return None, [
            f"ALARM: vm {name} is active on several hosts: {where}; two copies may write to one disk; start "
            "and resume nothing, look at every host, then run `vmferry recover`"
        ]
    if len(active) == 1:
        return active[0], []
    return None, [f"vm: {name} is defined on several hosts, active on none: {where}; name the source"]


def _is_moving(fleet: Fleet, found: Found) -> str:
    """Say which move explains a VM that is active on two hosts; empty when none does."""
    uuid = str(next(iter(found.values())).uuid)
    if run := fleet.snapshot.open_runs.get(uuid):
        return f"moves in run {run}; `vmferry recover` settles it when its process has died"
    jobs = [host for host, vm in found.items() if vm.has_active_job and vm.state is not DomainState.PAUSED]
    is_rest_waiting = all(vm.state is DomainState.PAUSED for host, vm in found.items() if host not in jobs)
    return f"is being migrated from {jobs[0]} by somebody else" if len(jobs) == 1 and is_rest_waiting else ""
