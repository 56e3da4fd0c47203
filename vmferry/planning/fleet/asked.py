"""What a request means on a snapshot: who must leave, who may move, which hosts may receive; or all that is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.errors import InvalidInput
from vmferry.model.constraint import Constraint, ConstraintKind, FleetState
from vmferry.model.host import Limits
from vmferry.model.plan import PlanRequest, Purpose
from vmferry.planning.constraints.check import members_of
from vmferry.planning.fleet.problem import Scope
from vmferry.rules.case import Fleet
from vmferry.rules.policy import check_lifted

__all__ = ["Limits", "check_request", "return_constraints", "scope_of"]


def check_request(fleet: Fleet, request: PlanRequest, state: FleetState) -> None:
    """Raise InvalidInput with everything that is wrong with the request, at once; unknown names, nothing to plan."""
    problems = [*_host_problems(fleet, request), *_vm_problems(request, state)]
    problems += [f"lift: {problem}" for problem in check_lifted(request.lift)]
    problems += [f"costs: {host} costs {cost:g}: below 0" for host, cost in request.costs.items() if cost < 0]
    for key, (milli, mib) in request.expected.items():
        if milli < 0 or mib < 0:
            problems.append(f"expected: vm {key} is to use {milli} thousandths of a vCPU and {mib} MiB: below 0")
    if problems:
        raise InvalidInput(f"plan to {request.purpose}: " + "; ".join(problems), problems=tuple(problems))


def _host_problems(fleet: Fleet, request: PlanRequest) -> Iterator[str]:
    names = fleet.snapshot.inventory.names()
    known = ", ".join(names) or "none"
    if not fleet.sides:
        yield "hosts: no host was read; see `vmferry hosts`"
    fields = {"hosts": request.hosts, "dests": request.dests, "costs": tuple(request.costs)}
    fields["homes"] = tuple(dict.fromkeys(request.homes.values()))
    for field, named in fields.items():
        for host in named:
            if host not in names:
                yield f"{field}: no host {host} in the inventory ({known})"
    if request.purpose is Purpose.EVACUATE:
        if not request.hosts:
            yield "hosts: name the host that is to be emptied"
        lost = {u.host: u.reason for u in fleet.snapshot.unreachable}
        for host in (h for h in request.hosts if h in names and h not in fleet.sides):
            yield f"hosts: {host} was not read: {lost.get(host, 'it was not asked')}; its list of VMs is needed"
        for host in set(request.dests) & set(request.hosts):
            yield f"dests: {host} is a host to be emptied"


def _vm_problems(request: PlanRequest, state: FleetState) -> Iterator[str]:
    for field, named in (("vms", request.vms), ("homes", tuple(request.homes))):
        for vm in named:
            if not members_of((vm,), state):
                yield f"{field}: no VM {vm} on the hosts that were read; see `virsh list --all`"
    if request.purpose is Purpose.RELOCATE and not (request.dests and (request.vms or request.hosts)):
        yield "relocate: name the VMs, or the hosts that they leave, and the hosts that may take them"
    if request.purpose is Purpose.RETURN and not request.homes:
        yield "homes: name the VMs and the hosts that they came from"


def scope_of(fleet: Fleet, request: PlanRequest, state: FleetState, *, is_wide: bool) -> Scope:
    """Return who must leave, may move and may receive; wide: everybody may move to make room."""
    everyone = frozenset(state.vms)
    leaving = _leaving(request, state)
    dests = request.dests or tuple(fleet.sides)
    if request.purpose is Purpose.EVACUATE:
        dests = tuple(host for host in dests if host not in request.hosts)
    elif request.purpose is Purpose.RETURN:
        dests = tuple(dict.fromkeys(request.homes.values()))
    is_placing = request.purpose not in (Purpose.CONSOLIDATE, Purpose.BALANCE)
    if is_wide and is_placing and not request.dests:
        emptied = request.hosts if request.purpose is Purpose.EVACUATE else ()
        dests = tuple(host for host in fleet.sides if host not in emptied)
    movers = everyone if is_wide or not is_placing else leaving
    return Scope(movers, leaving, tuple(host for host in dests if host in fleet.sides))


def _leaving(request: PlanRequest, state: FleetState) -> frozenset[str]:
    match request.purpose:
        case Purpose.EVACUATE:
            found = (u for u, vm in state.vms.items() if set(state.where[u]) & set(request.hosts) and vm.home)
            return frozenset(found)
        case Purpose.RELOCATE:
            named = set(members_of(request.vms, state)) if request.vms else set(state.vms)
            hosts = set(request.hosts) or set(state.hosts)
            there = (u for u in named if state.vms[u].home in hosts and state.vms[u].home not in request.dests)
            return frozenset(there)
        case Purpose.RETURN:
            wanted = {u: home for vm, home in request.homes.items() for u in members_of((vm,), state)}
            return frozenset(u for u, home in wanted.items() if state.vms[u].home != home)
        case Purpose.CONSOLIDATE | Purpose.BALANCE:
            return frozenset()


def return_constraints(request: PlanRequest, state: FleetState) -> tuple[Constraint, ...]:
    """Return a fence per VM that returns: it goes home or stays."""
    if request.purpose is not Purpose.RETURN:
        return ()
    return tuple(
        Constraint(kind=ConstraintKind.FENCE, name=f"home of {state.vms[u].name}", vms=(u,), hosts=(home,))
        for vm, home in request.homes.items()
        for u in members_of((vm,), state)
    )
