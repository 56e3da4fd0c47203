"""A report on disk, complete enough to replay the plan from a bug report."""

from __future__ import annotations

import re
from pathlib import Path

from vmferry.model.evacuation import EvacuationPlan, EvacuationReport
from vmferry.model.migration import OutcomeKind
from vmferry.reporting.fleet_picture import fleet_svg
from vmferry.reporting.markdown import markdown_report
from vmferry.reporting.timeline import timeline_svg


def report_path(directory: Path, report: EvacuationReport) -> Path:
    """Return where `write_report` puts report.md: one folder per run, sorted by time."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{report.host}-{report.run}").strip(".")
    return directory / f"{report.started_at:%Y%m%dT%H%M%SZ}-{safe}" / "report.md"


def write_report(directory: Path, report: EvacuationReport, plan: EvacuationPlan | None) -> Path:
    """Write report.md, report.json, timeline.svg, fleet.svg and plan.json; return the path of report.md.

    The folder depends on the report alone: writing it again gives the same files. Raises OSError.
    """
    path = report_path(directory, report)
    path.parent.mkdir(parents=True, exist_ok=True)
    markdown = markdown_report(report, plan)
    if report.outcomes:
        (path.parent / "timeline.svg").write_text(timeline_svg(report), encoding="utf-8")
        markdown = markdown.replace("## Timeline\n", "## Timeline\n\n![timeline](timeline.svg)\n", 1)
    if plan is not None:
        moved = [outcome.vm for outcome in report.outcomes if outcome.kind is OutcomeKind.MOVED]
        (path.parent / "fleet.svg").write_text(fleet_svg(plan, moved), encoding="utf-8")
        markdown += "\n## Fleet\n\n![memory of the fleet, before and after](fleet.svg)\n"
        (path.parent / "plan.json").write_text(plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (path.parent / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    path.write_text(markdown, encoding="utf-8")
    return path
