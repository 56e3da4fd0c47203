"""Ask guests before and after their moves, and move back those that went silent where that is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from prefect import task

from tasks._inputs import unsearched
from tasks._policy import ONCE, READ
from tasks._wiring import settings, world
from tasks.one_vm import move_one_vm
from tasks.preflight import read_fleet, read_ways
from vmferry.errors import VmferryError
from vmferry.model.evacuation import EvacuationRequest, Move
from vmferry.model.migration import MigrationOutcome, MigrationRequest, OutcomeKind
from vmferry.model.options import OnSilence
from vmferry.model.probes import Probe
from vmferry.planning.returning import open_home
from vmferry.planning.single import plan_vm
from vmferry.steps.guests import ask, await_answers
from vmferry.steps.prepare import make_plan


@task(**READ, task_run_name="ask guest {vm} on {host}")
def ask_guest(uuid: str, vm: str, host: str, probes: Sequence[Probe]) -> dict[str, str]:
    """Return what is wrong by probe; nothing is where the guest answers."""
    return ask(UUID(uuid), host, probes, world())


@task(**ONCE, task_run_name="await guest {vm} on {host}")
def await_guest(
    uuid: str, vm: str, host: str, probes: Sequence[Probe], before: dict[str, str], wait_s: float
) -> tuple[str, ...]:
    """Return what the guest answered before its move and does not answer any more."""
    return await_answers(UUID(uuid), host, probes, before, wait_s, world())


def look_after(
    outcome: MigrationOutcome, move: Move, request: EvacuationRequest, probes: Sequence[Probe], before: dict[str, str]
) -> MigrationOutcome:
    """Ask the guest at its new place; return the outcome with what it does not answer, moved back where asked for."""
    silent = await_guest(move.uuid, move.vm, move.dest, unsearched(probes), unsearched(before), request.probes.wait_s)
    if not silent:
        return outcome
    said = f"the guest does not answer on {move.dest}: {'; '.join(silent)}"
    if request.probes.on_silence is OnSilence.ALERT or move.restart:
        return outcome.model_copy(update={"silent": silent, "notes": (*outcome.notes, said)})
    back = _move_back(move)
    if isinstance(back, str) or back.kind is not OutcomeKind.MOVED:
        note = f"{said}; it was not moved back: {back if isinstance(back, str) else back.reason}"
        return outcome.model_copy(update={"silent": silent, "notes": (*outcome.notes, note)})
    reason = f"{said}; moved back to {move.source} by run {back.run}"
    told = {"kind": OutcomeKind.ROLLED_BACK, "reason": reason, "ended_at": back.ended_at}
    return outcome.model_copy(update=told)


def _move_back(move: Move) -> MigrationOutcome | str:
    """Move the VM to where it came from, which is closed for all others; return why that may not be."""
    request = MigrationRequest(vm=move.uuid, source=move.dest, dest=move.source, policy=move.policy)
    try:
        snapshot = open_home(read_fleet(), move.source)
        facts = snapshot.facts(move.dest)
        vm = facts.find_vm(move.uuid) if facts is not None else None
        snapshot = read_ways(unsearched(snapshot), move.dest, [move.source], [vm] if vm is not None else [])
        decision = plan_vm(snapshot, request)
        if decision.report.blockers:
            return "; ".join(finding.message for finding in decision.report.blockers)
        made = make_plan(decision, request, snapshot, move_timeout_s=settings().move_timeout_s)
        return move_one_vm(made.model_copy(update={"goes_back": True, "mode_reason": "its guest went silent"}))
    except VmferryError as error:
        return str(error)
