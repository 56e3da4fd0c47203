"""Plans, outcomes and evacuations as people read them: markdown, a timeline, files."""

from vmferry.reporting.files import report_path, write_report
from vmferry.reporting.markdown import markdown_outcome, markdown_plan, markdown_report
from vmferry.reporting.timeline import timeline_svg, timeline_text
from vmferry.reporting.units import format_bytes, format_kib, format_ms, format_seconds
from vmferry.reporting.words import outcome_line, plan_headline, report_headline

__all__ = [
    "format_bytes",
    "format_kib",
    "format_ms",
    "format_seconds",
    "markdown_outcome",
    "markdown_plan",
    "markdown_report",
    "outcome_line",
    "plan_headline",
    "report_headline",
    "report_path",
    "timeline_svg",
    "timeline_text",
    "write_report",
]
