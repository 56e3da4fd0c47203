"""What a purge found and did, as people read it."""

from __future__ import annotations

from collections.abc import Iterable

from vmferry.model.purge import Fate, LeftFile, PurgeReport
from vmferry.reporting.markdown import escape, table
from vmferry.reporting.units import format_bytes

PURGE_HEAD = ("host", "file", "VM", "on disk", "what", "why")


def purge_cells(file: LeftFile) -> tuple[str, ...]:
    """Return one table row, in the order of PURGE_HEAD."""
    return file.host, file.path, file.vm or "?", format_bytes(file.allocated_bytes), file.fate, file.reason


def count_files(files: Iterable[LeftFile]) -> str:
    """`0 files`, `1 file, 2.1 GiB`."""
    found = tuple(files)
    if not found:
        return "0 files"
    word = "file" if len(found) == 1 else "files"
    return f"{len(found)} {word}, {format_bytes(sum(file.allocated_bytes for file in found))}"


def purge_headline(report: PurgeReport) -> str:
    """One line: what went or would go, and what stays."""
    return _counts(report.files) if report.files else "moves left no files"


def host_lines(report: PurgeReport) -> list[str]:
    """One line per host that has files."""
    hosts = dict.fromkeys(file.host for file in report.files)
    return [f"{host}: {_counts([file for file in report.files if file.host == host])}" for host in hosts]


def _counts(files: Iterable[LeftFile]) -> str:
    found = tuple(files)
    parts = {fate: [file for file in found if file.fate is fate] for fate in reversed(Fate)}
    return "; ".join(f"{fate}: {count_files(part)}" for fate, part in parts.items() if part)


def failed_lines(report: PurgeReport) -> list[str]:
    """One line per file that could not be removed, and per host that could not be looked at."""
    failed = (f"{file.host}:{file.path}: not removed: {file.reason}" for file in report.of(Fate.FAILED))
    return [*failed, *report.problems]


def markdown_purge(report: PurgeReport) -> str:
    """Return the report as GitHub markdown."""
    bullets = "\n".join(f"- {escape(line)}" for line in [*host_lines(report), *report.problems])
    grace = f"Grace time: {report.older_than_days:g} days after the end of the run."
    parts = ["# Files that moves left", escape(purge_headline(report)), grace, bullets]
    parts.append(table(PURGE_HEAD, (purge_cells(file) for file in report.files)))
    return "\n\n".join(part for part in parts if part) + "\n"
