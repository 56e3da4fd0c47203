"""`vmferry roll HOST…`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vmferry.errors import InvalidInput, LeftBehind
from vmferry.model.cancelling import OnCancel
from vmferry.model.options import CautionOptions
from vmferry.model.returning import Returning
from vmferry.model.roll import RollReport, WorkKind, WorkOptions
from vmferry.reporting.rolling import ROLL_HEAD, roll_cells, roll_commands
from vmferry.terminal.evacuate_command import (
    AtEndOption,
    MaxDowntimeOption,
    ParallelOption,
    ReasonOption,
    TicketOption,
    UntilOption,
    WaysOption,
    WindowOption,
    window_of,
)
from vmferry.terminal.exit_codes import ExitCode, code_of_error
from vmferry.terminal.options import InventoryOption, JsonOption, LiftOption, OnCancelOption, parse_ways
from vmferry.terminal.session import Ended, Session, problems_of, session

_WORK = WorkOptions()


def roll(
    ctx: typer.Context,
    hosts: Annotated[list[str] | None, typer.Argument(metavar="HOST...", help="In this order.")] = None,
    run: Annotated[
        list[str] | None, typer.Option(metavar="ARG", help="Command on the empty host, a word each; repeat it.")
    ] = None,
    deployment: Annotated[str, typer.Option(metavar="FLOW/DEPLOYMENT", help="Or this one of Prefect.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Or wait until a person has done the work.")] = False,
    work_timeout: Annotated[float, typer.Option(metavar="S", min=1, help="Of the work, s.")] = _WORK.timeout_s,
    reboot: Annotated[bool, typer.Option("--reboot", help="Reboot after the work.")] = False,
    reboot_timeout: Annotated[float, typer.Option(metavar="S", min=1, help="s.")] = _WORK.reboot_timeout_s,
    health_timeout: Annotated[float, typer.Option(metavar="S", min=0, help="s.")] = _WORK.health_timeout_s,
    returning: Annotated[Returning, typer.Option(help="Whether VMs come home afterwards.")] = Returning.AUTO,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Hosts empty at once, where there is room.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last roll.")] = False,
    mode: WaysOption = None,
    parallel: ParallelOption = 4,
    reason: ReasonOption = "rolling maintenance",
    ticket: TicketOption = "",
    until: UntilOption = None,
    window: WindowOption = None,
    at_end: AtEndOption = OnCancel.FINISH,
    max_downtime: MaxDowntimeOption = None,
    lift: LiftOption = None,
    on_cancel: OnCancelOption = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Work on hosts one after the other, each empty meanwhile: evacuate, work, reboot, look, return, next."""
    kinds = {WorkKind.COMMAND: bool(run), WorkKind.DEPLOYMENT: bool(deployment), WorkKind.HUMAN: wait}
    chosen = [kind for kind, is_asked in kinds.items() if is_asked]
    asked = flow_parameters(ctx.params, chosen[0] if chosen else WorkKind.NONE)
    with session(ctx, inventory, as_json) as current:
        _check(current, hosts or [], len(chosen), resume=resume)
        end_roll(current, current.run_flow("roll_hosts", **asked))


def flow_parameters(given: Mapping[str, Any], kind: WorkKind) -> dict[str, Any]:
    """Return the flow's parameters for the options of the command; raises typer.BadParameter (exit code 2)."""
    work = WorkOptions(
        kind=kind,
        command=list(given["run"] or ()),
        deployment=given["deployment"],
        timeout_s=given["work_timeout"],
        reboot=given["reboot"],
        reboot_timeout_s=given["reboot_timeout"],
        health_timeout_s=given["health_timeout"],
    )
    same = ("hosts", "returning", "at_once", "resume", "reason", "ticket", "lift", "on_cancel")
    return {
        **{name: given[name] for name in same},
        "work": work,
        "modes": parse_ways(given["mode"] or ()),
        "max_parallel": given["parallel"],
        "caution": CautionOptions(max_downtime_ms=given["max_downtime"]),
        "window": window_of(given["until"], given["window"], OnCancel(given["at_end"])),
    }


def _check(current: Session, hosts: list[str], works: int, *, resume: bool) -> None:
    problems = []
    if works > 1:
        problems.append("--run, --deployment and --wait are three kinds of work; choose one")
    if resume and hosts:
        problems.append("--resume goes on with the hosts of the last roll; name none")
    if not resume and not hosts:
        problems.append("no hosts; name those to be rolled over, or give --resume")
    if problems:
        raise InvalidInput("; ".join(problems), problems=tuple(problems))
    for host in hosts:
        current.require_hosts(host, ())


def end_roll(current: Session, ended: Ended) -> None:
    """Show how far each host has come."""
    report: RollReport | None = ended.result or ended.seen.rolled
    if report is None:
        error = ended.error or LeftBehind("the roll ended without a report; look with: vmferry runs")
        current.end(code_of_error(error), {"report": None}, problems_of(error))
    current.screen.table(ROLL_HEAD, [list(roll_cells(host)) for host in report.hosts])
    current.screen.say(report.headline, style="bold")
    for command in roll_commands(report):
        current.screen.say(f"next: {command}")
    code = ExitCode.DONE if report.is_done else ExitCode.LEFT_BEHIND
    code = ExitCode.HELD if report.stopped.startswith("HELD") else code
    problems = [f"host {host.host}: {host.reason}" for host in report.hosts if host.reason]
    current.end(code, {"report": report.model_dump(mode="json", exclude={"hosts": {"__all__": {"before"}}})}, problems)
