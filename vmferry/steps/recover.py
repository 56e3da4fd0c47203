"""Settle a run: what a failing run, a restarted one and `vmferry recover` all call.

Look at both hosts → `planning.settlement.settle` → act → look again, until the run is closed or held.
"""

from __future__ import annotations

import logging

from vmferry.errors import VmferryError
from vmferry.model.convergence import POLICIES
from vmferry.model.effects import DomainMoved
from vmferry.model.journal import Mark, Row, RunRecord, RunState
from vmferry.model.migration import MigrationMode, MigrationOutcome, MigrationPlan, OutcomeKind
from vmferry.model.transport import Switch
from vmferry.model.vm import DomainState
from vmferry.planning.advice import advise
from vmferry.planning.settlement import Facts, Verdict, settle
from vmferry.ports import World
from vmferry.progress import MoveEnded, publish
from vmferry.reporting.words import lifted_note
from vmferry.steps import postcopy
from vmferry.steps.forward import is_done, run_step
from vmferry.steps.images import kept_aside
from vmferry.steps.look import Pair, look_once, look_until_stable
from vmferry.steps.measured import with_forecast
from vmferry.steps.names import RESUME_INTENT, StepName
from vmferry.steps.postcopy import commands_after_loss, has_lost_memory, is_split, lost_memory, try_to_resume
from vmferry.steps.sentinel import watchful
from vmferry.steps.steer import help_notes, orders_of, was_postcopy_ordered, was_suspended
from vmferry.steps.storage import aside_path
from vmferry.steps.switch import progress_of, resume_at_dest, switch_notes
from vmferry.steps.undo import undo_all

logger = logging.getLogger("vmferry.steps")

# A daemon that restarts, or libvirt's keepalive over a dead link (5 × 5 s), needs this long to tell the truth.
PATIENCE_S = 45.0
_MAX_ROUNDS = 12
_ABORT_S = 60.0
_CAUSE = "cause: "  # begins the note that holds what made the run fail
_SETTLE = "settle"  # the step name under which settlement's own notes stand


def recover(run: str, world: World, *, cause: str = "", patience_s: float = PATIENCE_S) -> MigrationOutcome:
    """Bring one unsettled run to its end: moved, rolled back, or held with the commands for a human.

    Safe at any time and any number of times. `cause` is what made the run fail, for the report.
    """
    record = world.journal.find(run)
    if record.state is RunState.CLOSED and record.outcome is not None:
        return _outcome(record, world, record.outcome, record.reason)  # the VM may have moved on since
    try:
        if cause:
            _note(record.plan, world, f"{_CAUSE}{cause}")
        return _settle(record, world, patience_s)
    except VmferryError as error:
        return hold(record, world, f"{_cause(record, world)}; recovery failed: {error}")


def _cause(record: RunRecord, world: World) -> str:
    """Return what first made the run fail: each recovery of a held run tells it once, not all its looks."""
    causes = [r.note.removeprefix(_CAUSE) for r in world.journal.rows(record.run) if r.note.startswith(_CAUSE)]
    return causes[0] if causes else "its process ended before the move did"


def _settle(record: RunRecord, world: World, patience_s: float) -> MigrationOutcome:
    plan = record.plan
    if _is_untouched(world.journal.rows(plan.run)):
        if problems := undo_all(plan, world):  # its mark
            return hold(record, world, f"{_cause(record, world)}; nothing but its mark was made: {'; '.join(problems)}")
        return close(record, world, OutcomeKind.ROLLED_BACK, f"{_cause(record, world)}; nothing was touched")
    patience_s = _patience_s(plan, world, patience_s)
    pair = look_until_stable(plan, world, patience_s=patience_s)
    for _ in range(_MAX_ROUNDS):
        verdict = settle(pair.source, pair.dest, _facts(plan, world))
        _note(plan, world, f"{pair.words()} → {verdict.name}: {verdict}")
        match verdict:
            case Verdict.HOLD:
                return hold(record, world, f"{_cause(record, world)}; {_held_reason(plan, pair)}", pair)
            case Verdict.ROLL_BACK:
                return _roll_back(record, world, pair)
            case Verdict.FORWARD:
                return _go_forward(record, world)
            case Verdict.WATCH:
                if not _is_our_move(pair):
                    return hold(
                        record, world, f"{_cause(record, world)}; a job that is no move runs: {pair.words()}", pair
                    )
                problem = _watch(plan, world)
            case Verdict.RESUME_POSTCOPY:
                problem = try_to_resume(plan, world, progress_of(plan))
            case _:
                problem = ""
                _act(verdict, plan, world)
        if problem:
            return hold(record, world, f"{_cause(record, world)}; post-copy does not go on: {problem}", pair)
        pair = look_until_stable(plan, world, patience_s=patience_s)
    return hold(record, world, f"no end after {_MAX_ROUNDS} looks: {pair.words()}", pair)


