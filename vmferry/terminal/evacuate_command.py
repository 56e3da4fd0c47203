"""`vmferry evacuate HOST`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from vmferry.errors import InvalidInput
from vmferry.model.approval import ApprovalRule
from vmferry.model.cancelling import OnCancel
from vmferry.model.convergence import PolicyName
from vmferry.model.operation import Incoming, WayOut
from vmferry.model.options import (
    ApprovalOptions,
    CautionOptions,
    OnSilence,
    ProbeOptions,
    StopOptions,
    WindowOptions,
)
from vmferry.terminal.endings import end_evacuation
from vmferry.terminal.options import (
    DryRunOption,
    InventoryOption,
    JsonOption,
    LiftOption,
    OnCancelOption,
    parse_policies,
    parse_ways,
)
from vmferry.terminal.session import session
from vmferry.terminal.times import parse_length_s, parse_until

_CAUTION = CautionOptions()
_STOP = StopOptions()
_APPROVAL = ApprovalOptions()
_BOUNDS = "Bounds of the run"
WaysOption = Annotated[
    list[str] | None, typer.Option("--mode", metavar="VM=WAY", help=f"{', '.join(WayOut)}; repeat it.")
]
PolicyOption = Annotated[
    list[str] | None,
    typer.Option(metavar="[VM=]POLICY", help=f"For moves that do not converge: {', '.join(PolicyName)}; repeat it."),
]
ParallelOption = Annotated[int, typer.Option(min=1, max=64, help="Moves at once, at most.")]
ReasonOption = Annotated[str, typer.Option(help="Kept with the cordon and in the report.")]
TicketOption = Annotated[str, typer.Option(metavar="TEXT", help="Number of the ticket; kept with the reason.")]
UntilOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="No move starts that would end later: 05:00, or a date.", rich_help_panel=_BOUNDS
    ),
]
WindowOption = Annotated[
    str | None,
    typer.Option(metavar="LENGTH", help="The same from now on: 4h, 90m.", rich_help_panel=_BOUNDS),
]
AtEndOption = Annotated[
    OnCancel, typer.Option(help="What becomes of moves that run at that time.", rich_help_panel=_BOUNDS)
]
CanariesOption = Annotated[
    int, typer.Option(min=0, max=100, help="So many VMs move well before the rest.", rich_help_panel=_BOUNDS)
]
CanaryOption = Annotated[
    list[str] | None, typer.Option(metavar="VM", help="This one first; repeat it.", rich_help_panel=_BOUNDS)
]
MaxMovesOption = Annotated[
    int | None, typer.Option(min=1, help="The rest is left for the next run.", rich_help_panel=_BOUNDS)
]
MaxFailuresOption = Annotated[
    int, typer.Option(min=0, help="Failed moves that end the run; 0: never.", rich_help_panel=_BOUNDS)
]
MaxSameCauseOption = Annotated[
    int, typer.Option(min=0, help="The same for one cause; 0: never.", rich_help_panel=_BOUNDS)
]
MaxDowntimeOption = Annotated[
    int | None,
    typer.Option(metavar="MS", min=1, help="A longer downtime ends the run.", rich_help_panel=_BOUNDS),
]
RetriesOption = Annotated[
    int, typer.Option(min=0, max=10, help="Other destinations tried for a failed VM.", rich_help_panel=_BOUNDS)
]
BackoffOption = Annotated[
    float, typer.Option(metavar="S", min=0, help="Before that, s; doubles.", rich_help_panel=_BOUNDS)
]


def window_of(until: str | None, length: str | None, at_end: OnCancel) -> WindowOptions:
    """Return the window that the options stand for; raises typer.BadParameter."""
    ends_at = parse_until(until, datetime.now().astimezone(), "--until")
    return WindowOptions(until=ends_at, length_s=parse_length_s(length, "--window"), at_end=at_end)


def evacuate(
    ctx: typer.Context,
    host: Annotated[str, typer.Argument(metavar="HOST", help="A host of the inventory.")],
    to: Annotated[list[str] | None, typer.Option(metavar="HOST", help="Only to these; repeat it.")] = None,
    dry_run: DryRunOption = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with its last evacuation, by its plan.")] = False,
    mode: WaysOption = None,
    policy: PolicyOption = None,
    parallel: ParallelOption = 4,
    reason: ReasonOption = "evacuation",
    ticket: TicketOption = "",
    incoming: Annotated[Incoming, typer.Option(help="What becomes of moves that come there.")] = Incoming.WAIT,
    stop_timeout: Annotated[float, typer.Option(metavar="S", help="Of stop-and-start, s.")] = _STOP.timeout_s,
    force_off: Annotated[bool, typer.Option("--force-off", help="Of stop-and-start: pull the plug then.")] = False,
    on_silence: Annotated[OnSilence, typer.Option(help="A guest whose probes fail afterwards.")] = OnSilence.ALERT,
    until: UntilOption = None,
    window: WindowOption = None,
    at_end: AtEndOption = OnCancel.FINISH,
    canaries: CanariesOption = 0,
    canary: CanaryOption = None,
    max_moves: MaxMovesOption = None,
    max_failures: MaxFailuresOption = _CAUTION.max_failures or 0,
    max_same_cause: MaxSameCauseOption = _CAUTION.max_same_cause or 0,
    max_downtime: MaxDowntimeOption = None,
    retries: RetriesOption = _CAUTION.retries,
    backoff: BackoffOption = _CAUTION.backoff_s,
    approval: Annotated[ApprovalRule, typer.Option(help="Who must agree to the plan.")] = ApprovalRule.NONE,
    approval_minutes: Annotated[float, typer.Option(metavar="MIN", min=1, help="So long.")] = _APPROVAL.minutes,
    lift: LiftOption = None,
    on_cancel: OnCancelOption = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Empty a host: cordon it, plan, move every VM by the right kind of migration, report."""
    asked = flow_parameters(ctx.params)  # all of the above, by name: a function of so many lines is read by nobody
    with session(ctx, inventory, as_json) as current:
        current.require_hosts(host, to or (), lift or ())
        _require_people(approval)
        end_evacuation(current, current.run_flow("evacuate_host", **asked))


