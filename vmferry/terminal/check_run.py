"""`vmferry check [HOST|VM]`: read, judge, show; imported when the command runs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NoReturn
from uuid import UUID

from vmferry.errors import InvalidInput
from vmferry.model.evacuation import EvacuationRequest
from vmferry.model.host import FleetSnapshot
from vmferry.planning.audit import audit
from vmferry.planning.candidates import judge
from vmferry.planning.placement import destinations, plan_evacuation
from vmferry.planning.replay import replay
from vmferry.planning.single import locate_vm
from vmferry.ports import World
from vmferry.reporting.audit_files import load_before
from vmferry.rules.case import Fleet
from vmferry.rules.judge import Judge
from vmferry.steps.read import read_all_pairs, read_fleet, read_pairs
from vmferry.steps.survey import list_stored, look_again
from vmferry.terminal.check_views import end_fleet, end_host, end_vm
from vmferry.terminal.session import Session

_NEAR = 3


@dataclass(frozen=True)
class Asked:
    """What to check; no name means the whole fleet, no destinations mean every other host."""

    name: str | None
    dests: tuple[str, ...] = ()
    lifted: tuple[str, ...] = ()


def run_check(current: Session, world: World, asked: Asked) -> NoReturn:
    """Read the fleet and judge a host, a VM or all of it; destinations and rules were checked already."""
    snapshot = look_again(world, read_fleet(world))
    if asked.name is None:
        _check_fleet(current, world, snapshot, asked.lifted)
    if asked.name in snapshot.inventory.names():
        request = EvacuationRequest(host=asked.name, dests=asked.dests, lift=asked.lifted)
        _check_host(current, world, snapshot, request)
    _check_vm(current, world, snapshot, asked)


def _check_fleet(current: Session, world: World, snapshot: FleetSnapshot, lifted: tuple[str, ...]) -> NoReturn:
    """Audit the fleet and save nothing: the next audit is compared with the last flow run's."""
    # What changed because a rule is lifted now is no change of the fleet.
    before, notes = (None, ()) if lifted else load_before(current.settings.report_dir, snapshot.inventory.names())
    paired = read_all_pairs(world, snapshot)
    found = audit(paired, list_stored(world, paired), before, lifted)
    end_fleet(current, found.model_copy(update={"notes": (*found.notes, *notes)}))


def _check_host(current: Session, world: World, snapshot: FleetSnapshot, request: EvacuationRequest) -> NoReturn:
    tried = destinations(snapshot, request)
    facts = snapshot.facts(request.host)
    pairs = read_pairs(world, snapshot, request.host, tried, facts.vms if facts else ())
    plan = plan_evacuation(snapshot.model_copy(update={"pairs": pairs}), request)
    if problems := replay(plan):
        raise AssertionError(f"the plan of {request.host} fails its own check: {'; '.join(problems)}")
    _tell_namesakes(current, snapshot, request.host)
    for gone in snapshot.unreachable:
        if not request.dests or gone.host in request.dests:
            current.screen.hint(f"{gone.host} was not asked, it was not read: {gone.reason}")
    end_host(current, plan)


def _tell_namesakes(current: Session, snapshot: FleetSnapshot, host: str) -> None:
    for facts in snapshot.hosts:
        for vm in facts.vms:
            if vm.name == host:
                there = f"{host} is a host, and a VM on {facts.name} too"
                current.screen.hint(f"{there}; this is the host; for the VM: vmferry check {vm.uuid}")


def _check_vm(current: Session, world: World, snapshot: FleetSnapshot, asked: Asked) -> NoReturn:
    fleet = Fleet(snapshot)
    source, vm = locate_vm(fleet, _known(fleet, asked.name or ""))
    if source in asked.dests:
        raise InvalidInput(f"vm {vm.name} is on {source} already; name another host by --to")
    tried = [host for host in fleet.sides if host != source and (not asked.dests or host in asked.dests)]
    pairs = read_pairs(world, snapshot, source, tried, [vm])
    rules = Judge(Fleet(snapshot.model_copy(update={"pairs": pairs})), asked.lifted)
    end_vm(current, rules, source, judge(rules, vm, source, tried, None), asked.dests)


def _known(fleet: Fleet, name: str) -> str:
    """Return the name under which a host knows the VM: as given, or as a UUID in libvirt's form.

    Raises InvalidInput with names that are near when none does.
    """
    forms = [name]
    with suppress(ValueError):
        forms.append(str(UUID(name)))
    for form in forms:
        if any(side.facts.find_vm(form) for side in fleet.sides.values()):
            return form
    places = {vm.name: f"VM on {host}" for host, side in fleet.sides.items() for vm in side.facts.vms}
    places |= dict.fromkeys(fleet.snapshot.inventory.names(), "host")
    near = [f"{other} ({places[other]})" for other in get_close_matches(name, places, n=_NEAR)]
    meant = f"; did you mean {', '.join(near)}?" if near else ""
    lost = "".join(f"; not searched: {gone.host} ({gone.reason})" for gone in fleet.snapshot.unreachable)
    searched = ", ".join(fleet.sides) or "no host"
    raise InvalidInput(f"no host of the inventory and no VM is named {name}{meant}; searched: {searched}{lost}")
