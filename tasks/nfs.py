"""Share storage over NFS, step by step, and take it back."""

from __future__ import annotations

import contextvars
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks._policy import ONCE, READ, REPEATABLE
from tasks._wiring import share_world
from tasks.judge import judge_move
from tasks.one_vm import move_one_vm
from tasks.report import artifact_key
from vmferry.errors import AlreadyMoving, Held, LeftBehind, NotFound, PermanentError
from vmferry.model.migration import MigrationMode, MigrationRequest, OutcomeKind
from vmferry.model.sharing import Bring, ShareOutcome, SharePlan, ShareRecord, ShareRequest, ShareState
from vmferry.planning.sharing.phases import phases
from vmferry.progress import RunLeftAlone, ShareSettled, publish
from vmferry.reporting.share_words import markdown_share, share_headline
from vmferry.steps import share_settle, share_use, sharing, unsharing
from vmferry.stopping import current_stop


@task(**READ, task_run_name="plan: {request.server} shares {request.directory}")
def plan_sharing(request: ShareRequest) -> SharePlan:
    """Read all hosts and plan; nothing is touched."""
    return sharing.prepare_share(request, share_world())


@task(**REPEATABLE, task_run_name="{kind} on {host}")
def share_step(share: str, index: int, kind: str, host: str) -> None:
    """Do one step; journaled before it touches the host."""
    sharing.do_step(share, index, share_world())


def do_steps(plan: SharePlan, first: int) -> None:
    """Do all steps from `first` on, those of different hosts at once where they do not need one another.

    What goes wrong is raised when all that had begun has ended: nothing is at work any more when it is taken back.
    """

    def follow(lane: Sequence[int]) -> None:
        for index in lane:
            share_step(plan.share, index, plan.steps[index].kind, plan.steps[index].host)

    for lanes in phases(plan, first):
        with ThreadPoolExecutor(max_workers=len(lanes), thread_name_prefix="share") as pool:
            ended = [pool.submit(contextvars.copy_context().run, follow, lane) for lane in lanes]
        for lane in ended:
            lane.result()


@task(**REPEATABLE, task_run_name="prove that it is shared")
def prove_shared(share: str) -> None:
    """Look on all hosts: export, mounts, one file seen by all."""
    sharing.prove_shared(share, share_world())


@task(**ONCE, task_run_name="boot {vm}")
def boot_vm(share: str, vm: str) -> None:
    """Start a VM from the shared image and watch it."""
    share_use.boot_vm(share, vm, share_world())


@task(**ONCE, task_run_name="take back share {share}")
def undo_share(share: str, first: int = 0) -> tuple[str, ...]:
    """Take back what has begun, from step `first` on; VMs that were started for the proof are ended before."""
    world = share_world()
    share_use.end_boots(share, world)
    return unsharing.undo_share(share, world, first)


def claim_share(plan: SharePlan) -> tuple[SharePlan, int]:
    """Open the share in the journal, or go on with the one that is there; return the plan and its first new step."""
    return sharing.claim_share(plan, share_world())


def settle_dead(request: ShareRequest) -> None:
    """Settle a share of this directory whose process died, or which was held; one at work is kept."""
    world = share_world()
    record = sharing.find_share(f"{request.server}:{request.directory}", world)
    if record is None or record.state is ShareState.SHARED or not world.shares.take_over(record.plan.share):
        return
    must_be_settled((settle_share(record.plan.share, record.plan.key),))


@task(**ONCE, task_run_name="settle share of {place}")
def settle_share(share: str, place: str) -> ShareOutcome:
    """Look at the hosts and bring a share that was cut off to its end."""
    return share_settle.settle_share(share, share_world())


def unsettled_shares() -> tuple[ShareRecord, ...]:
    """Return the shares that are being made or taken back, or were cut off, or are held; oldest first."""
    return tuple(record for record in share_world().shares.shares() if record.state is not ShareState.SHARED)


def settle_shares(records: Sequence[ShareRecord]) -> tuple[ShareOutcome, ...]:
    """Settle one after the other; shares of living processes are left alone, and told."""
    outcomes: list[ShareOutcome] = []
    for record in records:
        share, key = record.plan.share, record.plan.key
        if current_stop().why:
            break
        if not share_world().shares.take_over(share):
            publish(RunLeftAlone(run=share, vm=f"share {key}", owner=record.owner))
            continue
        outcomes.append(settle_share(share, key))
        publish(ShareSettled(outcome=outcomes[-1]))
        publish_share(outcomes[-1])
    return tuple(outcomes)


