"""Plans, outcomes and reports as markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from vmferry.model.approval import Approval
from vmferry.model.evacuation import EvacuationPlan, EvacuationReport, Stranded
from vmferry.model.migration import MigrationOutcome
from vmferry.reporting.foretold import forecast_words
from vmferry.reporting.risks import risks
from vmferry.reporting.timeline import timeline_text
from vmferry.reporting.units import format_bytes, format_kib
from vmferry.reporting.words import (
    OUTCOME_HEAD,
    lifted_words,
    next_commands,
    outcome_cells,
    plan_headline,
    policy_words,
    report_headline,
    way_words,
)


def escape(text: str) -> str:
    """Make text from outside safe in a table cell: one line, no markup of its own."""
    one_line = re.sub(r"\s+", " ", text).strip()
    quoted = re.sub(r"([\\`*\[\]|])", r"\\\1", one_line)
    return quoted.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown_report(report: EvacuationReport, plan: EvacuationPlan | None) -> str:
    """Return the whole report: headline, VMs, stranded, what is left, timeline, next commands."""
    parts = [
        f"# {escape(report_headline(report))}",
        f"Run `{report.run}`, {report.started_at:%Y-%m-%d %H:%M:%S} to {report.ended_at:%H:%M:%S} UTC.",
        *_approved(report.approvals),
        _outcomes(report.outcomes),
    ]
    if report.is_dry_run and plan is not None:
        parts += ["## Plan", *_lifted(plan), _moves(plan)]
    parts += _stranded(report.stranded)
    if report.not_started:
        parts += ["## Not started", _bullets(report.not_started)]
    if report.tried:
        parts += ["## Earlier tries", _outcomes(report.tried)]
    if report.left and not report.is_dry_run:
        parts += [f"## Left on {escape(report.host)}", _bullets(report.left)]
    if report.outcomes:
        parts += ["## Timeline", _block(timeline_text(report))]
    parts += _notes(report.outcomes)
    parts += ["## Next", _block("\n".join(next_commands(report)))]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_plan(plan: EvacuationPlan) -> str:
    """Return the plan: who goes where and why, in the order of starting, and who cannot go."""
    parts = [f"# {escape(plan_headline(plan))}", *_lifted(plan), *_approved(plan.approvals), _moves(plan)]
    if found := risks(plan):
        parts += ["## Risks", _bullets(found)]
    warnings = [
        f"- **{escape(move.vm)}** → {escape(move.dest)}: {escape(finding.message)} "
        f"({escape(finding.rule)}{lifted_words(finding)})"
        for move in plan.moves
        for finding in move.warnings
    ]
    if warnings:
        parts += ["## Warnings", "\n".join(warnings)]
    parts += _stranded(plan.stranded)
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_outcome(outcome: MigrationOutcome) -> str:
    """Return one VM's outcome, with the next commands where there are any."""
    title = f"# {escape(outcome.vm)}: {escape(outcome.source)} → {escape(outcome.dest)}: {outcome.kind}"
    parts = [title, f"Run `{outcome.run}`.", _outcomes((outcome,)), *_notes((outcome,))]
    if outcome.next_commands:
        parts += ["## Next", _block("\n".join(outcome.next_commands))]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, its cells escaped; empty without rows."""
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    lines += [f"| {' | '.join(escape(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) if len(lines) > 2 else ""


def _block(text: str) -> str:
    return f"```text\n{text.replace('```', chr(39) * 3)}\n```"


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {escape(item)}" for item in items)


def _outcomes(outcomes: Iterable[MigrationOutcome]) -> str:
    return table(OUTCOME_HEAD, (outcome_cells(outcome) for outcome in outcomes))


def _moves(plan: EvacuationPlan) -> str:
    head = ("#", "VM", "from → to", "mode", "policy", "way", "memory", "to copy", "forecast")
    return table(
        (*head, "why this mode", "why this host"),
        (
            (
                str(move.order + 1),
                move.vm,
                f"{move.source} → {move.dest}",
                move.mode,
                policy_words(plan, move),
                way_words(move),
                format_kib(move.memory_kib),
                format_bytes(move.copy_bytes),
                forecast_words(move.forecast),
                move.mode_reason,
                move.dest_reason,
            )
            for move in sorted(plan.moves, key=lambda move: move.order)
        ),
    )


def _lifted(plan: EvacuationPlan) -> list[str]:
    return [f"Lifted by the operator: {', '.join(f'`{rule}`' for rule in plan.lifted)}."] if plan.lifted else []


def _approved(approvals: Sequence[Approval]) -> list[str]:
    return ["\n".join(f"Approved by {escape(approval.words())}." for approval in approvals)] if approvals else []


def _stranded(stranded: Sequence[Stranded]) -> list[str]:
    rows = (
        (
            vm.vm,
            host,
            "; ".join(f"{finding.message} ({finding.rule}, {finding.source})" for finding in findings),
        )
        for vm in stranded
        for host, findings in vm.reasons.items()
    )
    if not stranded:
        return []
    bare = [vm.vm for vm in stranded if not vm.reasons]
    parts = ["## Stranded", table(("VM", "host tried", "why not"), rows)]
    return [*parts, _bullets(f"{vm}: no host could be tried" for vm in bare)]


def _notes(outcomes: Iterable[MigrationOutcome]) -> list[str]:
    notes = [f"{outcome.vm}: {note}" for outcome in outcomes for note in outcome.notes]
    return ["## Notes", _bullets(notes)] if notes else []
