"""Audits on disk: what the next one is compared with, and what people read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from vmferry.model.audit import FORM, FleetAudit, SavedAudit
from vmferry.reporting.audit_markdown import markdown_audit
from vmferry.reporting.audit_picture import movability_svg

KEPT = 60  # audits: more than a year of Mondays, two months of nights
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z")  # sorts by time
_SUFFIXES = (".json", ".md", ".svg")


def audits_dir(report_dir: Path) -> Path:
    """Return where audits lie."""
    return report_dir / "audits"


def load_before(report_dir: Path, hosts: Iterable[str]) -> tuple[SavedAudit | None, tuple[str, ...]]:
    """Return the newest earlier audit of this fleet, and what to say of those that cannot be used. Reads only.

    An audit that shares no host with `hosts` is of another inventory and is passed over. Damage is told, never raised.
    """
    wanted, notes = set(hosts), []
    for path in sorted(_saved(report_dir), reverse=True):
        try:
            saved = SavedAudit.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            notes.append(f"the earlier audit {path} cannot be read and is passed over: {_first_line(error)}")
            continue
        if saved.version != FORM:
            notes.append(f"the earlier audit {path} is of another vmferry (form {saved.version}) and is passed over")
        elif wanted & set(saved.hosts):
            return saved, tuple(notes)
    return None, tuple(notes)


def save_audit(report_dir: Path, audit: FleetAudit) -> Path:
    """Write the compact JSON, report and picture of an audit; return the path of the report. Raises OSError.

    The JSON appears whole or not at all, and last: the next audit never reads half a one.
    """
    directory = audits_dir(report_dir)
    directory.mkdir(parents=True, exist_ok=True)
    stem = f"{audit.taken_at:%Y%m%dT%H%M%S.%fZ}"
    picture, report, data = (directory / f"{stem}{suffix}" for suffix in (".svg", ".md", ".json"))
    picture.write_text(movability_svg(audit), encoding="utf-8")
    report.write_text(f"{markdown_audit(audit)}\n![who could go where]({picture.name})\n", encoding="utf-8")
    unfinished = data.with_suffix(".json.part")
    unfinished.write_text(SavedAudit.of(audit.movability).model_dump_json() + "\n", encoding="utf-8")
    unfinished.replace(data)
    return report


def remove_old(report_dir: Path, kept: int = KEPT) -> None:
    """Remove all but the newest audits; for a run that ended well. Files of other names stay."""
    stems = sorted({path.stem for path in _saved(report_dir)}, reverse=True)
    for stem in stems[kept:]:
        for suffix in _SUFFIXES:
            (audits_dir(report_dir) / f"{stem}{suffix}").unlink(missing_ok=True)


def _saved(report_dir: Path) -> Iterator[Path]:
    return (path for path in audits_dir(report_dir).glob("*.json") if _NAME.fullmatch(path.stem))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
