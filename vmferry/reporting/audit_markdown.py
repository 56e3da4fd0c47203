"""An audit as markdown, and its matrix as a table."""

from __future__ import annotations

from collections.abc import Iterable

from vmferry.model.audit import FileKind, FleetAudit, HostLoss, OrphanFile, Verdict, VmRow
from vmferry.reporting.audit_words import (
    BEFORE_REMOVING,
    audit_headline,
    change_lines,
    emptying_words,
    file_place,
    files_line,
    loss_words,
    reasons,
    rules_line,
    trouble_line,
)
from vmferry.reporting.markdown import escape, table
from vmferry.reporting.units import format_bytes

# Above these a VM × host table is unreadable: one row per host instead.
MAX_ROWS, MAX_COLUMNS = 60, 12
_FILES_SHOWN = 50
_LISTED = 200  # VMs with their reasons
_MARKS = {Verdict.FREE: "✓", Verdict.WARNED: "!", Verdict.BLOCKED: "✗", Verdict.UNREAD: "?", Verdict.HERE: "–"}


def markdown_audit(audit: FleetAudit) -> str:
    """Return the whole audit; the matrix itself is `matrix_table`."""
    parts = [
        f"# {escape(audit_headline(audit))}",
        f"Read {audit.taken_at:%Y-%m-%d %H:%M} UTC; nothing was changed.",
        *_section("Alarm", (escape(trouble_line(alarm)) for alarm in audit.alarms)),
        *_section("Changed", _changes(audit)),
        "## Hosts",
        table(HOST_HEAD, host_rows(audit)),
        *_section("Not read", (escape(f"{lost.host}: {lost.reason}") for lost in audit.movability.unread)),
        *_stuck(audit),
        *_lost(audit),
        *_section("Look at", (escape(trouble_line(t)) for t in audit.troubles if not t.is_alarm)),
        *_files(audit),
        *_section("Notes", (escape(note) for note in audit.notes)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def is_small(audit: FleetAudit) -> bool:
    """Whether a row per VM can be read."""
    return len(audit.movability.rows) <= MAX_ROWS and len(audit.movability.hosts) <= MAX_COLUMNS


def matrix_table(audit: FleetAudit) -> list[dict[str, str]]:
    """Return the matrix as rows of a table: VM × host, or in a large fleet one row per host."""
    if not is_small(audit):
        return [dict(zip(HOST_HEAD, row, strict=True)) for row in host_rows(audit)]
    return [
        {"VM": row.vm, "on": row.host, "mode": str(row.mode)} | {h: _cell(row, h) for h in audit.movability.hosts}
        for row in audit.movability.rows
    ]


def _cell(row: VmRow, host: str) -> str:
    verdict = row.verdict(host)
    if verdict is Verdict.BLOCKED:
        rules = ", ".join(dict.fromkeys(finding.rule for finding in row.blocked[host]))
        return f"{_MARKS[verdict]} {rules}"
    return f"{_MARKS[verdict]} {', '.join(row.warned[host])}" if verdict is Verdict.WARNED else _MARKS[verdict]


HOST_HEAD = ("host", "VMs", "can move", "nowhere", "can be emptied", "if it went down now", "can go nowhere")


def host_rows(audit: FleetAudit) -> list[tuple[str, ...]]:
    """Return a row per host that was read, in the order of HOST_HEAD."""
    by_host: dict[str, list[VmRow]] = {}
    for row in audit.movability.rows:
        by_host.setdefault(row.host, []).append(row)
    losses = {loss.host: loss for loss in audit.losses}
    rows: list[tuple[str, ...]] = []
    for emptying in audit.emptying:
        vms = by_host.get(emptying.host, [])
        stuck = [row.vm for row in vms if not row.movable_to]
        loss = losses.get(emptying.host, HostLoss(host=emptying.host))
        rows.append(
            (
                emptying.host,
                str(len(vms)),
                str(len(vms) - len(stuck)),
                str(len(stuck)),
                emptying_words(emptying.stranded),
                loss_words(loss),
                ", ".join(stuck),
            )
        )
    return rows


def _section(title: str, lines: Iterable[str]) -> list[str]:
    listed = list(lines)
    return [f"## {title}", "\n".join(f"- {line}" for line in listed)] if listed else []


def _changes(audit: FleetAudit) -> list[str]:
    if audit.changes is None:
        return ["There is no earlier audit to compare with."]
    lines = [escape(line) for line in change_lines(audit.changes)] or ["Nothing."]
    return [f"Since {audit.changes.since:%Y-%m-%d %H:%M} UTC:", *lines]


def _stuck(audit: FleetAudit) -> list[str]:
    stuck = audit.movability.immovable
    rows = [
        (row.vm, row.host, str(row.state), rule, where, message)
        for row in stuck[:_LISTED]
        for rule, where, message in reasons(row.blocked) or [("", "", "no other host was read")]
    ]
    if not rows:
        return []
    return ["## Can go nowhere", table(("VM", "on", "state", "rule", "to", "why"), rows), *_more(len(stuck), _LISTED)]


def _lost(audit: FleetAudit) -> list[str]:
    rows = [
        (loss.host, vm.vm, state, rules_line(vm.reasons))
        for loss in audit.losses
        for state, vm in (*(("runs", v) for v in loss.stranded), *(("shut off", v) for v in loss.unstartable))
    ]
    if not rows:
        return []
    note = "Nothing could be copied from a dead host. The definitions too lie on it: keep copies of `virsh dumpxml`."
    head = ("host lost", "VM", "state", "why it would not start elsewhere")
    return ["## If a host went down now", note, table(head, rows[:_LISTED]), *_more(len(rows), _LISTED)]


def _files(audit: FleetAudit) -> list[str]:
    if audit.files is None:
        return []
    parts = [*_section("Files that could not be listed", (escape(problem) for problem in audit.file_problems))]
    told = [file for file in audit.files if file.kind not in (FileKind.MEDIA, FileKind.IN_WORK)]
    if audit.files:
        parts += ["## Files that no domain names", f"{escape(files_line(audit.files))}. {BEFORE_REMOVING}"]
    head = ("what", "where", "takes", "size", "remark")
    return [*parts, table(head, (_file_row(file) for file in told[:_FILES_SHOWN])), *_more(len(told), _FILES_SHOWN)]


def _file_row(file: OrphanFile) -> tuple[str, ...]:
    remark = "; ".join(word for word in (f"run {file.run}" if file.run else "", file.detail) if word)
    return (
        str(file.kind),
        file_place(file),
        format_bytes(file.allocated_bytes),
        format_bytes(file.size_bytes),
        remark,
    )


def _more(count: int, shown: int) -> list[str]:
    return [f"… and {count - shown} more."] if count > shown else []
