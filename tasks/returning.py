"""Bring VMs home: the runbook that return-vms and roll-hosts share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from prefect import task

from tasks._inputs import unsearched
from tasks._policy import ONCE, READ
from tasks._wiring import world
from tasks.evacuation import move_on
from tasks.live import progress_artifacts
from tasks.preflight import read_fleet, read_ways
from tasks.report import publish_return
from tasks.window import Bounds, run_window
from vmferry.errors import Frozen, InvalidInput
from vmferry.model.evacuation import Move
from vmferry.model.host import FleetSnapshot
from vmferry.model.migration import MigrationOutcome, OutcomeKind
from vmferry.model.returning import Refused, ReturnReport, ReturnRequest, ReturnStage
from vmferry.planning.constraints.hold import HardConstraints
from vmferry.planning.constraints.instants import OnTheWay
from vmferry.planning.handling import blackouts_in, objectives_in
from vmferry.planning.returning import Belongs, next_stage, open_home, paused_since, prove
from vmferry.progress import ReturnEnded, publish
from vmferry.steps.freeze import why_frozen
from vmferry.steps.homecoming import open_for_return, proof_of, restore
from vmferry.steps.homes import settle_home
from vmferry.stopping import current_stop

_MOST_STAGES = 50  # each ends with a VM at home or one hop fewer: more means that somebody works against us


@task(**READ, task_run_name="find who belongs on {request.host}")
def find_away(snapshot: FleetSnapshot, request: ReturnRequest) -> tuple[tuple[Belongs, ...], tuple[Refused, ...]]:
    """Return the VMs away from any home whose home still counts, and those of this host whose does not."""
    away: list[Belongs] = []
    refused: list[Refused] = []
    for home in world().journal.homes():
        found = prove(home, proof_of(home, world()), snapshot)
        if found is None:
            world().journal.forget_home(home.uuid)
        elif isinstance(found, Belongs):
            stays = paused_since(found, request)
            if stays is None:
                away.append(found)
            elif home.home == request.host:
                refused.append(stays)
        elif home.home == request.host:
            refused.append(found)
    return tuple(away), tuple(refused)


@task(**ONCE, task_run_name="restore {vm} on {home}")
def restore_vm(uuid: str, vm: str, home: str, is_autostart: bool, state: str) -> tuple[str, ...]:
    """Give a VM that has come home what it had there; return what differs by somebody else's doing."""
    return restore(uuid, vm, home, is_autostart, state, world())


def return_home(request: ReturnRequest, *, is_dry: bool = False) -> ReturnReport:
    """Bring VMs home: read → prove homes → open the host → by stages: plan, move, read again → restore → report."""
    started_at = world().clock.now()
    snapshot = read_fleet()
    away, refused = find_away(unsearched(snapshot), request)
    _check(request, snapshot, away, refused)
    ours = _named(request, [one for one in away if one.home.home == request.host])
    refused = tuple(one for one in refused if not request.vms or {one.vm, one.uuid} & set(request.vms))
    if is_dry:
        stage = _plan(snapshot, request, away, frozenset(), frozenset())
        return _report(request, started_at, (), (*refused, *stage.refused), planned=stage.moves, is_dry=True)
    if why := why_frozen(world()):
        raise Frozen(f"host {request.host}: nothing returns: {why}", host=request.host)
    if ours:
        open_for_return(request.host, {*request.closed_for, *(one.home.reason for one in ours)}, world())
    outcomes, more = _all_stages(snapshot, request, away)
    report = _report(request, started_at, outcomes, (*refused, *more), ours=ours)
    publish(ReturnEnded(report=report))
    publish_return(unsearched(report))
    return report


def _all_stages(
    snapshot: FleetSnapshot, request: ReturnRequest, away: Sequence[Belongs]
) -> tuple[tuple[MigrationOutcome, ...], tuple[Refused, ...]]:
    outcomes: list[MigrationOutcome] = []
    tried, hopped, refused = frozenset[str](), frozenset[str](), tuple[Refused, ...]()
    for _ in range(_MOST_STAGES):
        stage = _plan(snapshot, request, away, tried, hopped)
        refused = stage.refused
        if not stage.moves or current_stop().why:
            break
        ended, why_not = _run(stage, snapshot, request)
        outcomes += ended
        is_held = any(outcome.kind is OutcomeKind.HELD for outcome in ended)
        if stage.is_hop:
            hopped |= {move.uuid for move in stage.moves}
        tried |= {move.uuid for move in stage.moves if not stage.is_hop}
        refused = (*refused, *why_not)
        if is_held or why_not:
            break
        snapshot = read_fleet()
        away, _ = find_away(unsearched(snapshot), request)
    return tuple(outcomes), refused


