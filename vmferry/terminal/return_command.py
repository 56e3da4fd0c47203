"""`vmferry return HOST`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vmferry.errors import LeftBehind
from vmferry.model.cancelling import OnCancel
from vmferry.model.convergence import PolicyName
from vmferry.model.options import CautionOptions
from vmferry.model.returning import Returning, ReturnReport
from vmferry.reporting.returning import return_commands
from vmferry.terminal import show
from vmferry.terminal.evacuate_command import (
    AtEndOption,
    MaxDowntimeOption,
    ParallelOption,
    ReasonOption,
    UntilOption,
    WindowOption,
    window_of,
)
from vmferry.terminal.exit_codes import ExitCode, code_of_error
from vmferry.terminal.options import DryRunOption, InventoryOption, JsonOption, LiftOption, OnCancelOption
from vmferry.terminal.session import Ended, Session, problems_of, session


def return_(
    ctx: typer.Context,
    host: Annotated[str, typer.Argument(metavar="HOST", help="The home.")],
    vm: Annotated[list[str] | None, typer.Option(metavar="VM", help="Only this one; repeat it.")] = None,
    ask: Annotated[bool, typer.Option("--ask", help="Show the plan first, and wait for a yes.")] = False,
    dry_run: DryRunOption = False,
    policy: Annotated[PolicyName | None, typer.Option(help="For moves that do not converge.")] = None,
    parallel: ParallelOption = 4,
    reason: ReasonOption = "return",
    until: UntilOption = None,
    window: WindowOption = None,
    at_end: AtEndOption = OnCancel.FINISH,
    max_downtime: MaxDowntimeOption = None,
    lift: LiftOption = None,
    on_cancel: OnCancelOption = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring home the VMs that evacuations took from a host, and open it for arrivals."""
    asked: dict[str, Any] = {"vms": vm, "policy": policy, "max_parallel": parallel, "reason": reason, "lift": lift}
    asked |= {"window": window_of(until, window, at_end), "on_cancel": on_cancel, "dry_run": dry_run}
    asked |= {"caution": CautionOptions(max_downtime_ms=max_downtime)}
    with session(ctx, inventory, as_json) as current:
        current.require_hosts(host, (), lift or ())
        returning = Returning.ASK if ask else Returning.AUTO
        end_return(current, current.run_flow("return_vms", host=host, returning=returning, **asked))


def end_return(current: Session, ended: Ended) -> None:
    """Show who came home and who did not."""
    report: ReturnReport | None = ended.result or ended.seen.returned
    if report is None:
        error = ended.error or LeftBehind("the return ended without a report; look with: vmferry runs")
        show.show_outcomes(current.screen, ended.seen.outcomes)
        current.end(code_of_error(error), {"report": None}, problems_of(error))
    for move in report.planned:
        current.screen.say(f"{move.vm}: {move.source} → {move.dest} {move.mode} ({move.dest_reason})")
    show.show_outcomes(current.screen, report.outcomes)
    current.screen.say(report.headline, style="bold")
    for command in return_commands(report):
        current.screen.say(f"next: {command}")
    problems = [f"{one.vm}: not home: {one.why}" for one in report.refused]
    code = ExitCode.HELD if report.is_held else ExitCode.LEFT_BEHIND if problems else ExitCode.DONE
    current.end(code, {"report": report.model_dump(mode="json")}, problems)
