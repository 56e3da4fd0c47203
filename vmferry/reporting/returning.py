"""Returns as lines and as markdown."""

from __future__ import annotations

from vmferry.model.returning import ReturnReport
from vmferry.reporting.markdown import escape, table
from vmferry.reporting.words import OUTCOME_HEAD, outcome_cells


def markdown_return(report: ReturnReport) -> str:
    """Return the whole report: headline, who goes or went, who does not return and why."""
    parts = [f"# {escape(report.headline)}"]
    if report.planned:
        rows = ((m.vm, f"{m.source} → {m.dest}", str(m.mode), m.dest_reason) for m in report.planned)
        parts += ["## Next", table(("VM", "from → to", "mode", "why"), rows)]
    if report.outcomes:
        parts += ["## Moves", table(OUTCOME_HEAD, (outcome_cells(outcome) for outcome in report.outcomes))]
    if report.refused:
        rows_not = ((one.vm, one.home, one.why) for one in report.refused)
        parts += ["## Not brought home", table(("VM", "home", "why"), rows_not)]
    notes = [f"- {escape(outcome.vm)}: {escape(note)}" for outcome in report.outcomes for note in outcome.notes]
    parts += ["## Notes", "\n".join(notes)] if notes else []
    return "\n\n".join(part for part in parts if part) + "\n"


def return_commands(report: ReturnReport) -> tuple[str, ...]:
    """Return what an operator types next."""
    if report.is_dry_run:
        return (f"vmferry return {report.host}",) if report.planned else ()
    commands = [command for outcome in report.outcomes for command in outcome.next_commands]
    commands += ["vmferry recover"] if report.is_held else []
    commands += [f"vmferry return {report.host}   # again, when the reasons are gone"] if report.refused else []
    commands += [] if report.home else [f"vmferry uncordon {report.host}   # nobody came home: it is still closed"]
    return tuple(dict.fromkeys(commands))
