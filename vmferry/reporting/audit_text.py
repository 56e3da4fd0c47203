"""An audit on one screen of a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vmferry.model.audit import FileKind, FleetAudit, HostLoss
from vmferry.reporting.audit_words import (
    audit_headline,
    change_lines,
    emptying_words,
    file_place,
    files_line,
    loss_words,
    rules_line,
    trouble_line,
)
from vmferry.reporting.svg import clean
from vmferry.reporting.units import format_bytes

_HOSTS, _LINES = 20, 8  # shown at most, per section


def audit_text(audit: FleetAudit) -> str:
    """Return the audit in some forty lines: alarms first, a row per host, who is stuck, what changed, what lies about.

    Long sections are cut and say so; `markdown_audit` and the JSON have everything.
    """
    parts = [
        [trouble_line(alarm) for alarm in audit.alarms],
        [f"audit of {audit.taken_at:%Y-%m-%d %H:%M} UTC: {audit_headline(audit)}"],
        _hosts(audit),
        _section("can go nowhere (`vmferry check VM` tells why, and what to do)", _stuck(audit)),
        _section("would not start again if their host went down", _lost(audit)),
        _section("look at", (trouble_line(t) for t in audit.troubles if not t.is_alarm)),
        _changes(audit),
        _files(audit),
        list(audit.notes),
    ]
    return "\n\n".join("\n".join(clean(line) for line in lines) for lines in parts if lines) + "\n"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    listed = list(lines)
    more = [f"  … and {len(listed) - _LINES} more"] if len(listed) > _LINES else []
    return [f"{title}:", *(f"  {line}" for line in listed[:_LINES]), *more] if listed else []


def _hosts(audit: FleetAudit) -> list[str]:
    """Return a row per host; in a large fleet only those with something to tell."""
    lost = {unread.host: unread.reason for unread in audit.movability.unread}
    counts = {host: [0, 0] for host in audit.movability.hosts}
    for row in audit.movability.rows:
        counts[row.host][0 if row.movable_to else 1] += 1
    losses = {loss.host: loss for loss in audit.losses}
    rows = [("host", "VMs", "movable", "empty it?", "if it went down now")]
    quiet = 0
    for emptying in audit.emptying:
        loss, (free, stuck) = losses.get(emptying.host, HostLoss(host=emptying.host)), counts[emptying.host]
        if len(audit.emptying) > _HOSTS and not (stuck or emptying.stranded or loss.stranded):
            quiet += 1
            continue
        rows.append((emptying.host, str(free + stuck), str(free), emptying_words(emptying.stranded), loss_words(loss)))
    hidden = len(rows) - 1 - _HOSTS
    lines = table(rows[: _HOSTS + 1])
    lines += [f"… and {hidden} more hosts with something to tell"] if hidden > 0 else []
    lines += [f"{quiet} other hosts: can be emptied, and all their running VMs would start elsewhere"] if quiet else []
    return lines + [f"{host}: not read: {reason}" for host, reason in lost.items()]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as aligned columns, two blanks between them."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _stuck(audit: FleetAudit) -> list[str]:
    return [f"{row.vm} ({row.host}, {row.state}): {rules_line(row.blocked)}" for row in audit.movability.immovable]


def _lost(audit: FleetAudit) -> list[str]:
    """Return who would be stranded by a loss although it can be moved: the others are told already."""
    told = {row.uuid for row in audit.movability.immovable}
    return [
        f"{vm.vm} ({loss.host}): {rules_line(vm.reasons)}"
        for loss in audit.losses
        for vm in loss.stranded
        if vm.uuid not in told
    ]


def _changes(audit: FleetAudit) -> list[str]:
    if audit.changes is None:
        return ["no earlier audit to compare with"]
    since = f"since {audit.changes.since:%Y-%m-%d %H:%M} UTC"
    return _section(f"changed {since}", change_lines(audit.changes)) or [f"nothing changed {since}"]


def _files(audit: FleetAudit) -> list[str]:
    lines = [f"could not list files: {problem}" for problem in audit.file_problems]
    if audit.files:
        shown = [f for f in audit.files if f.kind not in (FileKind.MEDIA, FileKind.IN_WORK, FileKind.UNDECIDED)]
        largest = sorted(shown, key=lambda file: -file.allocated_bytes)
        lines += _section(
            f"files that no domain names: {files_line(audit.files)}",
            (
                f"{format_bytes(f.allocated_bytes)}  {file_place(f)}{f'  ({f.detail})' if f.detail else ''}"
                for f in largest
            ),
        ) or [f"files that no domain names: {files_line(audit.files)}"]
    return lines