def _patience_s(plan: MigrationPlan, world: World, patience_s: float) -> float:
    """A VM whose memory may be on both hosts is waited for longer: nothing else can be done for it."""
    is_long = was_postcopy_ordered(world.journal.rows(plan.run))
    return max(patience_s, postcopy.PATIENCE_S) if is_long else patience_s


def _is_our_move(pair: Pair) -> bool:
    """Whether the job is a migration to our destination: a backup or a snapshot at the source is not ours to abort."""
    is_handing_over = pair.source.state is not DomainState.RUNNING and pair.dest.state.is_active
    return pair.dest.has_job or pair.dest.state is DomainState.PAUSED or is_handing_over


def _watch(plan: MigrationPlan, world: World) -> str:
    """Re-adopt a running job and help it by its policy; return why a post-copy does not go on, else nothing.

    Never aborted because we came late, but at its deadline.
    """
    source = world.hypervisor(plan.source)
    timeout_s = plan.deadline_s + _ABORT_S
    if was_suspended(world.journal.rows(plan.run)):  # it stands still: no longer than its policy allows
        timeout_s = min(timeout_s, POLICIES[plan.policy].max_pause_s)
    on_order = orders_of(plan, StepName.MOVE, world)
    if source.adopt(plan, watchful(plan, world, progress_of(plan)), on_order, timeout_s=timeout_s):
        return ""
    if is_split(look_once(plan, world)):
        return try_to_resume(plan, world, progress_of(plan))
    _note(plan, world, f"{_CAUSE}its job did not end within {timeout_s:.0f} s and was aborted")
    source.abort_job(plan.uuid)
    source.watch_job(plan.uuid, progress_of(plan), timeout_s=_ABORT_S)
    return ""


def _act(verdict: Verdict, plan: MigrationPlan, world: World) -> None:
    """Do what leads to the next look."""
    source, dest = world.hypervisor(plan.source), world.hypervisor(plan.dest)
    match verdict:
        case Verdict.RESUME_SOURCE:
            source.resume(plan.uuid)
        case Verdict.DESTROY_DEST | Verdict.DESTROY_DEST_RESUME_SOURCE:
            # The source is resumed by the next round, which has then seen that this copy is gone.
            dest.destroy(plan.uuid)
        case Verdict.DESTROY_SOURCE:
            source.destroy(plan.uuid)
        case Verdict.RESUME_DEST:
            resume_at_dest(plan, world)
        case _:
            raise AssertionError(verdict)


def _facts(plan: MigrationPlan, world: World) -> Facts:
    rows = world.journal.rows(plan.run)
    may_dest_have_run = any(r.mark is Mark.NOTE and r.note == RESUME_INTENT for r in rows)
    if plan.switch is not Switch.GUARDED:  # libvirt lets it run without asking
        may_dest_have_run = any(r.mark is Mark.INTENDED and r.step == StepName.MOVE for r in rows)
    return Facts(
        mode=plan.mode,
        must_run=plan.must_run_after,
        is_persistent=plan.is_persistent,
        switch=plan.switch,
        was_postcopy_ordered=was_postcopy_ordered(rows),
        may_dest_have_run=may_dest_have_run,
        was_suspended=was_suspended(rows),
        is_pivot_done=plan.mode is MigrationMode.OFFLINE and is_done(rows, StepName.MOVE),
    )


def _is_untouched(rows: tuple[Row, ...]) -> bool:
    """Whether no step has been begun that touches more than the VM's mark."""
    return all(r.step in (StepName.RESERVE, _SETTLE) for r in rows)


def _roll_back(record: RunRecord, world: World, pair: Pair) -> MigrationOutcome:
    problems = undo_all(record.plan, world)
    if problems:
        return hold(record, world, f"{_cause(record, world)}; undo failed: {'; '.join(problems)}", pair)
    return close(record, world, OutcomeKind.ROLLED_BACK, _cause(record, world))


def _go_forward(record: RunRecord, world: World) -> MigrationOutcome:
    """Finish a run whose VM is at the destination; the pivot's DONE row may be missing after a crash."""
    plan = record.plan
    if not is_done(world.journal.rows(plan.run), StepName.MOVE):
        moved = DomainMoved(host=plan.dest, uuid=plan.uuid)
        world.journal.write(plan.run, StepName.MOVE, Mark.DONE, moved, note="found at the destination")
    run_step(plan.run, StepName.VERIFY, world)
    run_step(plan.run, StepName.FINISH, world)
    return close(record, world, OutcomeKind.MOVED, f"recovered: {_cause(record, world)}")


