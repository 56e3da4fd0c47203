"""`vmferry consolidate` and `vmferry balance`: doors to the flows, and how they end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NoReturn

import typer

from vmferry.errors import LeftBehind
from vmferry.model.cancelling import OnCancel
from vmferry.model.optimization import OptimizationReport
from vmferry.model.options import CautionOptions
from vmferry.model.plan import Reserve
from vmferry.reporting import optimization as words
from vmferry.terminal import show
from vmferry.terminal.evacuate_command import (
    AtEndOption,
    CanariesOption,
    MaxDowntimeOption,
    UntilOption,
    WindowOption,
    window_of,
)
from vmferry.terminal.exit_codes import ExitCode, code_of_error, code_of_outcomes
from vmferry.terminal.options import DryRunOption, InventoryOption, JsonOption, LiftOption, OnCancelOption
from vmferry.terminal.session import Ended, Session, problems_of, session

HostsArgument = Annotated[list[str] | None, typer.Argument(metavar="[HOST...]", help="Only these; else all.")]
ParallelOption = Annotated[int, typer.Option(min=1, max=64, help="Moves at once, at most.")]
CooldownOption = Annotated[float, typer.Option(min=0, help="A VM that moved is left alone so long, hours.")]


def consolidate(
    ctx: typer.Context,
    hosts: HostsArgument = None,
    hours: Annotated[float, typer.Option(min=0.1, max=720, help="Emptied hosts stay off so long, hours.")] = 8.0,
    min_gain: Annotated[float, typer.Option(metavar="WH", min=0, help="Least gain of all moves, Wh.")] = 100.0,
    payback: Annotated[float, typer.Option(min=1, help="A host saves so many times what its moves cost.")] = 2.0,
    max_moves: Annotated[int, typer.Option(min=1, max=100_000, help="Moves in this run, at most.")] = 100,
    cpu_percent: Annotated[float, typer.Option(min=1, max=100, help="Of a host's CPUs that VMs may need.")] = 80.0,
    reserve: Annotated[Reserve, typer.Option(help="N+1: the loss of any one host is survived, emptied ones off.")] = (
        Reserve.NONE
    ),
    vm_cooldown: CooldownOption = 12.0,
    host_cooldown: Annotated[float, typer.Option(min=0, help="A host that received VMs is kept so long, hours.")] = 4.0,
    keep_closed: Annotated[bool, typer.Option(help="Emptied hosts stay closed for arrivals.")] = True,
    parallel: ParallelOption = 4,
    reason: Annotated[str, typer.Option(help="Kept with the cordons and in the report.")] = "consolidation",
    until: UntilOption = None,
    window: WindowOption = None,
    at_end: AtEndOption = OnCancel.FINISH,
    canaries: CanariesOption = 0,
    max_downtime: MaxDowntimeOption = None,
    dry_run: DryRunOption = False,
    lift: LiftOption = None,
    on_cancel: OnCancelOption = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Empty the hosts that are not worth running, where that is worth the moves."""
    with session(ctx, inventory, as_json) as current:
        for host in hosts or ():
            current.require_hosts(host, (), lift or ())
        ended = current.run_flow(
            "consolidate_fleet",
            **{"hours": hours, "min_gain_wh": min_gain, "payback": payback, "max_moves": max_moves, "reason": reason},
            **{"cpu_percent": cpu_percent, "reserve": reserve, "keep_closed": keep_closed},
            **{"vm_cooldown_h": vm_cooldown, "host_cooldown_h": host_cooldown, **_shared(ctx.params)},
        )
        _end(current, ended)


def balance(
    ctx: typer.Context,
    hosts: HostsArgument = None,
    threshold: Annotated[float, typer.Option(metavar="POINTS", min=1, max=100, help="Above the mean, %.")] = 20.0,
    lasting: Annotated[int, typer.Option(metavar="MINUTES", min=5, max=1440, help="Imbalance lasted so long.")] = 30,
    min_gain: Annotated[float, typer.Option(min=0, max=1, help="Least fall of unevenness by one move.")] = 0.005,
    max_moves: Annotated[int, typer.Option(min=1, max=1000, help="Moves in this run, at most.")] = 10,
    vm_cooldown: CooldownOption = 12.0,
    parallel: ParallelOption = 4,
    until: UntilOption = None,
    window: WindowOption = None,
    at_end: AtEndOption = OnCancel.FINISH,
    canaries: CanariesOption = 0,
    max_downtime: MaxDowntimeOption = None,
    dry_run: DryRunOption = False,
    lift: LiftOption = None,
    on_cancel: OnCancelOption = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Relieve hosts that were busier than the others for long enough."""
    with session(ctx, inventory, as_json) as current:
        for host in hosts or ():
            current.require_hosts(host, (), lift or ())
        ended = current.run_flow(
            "balance_fleet",
            threshold_percent=threshold,
            lasting_minutes=lasting,
            min_gain=min_gain,
            max_moves=max_moves,
            vm_cooldown_h=vm_cooldown,
            **_shared(ctx.params),
        )
        _end(current, ended)


def _shared(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that both flows take; raises typer.BadParameter (exit code 2)."""
    return {
        **{name: given[name] for name in ("hosts", "dry_run", "lift", "on_cancel")},
        "max_parallel": given["parallel"],
        "window": window_of(given["until"], given["window"], OnCancel(given["at_end"])),
        "caution": CautionOptions(canaries=given["canaries"], max_downtime_ms=given["max_downtime"]),
    }


def _end(current: Session, ended: Ended) -> NoReturn:
    """Show worth, moves or outcomes, the headline, what became of emptied hosts, the next commands."""
    screen, report = current.screen, ended.result
    if not isinstance(report, OptimizationReport):
        _end_with_error(current, ended)
    decision = report.decision
    if decision.worth is not None and decision.worth.savings:
        screen.table(words.WORTH_HEAD, words.savings_rows(decision.worth.savings))
    if report.outcomes:
        show.show_outcomes(screen, report.outcomes)
    elif decision.plan.moves:
        screen.table(words.MOVE_HEAD, words.move_rows(decision))
    for line in words.left_alone_lines(decision):
        screen.say(f"left alone: {line}")
    if decision.assumed:
        screen.hint(f"watts of {', '.join(decision.assumed)} are not in the inventory: 100 W idle are assumed")
    screen.say(words.report_headline(report), style="bold")
    for line in words.after_lines(report):
        screen.say(line)
    for command in words.next_commands(report):
        screen.say(f"next: {command}")
    content = report.model_dump(mode="json", exclude={"decision": {"plan": {"snapshot"}}})
    current.end(code_of_outcomes(report.outcomes), {"headline": words.report_headline(report), "report": content})


def _end_with_error(current: Session, ended: Ended) -> NoReturn:
    error = ended.error or LeftBehind("the run ended without a report; look with: vmferry runs")
    show.show_outcomes(current.screen, ended.seen.outcomes)
    for outcome in ended.seen.outcomes:
        for command in outcome.next_commands:
            current.screen.say(f"next: {command}")
    code = code_of_outcomes(ended.seen.outcomes)
    outcomes = [outcome.model_dump(mode="json") for outcome in ended.seen.outcomes]
    current.end(code if code is not ExitCode.DONE else code_of_error(error), {"outcomes": outcomes}, problems_of(error))
