"""`vmferry plan …`: what would be moved, and why; nothing is moved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vmferry.errors import InvalidInput
from vmferry.model.plan import PlanLimits, PlanRequest, Purpose, Reserve
from vmferry.terminal.exit_codes import ExitCode
from vmferry.terminal.options import InventoryOption, JsonOption, LiftOption, parse_pairs
from vmferry.terminal.session import session

app = typer.Typer(no_args_is_help=True)

OutOption = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Save the plan with its snapshot there.")]
ConstraintOption = Annotated[
    list[str] | None,
    typer.Option(
        "--constraint", metavar="YAML", help="'spread: [a, b]', as in the inventory, for this plan; repeat it."
    ),
]
ToOption = Annotated[list[str] | None, typer.Option("--to", metavar="HOST", help="Only to these; repeat it.")]
MovesOption = Annotated[int | None, typer.Option("--max-moves", min=0, help="Moves, at most.")]
ReserveOption = Annotated[
    Reserve, typer.Option("--reserve", help="N+1: the loss of any one host is survived after the plan.")
]
CostOption = Annotated[
    list[str] | None, typer.Option("--cost", metavar="HOST=COST", help="Of an hour of this host; else 1. Repeat it.")
]
PlanArgument = Annotated[Path, typer.Argument(metavar="PLAN", exists=True, dir_okay=False, readable=True)]


@app.callback()
def plan_commands() -> None:
    """Plan without moving anything; check and compare saved plans."""


@app.command()
def evacuate(
    ctx: typer.Context,
    hosts: Annotated[list[str], typer.Argument(metavar="HOST...", help="To be emptied together.")],
    to: ToOption = None,
    extra: Annotated[int | None, typer.Option("--max-extra-moves", min=0, help="VMs that make room, at most.")] = None,
    reserve: ReserveOption = Reserve.NONE,
    constraint: ConstraintOption = None,
    lift: LiftOption = None,
    out: OutOption = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Where would the VMs of these hosts go? Other VMs may move to make room."""
    limits = PlanLimits(max_extra_moves=extra, reserve=reserve)
    request = PlanRequest(
        purpose=Purpose.EVACUATE, hosts=tuple(hosts), dests=tuple(to or ()), limits=limits, lift=tuple(lift or ())
    )
    _plan(ctx, inventory, as_json, request, constraint or [], out)


@app.command()
def consolidate(
    ctx: typer.Context,
    hosts: Annotated[list[str] | None, typer.Argument(metavar="[HOST]...", help="Only these may be emptied.")] = None,
    max_moves: MovesOption = None,
    cost: CostOption = None,
    reserve: ReserveOption = Reserve.NONE,
    constraint: ConstraintOption = None,
    lift: LiftOption = None,
    out: OutOption = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Which hosts could be emptied, the dearest first?"""
    pairs = parse_pairs(cost or (), "--cost", "HOST=COST")
    try:
        costs = {host: float(value) for host, value in pairs.items()}
    except ValueError as error:
        raise typer.BadParameter(f"{error}: write --cost HOST=NUMBER", param_hint="--cost") from error
    request = PlanRequest(
        purpose=Purpose.CONSOLIDATE,
        hosts=tuple(hosts or ()),
        costs=costs,
        limits=PlanLimits(max_moves=max_moves, reserve=reserve),
        lift=tuple(lift or ()),
    )
    _plan(ctx, inventory, as_json, request, constraint or [], out)


@app.command()
def balance(
    ctx: typer.Context,
    hosts: Annotated[list[str] | None, typer.Argument(metavar="[HOST]...", help="Only among these.")] = None,
    max_moves: MovesOption = None,
    constraint: ConstraintOption = None,
    lift: LiftOption = None,
    out: OutOption = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Which moves would even out memory and vCPUs?"""
    request = PlanRequest(
        purpose=Purpose.BALANCE,
        hosts=tuple(hosts or ()),
        limits=PlanLimits(max_moves=max_moves),
        lift=tuple(lift or ()),
    )
    _plan(ctx, inventory, as_json, request, constraint or [], out)


@app.command()
def replay(ctx: typer.Context, plan: PlanArgument, as_json: JsonOption = False) -> None:
    """Check a saved plan against its own snapshot, and plan again: is it right, is it the same?"""
    with session(ctx, None, as_json) as current:
        from vmferry.planning.fleet.plan import plan as make_plan
        from vmferry.planning.plan_file import parse_plan, write_plan
        from vmferry.planning.replay_fleet import replay_fleet

        text = plan.read_text(encoding="utf-8")
        saved = parse_plan(text, str(plan))
        problems = replay_fleet(saved)
        is_same = write_plan(make_plan(saved.snapshot, saved.request)) == text
        word = "gives the same plan" if is_same else "gives another plan: this version of vmferry plans differently"
        current.screen.say(f"{plan}: {len(saved.moves)} moves, {len(saved.stranded)} stranded; planned again it {word}")
        current.screen.say("every promise is kept" if not problems else f"{len(problems)} promises are broken")
        code = ExitCode.REFUSED if problems else ExitCode.DONE
        current.end(code, {"is_same": is_same, "broken": list(problems)}, problems)


@app.command()
def diff(ctx: typer.Context, old: PlanArgument, new: PlanArgument, as_json: JsonOption = False) -> None:
    """What differs between two saved plans."""
    with session(ctx, None, as_json) as current:
        from vmferry.planning.plan_file import diff_plans, parse_plan

        found = diff_plans(*(parse_plan(file.read_text(encoding="utf-8"), str(file)) for file in (old, new)))
        for line in found or ("the plans are equal",):
            current.screen.say(line)
        current.end(ExitCode.DONE, {"differences": list(found)})


def _plan(
    ctx: typer.Context,
    inventory: Path | None,
    as_json: bool,
    request: PlanRequest,
    constraints: list[str],
    out: Path | None,
) -> None:
    with session(ctx, inventory, as_json) as current:
        from vmferry.terminal.plan_run import run_plan

        if out is not None and not out.absolute().parent.is_dir():
            raise InvalidInput(f"--out {out}: there is no directory {out.absolute().parent}; make it first")
        run_plan(current, request, constraints, out)
