"""How the commands that move VMs end: what is shown last, what is written, which exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from vmferry.errors import LeftBehind, VmferryError
from vmferry.model.evacuation import EvacuationPlan, EvacuationReport, Stranded
from vmferry.model.findings import PreflightReport
from vmferry.model.migration import MigrationOutcome
from vmferry.reporting import outcome_line, report_headline, report_path, write_report
from vmferry.reporting.share_words import share_headline
from vmferry.reporting.words import next_commands
from vmferry.terminal import show
from vmferry.terminal.exit_codes import (
    ExitCode,
    code_of_error,
    code_of_outcomes,
    code_of_report,
)
from vmferry.terminal.session import Ended, Session, problems_of


def _worst(code: ExitCode, error: VmferryError | None) -> ExitCode:
    """The result decides; an error after a good result still is one."""
    return code_of_error(error) if error is not None and code is ExitCode.DONE else code


def stranded_lines(stranded: Stranded) -> list[str]:
    """One line per reason, with the hosts it holds for; never nothing."""
    hosts: dict[str, list[str]] = {}
    for host, findings in stranded.reasons.items():
        for finding in findings:
            hosts.setdefault(f"{finding.rule}: {finding.message} ({finding.source})", []).append(host)
    lines = [f"{stranded.vm}: stranded: not to {', '.join(where)}: {text}" for text, where in hosts.items()]
    return lines or [f"{stranded.vm}: stranded: no host could be tried"]


def end_evacuation(current: Session, ended: Ended) -> NoReturn:
    """Show plan or outcomes, who is stranded and why, the headline, the report's path, the next commands."""
    screen, plan, error = current.screen, ended.seen.plan, ended.error
    report: EvacuationReport | None = ended.result or ended.seen.report
    if report is None:
        raise error or LeftBehind("the evacuation ended without a report; look with: vmferry runs")
    if report.is_dry_run and plan is not None:
        show.show_plan(screen, plan)
    show.show_outcomes(screen, report.outcomes)
    problems = [line for vm in report.stranded for line in stranded_lines(vm)]
    problems += [f"{vm}: not started" for vm in report.not_started]
    code = _worst(code_of_report(report), error)
    if error is not None and not isinstance(error, LeftBehind):  # LeftBehind repeats the headline
        problems += [line for line in problems_of(error) if line not in problems]
    path = None if report.is_dry_run else _write(current, report, plan)
    screen.say(report_headline(report), style="bold")
    if path is not None:
        screen.say(f"report: {path}")
    for command in next_commands(report):
        screen.say(f"next: {command}")
    content = {
        "headline": report_headline(report),
        "report_path": path,
        "plan": show.plan_content(plan),
        "report": report.model_dump(mode="json"),
    }
    current.end(code, content, problems)


def _write(current: Session, report: EvacuationReport, plan: EvacuationPlan | None) -> str | None:
    """Return the path of the report that the flow wrote; write it when it did not."""
    path = report_path(current.settings.report_dir, report)
    try:
        return str(path if path.exists() else write_report(current.settings.report_dir, report, plan))
    except OSError as error:
        current.screen.hint(f"{path}: the report cannot be written: {error}; set VMFERRY_REPORT_DIR")
        return None


def end_migration(current: Session, ended: Ended) -> NoReturn:
    """Show one VM's outcome, or the judgement of a dry run."""
    error = ended.error
    result: MigrationOutcome | PreflightReport = ended.result or ended.seen.outcomes[-1]
    if isinstance(result, PreflightReport):
        show.show_preflight(current.screen, result)
        blockers = [show.finding_line(finding) for finding in result.blockers]
        code = ExitCode.REFUSED if blockers else ExitCode.DONE
        current.end(code, {"preflight": result.model_dump(mode="json")}, blockers)
    code = _worst(code_of_outcomes([result]), error)
    _say_outcomes(current, ended, [result])
    problems = problems_of(error) if error is not None else []
    current.end(code, {"outcome": result.model_dump(mode="json")}, problems)


def _say_outcomes(current: Session, ended: Ended, outcomes: Sequence[MigrationOutcome]) -> None:
    """Outcomes that an event has shown are not shown again; notes and commands are."""
    for outcome in outcomes:
        if outcome not in ended.seen.outcomes:
            current.screen.say(outcome_line(outcome), style="bold")
        for note in outcome.notes:
            current.screen.say(f"{outcome.vm}: {note}")
        for command in outcome.next_commands:
            current.screen.say(f"next: {command}")


def end_recovery(current: Session, ended: Ended) -> NoReturn:
    """Show how each open run was settled, and each share of storage."""
    error, shares = ended.error, ended.seen.shares
    outcomes: Sequence[MigrationOutcome] = ended.seen.outcomes if ended.result is None else ended.result
    _say_outcomes(current, ended, outcomes)
    for alone in ended.seen.left_alone:
        current.screen.say(
            f"{alone.vm}: run {alone.run} is left alone: {alone.owner} works on it (user@host:pid:start)"
        )
    for share in shares:
        current.screen.say(share_headline(share), style="bold")
        for note in share.notes:
            current.screen.say(note)
    if not outcomes and not shares and not ended.seen.left_alone:
        current.screen.say("no open runs: nothing to settle")
    code = _worst(code_of_outcomes(outcomes, is_recovery=True), error)
    problems = problems_of(error) if error is not None else []
    content = {"outcomes": outcomes, "shares": shares}
    current.end(code, {name: [one.model_dump(mode="json") for one in ends] for name, ends in content.items()}, problems)