def _require_people(rule: ApprovalRule) -> None:
    """Refuse to wait for people whom nobody can ask: the command line's own server ends with it."""
    if rule is ApprovalRule.NONE or "PREFECT_API_URL" in os.environ or (sys.stdin is not None and sys.stdin.isatty()):
        return
    raise InvalidInput(
        f"--approval {rule}: there is no terminal to ask at; run it at one, or set PREFECT_API_URL to a Prefect "
        "server, where people answer in the form of the paused run"
    )


def flow_parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flow's parameters for the options of the command; raises typer.BadParameter (exit code 2)."""
    for_all, policies = parse_policies(given["policy"] or ())
    caution = CautionOptions(
        canaries=given["canaries"],
        canary_vms=list(given["canary"] or ()),
        max_moves=given["max_moves"],
        max_failures=given["max_failures"] or None,
        max_same_cause=given["max_same_cause"] or None,
        max_downtime_ms=given["max_downtime"],
        retries=given["retries"],
        backoff_s=given["backoff"],
    )
    same = ("host", "dry_run", "resume", "reason", "ticket", "incoming", "lift", "on_cancel")
    return {
        **{name: given[name] for name in same},
        "dests": list(given["to"] or ()),
        "modes": parse_ways(given["mode"] or ()),
        "policy": for_all,
        "policies": policies,
        "max_parallel": given["parallel"],
        "window": window_of(given["until"], given["window"], OnCancel(given["at_end"])),
        "caution": caution,
        "probes": ProbeOptions(on_silence=OnSilence(given["on_silence"])),
        "approval": ApprovalOptions(who=ApprovalRule(given["approval"]), minutes=given["approval_minutes"]),
        "stop": StopOptions(timeout_s=given["stop_timeout"], force=given["force_off"]),
    }