def close(record: RunRecord, world: World, kind: OutcomeKind, reason: str = "") -> MigrationOutcome:
    """Close a run with the outcome that the journal and the last look prove."""
    outcome = _outcome(record, world, kind, reason)
    world.journal.close_run(record.run, outcome)
    logger.info("run %s vm %s: %s %s", record.run, record.plan.vm, kind, reason)
    publish(MoveEnded(outcome=outcome))
    return outcome


def hold(record: RunRecord, world: World, reason: str, pair: Pair | None = None) -> MigrationOutcome:
    """Leave a run for a human, with the exact commands; the next recovery looks again."""
    outcome = _outcome(record, world, OutcomeKind.HELD, reason).model_copy(
        update={"next_commands": _commands(record.plan, world, pair)}
    )
    world.journal.hold(record.run, reason)
    logger.error("run %s vm %s: HELD: %s", record.run, record.plan.vm, reason)
    publish(MoveEnded(outcome=outcome))
    return outcome


def _outcome(record: RunRecord, world: World, kind: OutcomeKind, reason: str) -> MigrationOutcome:
    plan, rows = record.plan, world.journal.rows(record.run)
    effects = [row.effect for row in rows]
    moved = next((e for e in effects if isinstance(e, DomainMoved)), None)
    outcome = MigrationOutcome(
        run=plan.run,
        vm=plan.vm,
        source=plan.source,
        dest=plan.dest,
        mode=plan.mode,
        kind=kind,
        reason=reason,
        started_at=record.opened_at,
        ended_at=record.closed_at or world.clock.now(),
        bytes_sent=moved.bytes_sent if moved else 0,
        downtime_ms=moved.downtime_ms if moved else None,
        move_seconds=moved.seconds if moved else None,
        notes=(*switch_notes(plan), *_notes(plan, kind), *help_notes(plan, rows, kind)),
    )
    return with_forecast(outcome, plan, rows)


def _notes(plan: MigrationPlan, kind: OutcomeKind) -> tuple[str, ...]:
    """Say how memory travelled and what was lifted, whatever the end, and which images may be removed one day."""
    way = plan.transport.sentence() if plan.mode is not MigrationMode.OFFLINE else ""
    lifted = (lifted_note(finding) for finding in plan.warnings if finding.is_lifted)
    always = (*((way,) if way else ()), *lifted)
    if kind is not OutcomeKind.MOVED:
        return always
    kept = (f"source image kept as {plan.source}:{aside_path(plan, copy)}" for copy in kept_aside(plan))
    return (*always, *kept)


def _note(plan: MigrationPlan, world: World, text: str) -> None:
    world.journal.write(plan.run, _SETTLE, Mark.NOTE, note=text)


def _held_reason(plan: MigrationPlan, pair: Pair) -> str:
    if not pair.is_known:
        return f"{pair.words()}: nothing is done while one side is unknown"
    if has_lost_memory(pair):
        return lost_memory(plan, pair)
    if is_split(pair):
        return f"the VM's memory is on both hosts: {pair.words()}; destroy neither"
    if pair.source.state.is_active and pair.dest.state.is_active:
        return f"TWO ACTIVE COPIES: {pair.words()}"
    if not pair.source.state.is_active and not pair.dest.state.is_active and plan.mode is not MigrationMode.OFFLINE:
        hint = "" if plan.is_persistent else "; no host has its definition: create it anew where its disks are"
        return f"the VM runs nowhere: {pair.words()}{hint}"
    return f"{pair.words()}: not a state that may be settled automatically"


def _commands(plan: MigrationPlan, world: World, pair: Pair | None) -> tuple[str, ...]:
    """Return what a human types next: looks, the one way to let a VM run again that runs nowhere, then recovery."""
    uris = {h.name: h.uri for h in world.inventory.hosts}
    looks = tuple(
        f"virsh -c '{uris.get(host, host)}' domstate --reason '{plan.uuid}'" for host in (plan.source, plan.dest)
    )
    if pair is None:
        return (*looks, "vmferry recover")
    if has_lost_memory(pair):
        return (*looks, *commands_after_loss(plan, pair, uris), "vmferry recover")
    acts = advise(pair.source, pair.dest, _facts(plan, world), has_own_disks=bool(plan.disks))
    told = tuple(f"virsh -c '{uris.get(act.host, act.host)}' {act.verb} '{plan.uuid}'" for act in acts)
    return (*looks, *told, "vmferry recover")