def must_be_settled(outcomes: Sequence[ShareOutcome]) -> None:
    """Raise Held with the commands for what could not be settled."""
    held = [_held(outcome.plan.share, outcome.problems) for outcome in outcomes if outcome.problems]
    if held:
        raise Held("; ".join(map(str, held)))


def give_up(plan: SharePlan, first: int, error: Exception) -> NoReturn:
    """Take everything back, and raise what went wrong with what became of it."""
    if problems := undo_share(plan.share, first):
        raise _held(plan.share, (str(error), *problems)) from error
    text = f"{error}; what had been done was taken back, the hosts are as they were"
    raise PermanentError(text, host=getattr(error, "host", None)) from error


def _held(share: str, problems: Sequence[str]) -> Held:
    record = share_world().shares.find(share)
    place = f"{record.plan.request.server}:{record.plan.request.directory}"
    commands = "; ".join(unsharing.open_commands(record))
    return Held(
        f"share {share}: HELD: {'; '.join(problems)}; next: `vmferry unshare {place}` when the cause is gone, or by "
        f"hand: {commands}"
    )


def end_share(plan: SharePlan, problems: Sequence[str], kept: Sequence[str]) -> ShareOutcome:
    """Return how it ended; raises Held when something is left."""
    if problems:
        raise _held(plan.share, problems)
    notes = (f"kept, remove what you do not need: {', '.join(kept)}",) if kept else ()
    return ShareOutcome(plan=plan, state=ShareState.UNDONE, changed=True, notes=notes)


def mark_shared(share: str) -> None:
    """Write down that it is used from now on."""
    share_use.mark_used(share, share_world())


def is_used(record: ShareRecord) -> bool:
    """Whether VMs may have written to the images on the server: then they have to come home."""
    world = share_world()
    return share_use.keep_what_runs(record, world) or share_use.was_used(record.plan.share, world)


def find_share(place: str) -> ShareRecord:
    """Return the share of `server:directory`; raises NotFound with those that there are."""
    world = share_world()
    record = sharing.find_share(place, world)
    if record is None:
        there = ", ".join(one.plan.key for one in world.shares.shares()) or "none"
        raise NotFound(f"{place} is not shared, as far as this journal knows; shared are: {there}")
    if not world.shares.take_over(record.plan.share):
        raise AlreadyMoving(f"{place}: {record.owner} (user@host:pid:start) is at work on it; wait for its end")
    return record


@task(**READ, task_run_name="which images go home")
def find_homes(record: ShareRecord) -> tuple[Bring, ...]:
    """Read both hosts and the server; refuse what cannot be."""
    return unsharing.homes(record, share_world())


@task(**ONCE, task_run_name="unmount share {share}")
def unmount_share(share: str) -> None:
    """Unmount it on both hosts, or on none."""
    world = share_world()
    unsharing.unmount(world.shares.find(share), world)


@task(**ONCE, task_run_name="bring the images of share {share} home")
def bring_home(share: str, images: Sequence[Bring]) -> tuple[str, ...]:
    """Copy the images back, verified; return what is kept."""
    world = share_world()
    return unsharing.bring_home(world.shares.find(share), tuple(images), world)


@task(**ONCE, task_run_name="publish share")
def publish_share(outcome: ShareOutcome) -> None:
    """Show what was done on which host."""
    key = artifact_key("share", outcome.plan.request.server)
    create_markdown_artifact(markdown_share(outcome), key=key, description=share_headline(outcome))


def prove_by_move(plan: SharePlan, vm: str) -> str:
    """Move a VM live from source to destination: what all of this was for. Return its name.

    Raises LeftBehind when it stays: the storage is shared and the VM runs, so nothing is taken back.
    """
    request = plan.request
    move = MigrationRequest(vm=vm, source=request.source, dest=request.dest, mode=MigrationMode.LIVE)
    why = ""
    try:
        outcome = move_one_vm(judge_move(move).plan())
        why = "" if outcome.kind is OutcomeKind.MOVED else outcome.reason
    except PermanentError as error:  # preflight has blockers
        why = str(error)
    if why:
        raise LeftBehind(
            f"the storage is shared and vm {vm} runs from it, but it did not move to {request.dest}: {why}; "
            f"`vmferry migrate {vm} --to {request.dest}` tries again",
            vm=vm,
        )
    return vm
