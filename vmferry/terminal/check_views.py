"""What `vmferry check` shows, what its document holds, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from vmferry.model.audit import FleetAudit, Verdict, VmRow
from vmferry.model.evacuation import EvacuationPlan
from vmferry.model.findings import PreflightReport, Severity
from vmferry.planning.candidates import Candidate
from vmferry.planning.movability import row_of, unread_hosts
from vmferry.reporting.audit_text import audit_text
from vmferry.reporting.words import count_vms, plan_headline
from vmferry.rules.judge import Judge
from vmferry.terminal import show
from vmferry.terminal.endings import stranded_lines
from vmferry.terminal.exit_codes import ExitCode, code_of_audit
from vmferry.terminal.session import Session

# A matrix that fits a screen; a larger one is in the document, and the audit flow draws it.
_ROWS, _COLUMNS = 40, 8
_CELLS = {
    Verdict.FREE: "yes",
    Verdict.WARNED: "yes, warned",
    Verdict.BLOCKED: "no",
    Verdict.UNREAD: "?",
    Verdict.HERE: "-",
}


def end_fleet(current: Session, audit: FleetAudit) -> NoReturn:
    """Show the audit, the matrix where it is small, and who can go nowhere."""
    screen, matrix = current.screen, audit.movability
    for line in audit_text(audit).splitlines():  # alarms first
        screen.say(line)
    if len(matrix.rows) <= _ROWS and len(matrix.hosts) <= _COLUMNS:
        rows = [[row.vm, row.mode, *(_CELLS[row.verdict(host)] for host in matrix.hosts)] for row in matrix.rows]
        screen.say("")
        screen.table(("VM", "mode", *matrix.hosts), rows)
    problems = [alarm.message for alarm in audit.alarms]
    problems += [f"host {unread.host}: not read: {unread.reason}" for unread in matrix.unread]
    problems += [f"{row.vm} ({row.host}): can go nowhere" for row in matrix.immovable]
    problems += [f"host {empty.host}: cannot be emptied" for empty in audit.emptying if empty.stranded]
    current.end(code_of_audit(audit), {"audit": audit.model_dump(mode="json")}, problems)


def end_host(current: Session, plan: EvacuationPlan) -> NoReturn:
    """Show the joint plan, and per VM that would stay the reason for every host."""
    show.show_plan(current.screen, plan)
    can_be_emptied = not plan.stranded
    current.screen.say(plan_headline(plan))
    verdict = "can be emptied" if can_be_emptied else f"cannot be emptied: {count_vms(len(plan.stranded))} would stay"
    current.screen.say(f"{plan.host} {verdict}; nothing was touched", style="bold")
    content = {"host": plan.host, "can_be_emptied": can_be_emptied, "plan": show.plan_content(plan)}
    problems = [line for stranded in plan.stranded for line in stranded_lines(stranded)]
    current.end(ExitCode.DONE if can_be_emptied else ExitCode.LEFT_BEHIND, content, problems)


def end_vm(current: Session, rules: Judge, source: str, candidate: Candidate, dests: Sequence[str]) -> NoReturn:
    """Show every host with all findings."""
    screen, vm, row = current.screen, candidate.vm, row_of(source, candidate)
    unread = {u.host: u.reason for u in unread_hosts(rules.fleet) if not dests or u.host in dests}
    screen.say(f"{vm.name} ({vm.uuid}) is {vm.state} on {source}: {candidate.mode} ({candidate.mode_reason})")
    for dest, report in candidate.reports.items():
        _show_dest(current, row, dest, report)
    for host, reason in unread.items():
        screen.say(f"{host}: not read: {reason}")
    where = ", ".join(row.movable_to)
    screen.say(f"{vm.name} {f'may go to {where}' if where else 'can go nowhere'}; nothing was touched", style="bold")
    problems = [] if where else [f"{vm.name} can go nowhere: {_tried(candidate, unread)}"]
    code = ExitCode.DONE if where else ExitCode.LEFT_BEHIND
    current.end(code, _vm_content(row, candidate, unread), problems)


def _tried(candidate: Candidate, unread: dict[str, str]) -> str:
    tried = [*(f"{dest} blocked" for dest in candidate.reports), *(f"{host} not read" for host in unread)]
    return ", ".join(tried) or "the inventory has no other host"


def _show_dest(current: Session, row: VmRow, dest: str, report: PreflightReport) -> None:
    current.screen.say(f"{dest}: {row.verdict(dest)}", style="bold")
    for finding in report.findings:
        style = "red" if finding.severity is Severity.BLOCK else "yellow"
        current.screen.say(f"  {show.finding_line(finding)}", style=style)


def _vm_content(row: VmRow, candidate: Candidate, unread: dict[str, str]) -> dict[str, Any]:
    hosts = {
        dest: {"verdict": row.verdict(dest), "findings": [f.model_dump(mode="json") for f in report.findings]}
        for dest, report in candidate.reports.items()
    }
    known = row.model_dump(mode="json", include={"vm", "uuid", "host", "state", "mode", "mode_reason"})
    return {**known, "movable_to": list(row.movable_to), "hosts": hosts, "unread": unread}