def _plan(
    snapshot: FleetSnapshot,
    request: ReturnRequest,
    away: Sequence[Belongs],
    tried: frozenset[str],
    hopped: frozenset[str],
) -> ReturnStage:
    """Look from each host at the home, and from the home at all others, and plan the next stage."""
    named = {one.uuid for one in _named(request, away)}
    mine = [one for one in away if (one.home.home == request.host and one.uuid in named) or one.uuid in hopped]
    for source, home in sorted({(one.home.away, one.home.home) for one in mine if one.uuid not in tried}):
        vms = [one.vm for one in mine if (one.home.away, one.home.home) == (source, home)]
        snapshot = read_ways(unsearched(snapshot), source, [home], vms)
    guests = [one for one in away if one.home.away == request.host and one not in mine]
    if guests and mine:
        others = [facts.name for facts in snapshot.hosts if facts.name != request.host]
        snapshot = read_ways(unsearched(snapshot), request.host, others, [one.vm for one in guests])
    return next_stage(open_home(snapshot, request.host), request, (*mine, *guests), tried, hopped)


def _run(
    stage: ReturnStage, snapshot: FleetSnapshot, request: ReturnRequest
) -> tuple[tuple[MigrationOutcome, ...], tuple[Refused, ...]]:
    blackouts, objectives = blackouts_in(snapshot, stage.moves), objectives_in(snapshot, stage.moves)
    opened = open_home(snapshot, request.host)
    bounds = Bounds(request.limits, blackouts, objectives, on_the_way=OnTheWay.of(opened))
    with progress_artifacts(f"return to {request.host}"):
        result = run_window(stage.moves, request.max_parallel, lambda m: _bring(m, opened, request), bounds)
    reasons = {**{vm: result.reasons.get(vm, "not started") for vm in result.not_started}, **result.failures}
    uuids = {move.vm: move.uuid for move in stage.moves}
    why_not = (Refused(vm=vm, uuid=uuids[vm], home=request.host, why=why) for vm, why in reasons.items())
    return result.outcomes, tuple(why_not)


def _bring(move: Move, snapshot: FleetSnapshot, request: ReturnRequest) -> MigrationOutcome:
    """Move one VM, home or out of another one's way; at home it gets back what it had there."""
    home = world().journal.find_home(move.uuid)
    outcome = move_on(move, snapshot, request.lift, request.reason)
    if outcome.kind is OutcomeKind.MOVED and home is not None and home.home == move.dest:
        notes = restore_vm(move.uuid, move.vm, home.home, home.is_autostart, home.state)
        outcome = outcome.model_copy(update={"notes": (*outcome.notes, *notes)})
    settle_home(outcome, move.uuid, world())
    return outcome


def _named(request: ReturnRequest, away: Sequence[Belongs]) -> tuple[Belongs, ...]:
    names = set(request.vms)
    return tuple(one for one in away if not names or {one.home.vm, one.uuid} & names)


def _check(
    request: ReturnRequest, snapshot: FleetSnapshot, away: Sequence[Belongs], refused: Sequence[Refused]
) -> None:
    """Refuse unknown names and constraints that contradict each other, all at once, before anything is touched."""
    known = {name for one in away if one.home.home == request.host for name in (one.home.vm, one.uuid)}
    known |= {name for one in refused for name in (one.vm, one.uuid)}
    problems = [f"vms: {vm} does not belong on {request.host}: see `vmferry return {request.host} --dry-run`"
                for vm in request.vms if vm not in known]  # fmt: skip
    names = snapshot.inventory.names()
    if request.host not in names:
        problems.append(f"host: no host {request.host} in the inventory ({', '.join(names)})")
    elif snapshot.facts(request.host) is None:
        why = next((gone.reason for gone in snapshot.unreachable if gone.host == request.host), "it was not read")
        problems.append(f"host: {request.host} cannot take VMs: {why}")
    try:
        HardConstraints.of(snapshot)
    except InvalidInput as error:
        problems += error.problems
    if problems:
        raise InvalidInput(f"return to {request.host}: {'; '.join(problems)}", problems=tuple(problems))


def _report(
    request: ReturnRequest,
    started_at: datetime,
    outcomes: Sequence[MigrationOutcome],
    refused: Sequence[Refused],
    *,
    ours: Sequence[Belongs] = (),
    planned: tuple[Move, ...] = (),
    is_dry: bool = False,
) -> ReturnReport:
    """Return the report; a VM that was tried and did not come home is told with its last outcome."""
    last = {outcome.vm: outcome for outcome in outcomes}
    home = tuple(
        one.home.vm
        for one in ours
        if (end := last.get(one.home.vm)) is not None and end.kind is OutcomeKind.MOVED and end.dest == request.host
    )
    told = {one.uuid: one for one in refused if one.vm not in home}
    for one in ours:
        end = last.get(one.home.vm)
        if one.home.vm not in home and one.uuid not in told:
            why = f"{end.kind}: {end.reason}" if end is not None else "it was not its turn before the run ended"
            told[one.uuid] = Refused(vm=one.home.vm, uuid=one.uuid, home=request.host, why=why)
    return ReturnReport(
        host=request.host,
        run=f"{started_at:%Y%m%d-%H%M%S}",
        is_dry_run=is_dry,
        planned=planned,
        outcomes=tuple(outcomes),
        home=home,
        refused=tuple(told.values()),
        cancelled=current_stop().why,
        started_at=started_at,
        ended_at=world().clock.now(),
    )
