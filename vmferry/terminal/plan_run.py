"""`vmferry plan evacuate|consolidate|balance`: read, plan, check, show, save; imported when the command runs."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vmferry.errors import InvalidInput
from vmferry.inventory.constraints import read_constraint
from vmferry.inventory.located import parse_located
from vmferry.model.constraint import Constraint
from vmferry.model.plan import FleetPlan, PlanRequest
from vmferry.planning.fleet.plan import plan
from vmferry.planning.plan_file import write_plan
from vmferry.planning.replay_fleet import replay_fleet
from vmferry.steps.read import read_all_pairs, read_fleet
from vmferry.steps.survey import look_again
from vmferry.terminal.exit_codes import ExitCode
from vmferry.terminal.session import Session

_HEAD = ("vm", "source", "dest", "mode", "MiB", "why there")


def run_plan(current: Session, request: PlanRequest, texts: Sequence[str], out: Path | None) -> NoReturn:
    """Read all hosts, plan and show; the plan is checked before it is shown or saved."""
    constraints = parse_constraints(texts)
    with current.world() as world:
        snapshot = read_all_pairs(world, look_again(world, read_fleet(world)))
    gc.freeze()  # what was read lives as long as the command: collections while it plans need not go through it
    made = plan(snapshot, request.model_copy(update={"constraints": constraints}))
    if problems := replay_fleet(made):
        raise AssertionError(f"the plan fails its own check: {'; '.join(problems)}")
    show_plan(current, made)
    if out is not None:
        out.write_text(write_plan(made), encoding="utf-8")
        current.screen.say(f"saved: {out}; check it again by: vmferry plan replay {out}")
    content = {"plan": made.model_dump(mode="json", exclude={"snapshot"})}
    current.end(ExitCode.LEFT_BEHIND if made.stranded else ExitCode.DONE, content)


def parse_constraints(texts: Sequence[str]) -> tuple[Constraint, ...]:
    """`'spread: [a, b]'` → constraints of this run. Raises InvalidInput with every mistake at once."""
    made: list[Constraint] = []
    problems: list[str] = []
    for number, text in enumerate(texts, start=1):
        located = parse_located(text if text.lstrip().startswith("{") else f"{{{text}}}")
        problems += [f"--constraint {text!r}: {problem.text}" for problem in located.problems]
        if located.problems:
            continue
        found, wrong = read_constraint(f"constraint {number}", located.data, "this run", ())
        problems += [f"--constraint {text!r}: {problem.words('')[2:]}" for problem in wrong]
        made += [found] if found is not None else []
    if problems:
        raise InvalidInput("; ".join(problems), problems=tuple(problems))
    return tuple(made)


def show_plan(current: Session, made: FleetPlan) -> None:
    """Show moves in order, who cannot move and why, and the sums."""
    screen = current.screen
    if made.moves:
        rows = [(m.vm, m.source, m.dest, str(m.mode), str(m.memory_kib // 1024), m.dest_reason) for m in made.moves]
        screen.table(_HEAD, rows)
    for stranded in made.stranded:
        why = stranded.explanation.words() if stranded.explanation is not None else stranded.summary()
        screen.say(f"vm {stranded.vm} has no place: {why}", style="yellow")
    for note in made.notes:
        screen.say(f"note: {note}", style="yellow")
    if made.freed:
        screen.say(f"emptied: {', '.join(made.freed)}")
    score = made.score
    screen.say(
        f"{score.moves} moves ({score.extra_moves} only to make room), {score.memory_kib // 1024} MiB of memory, "
        f"{score.copy_bytes >> 20} MiB of disk; {score.stranded} without a place; {score.hosts_used} hosts in use, no "
        f"plan needs fewer than {made.bounds.hosts_used}; the fullest has {100 * score.peak_share:.0f} % of its memory "
        "taken",
        style="bold",
    )
