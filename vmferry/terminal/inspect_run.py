"""`vmferry inspect FILE…`: read, judge, show; imported when the command runs."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from vmferry.domxml.read import parse_vm
from vmferry.errors import VmferryError
from vmferry.model.base import Model
from vmferry.model.findings import Severity
from vmferry.model.host import Profile
from vmferry.model.migration import MigrationMode
from vmferry.rules.alone import Inspection, InspectionFinding, inspect_vm
from vmferry.terminal.exit_codes import ExitCode
from vmferry.terminal.inspect_files import read_xml, shown_name
from vmferry.terminal.screen import Screen

ANY = "any"


class Inspected(Model):
    """What became of one file: an inspection, or the error that is told instead."""

    file: str
    inspection: Inspection | None = None
    error: str = ""
    is_defect: bool = False  # ours, not the file's


def run_inspect(screen: Screen, files: Sequence[str], profile: Profile, needed: str) -> ExitCode:
    """Judge the files one after the other, each shown at once; return the worst that is to be told."""
    codes: Counter[ExitCode] = Counter()
    try:
        for file in files:
            inspected = inspect_file(file, profile)
            _show(screen, inspected)
            codes[_code(inspected, needed)] += 1
    except KeyboardInterrupt:
        screen.complain("interrupted")
        return ExitCode.INTERRUPTED
    if len(files) > 1:
        screen.hint(_summary(codes, needed))
    return _worst(codes)


def inspect_file(file: str, profile: Profile) -> Inspected:
    """Read and judge one file; whatever is in it gives a result, never an exception."""
    name = shown_name(file)
    try:
        return Inspected(file=name, inspection=inspect_vm(parse_vm(read_xml(file)), profile))
    except VmferryError as error:
        return Inspected(file=name, error=str(error))
    except Exception as error:
        # One file must not hide the others, whatever is wrong with it or with us.
        text = f"unexpected {type(error).__name__}: {error}; this is a defect of vmferry, report it with the file"
        return Inspected(file=name, error=text, is_defect=True)


def _code(inspected: Inspected, needed: str) -> ExitCode:
    if inspected.is_defect:
        return ExitCode.UNEXPECTED
    if inspected.inspection is None:
        return ExitCode.REFUSED
    answers = inspected.inspection.modes
    wanted = [m for m in MigrationMode if needed in (ANY, m.value)]
    return ExitCode.DONE if any(answers[m].may_move for m in wanted) else ExitCode.LEFT_BEHIND


def _worst(codes: Counter[ExitCode]) -> ExitCode:
    """A file that could not be judged goes before a VM that may not move: nothing is known about it."""
    order = (ExitCode.UNEXPECTED, ExitCode.REFUSED, ExitCode.LEFT_BEHIND)
    return next((code for code in order if codes[code]), ExitCode.DONE)


def _summary(codes: Counter[ExitCode], needed: str) -> str:
    how = "in any mode" if needed == ANY else needed
    unread = codes[ExitCode.REFUSED] + codes[ExitCode.UNEXPECTED]
    return (
        f"{codes.total()} files: {codes[ExitCode.DONE]} may move {how}, {codes[ExitCode.LEFT_BEHIND]} may not, "
        f"{unread} could not be judged"
    )


def _show(screen: Screen, inspected: Inspected) -> None:
    if screen.is_json:
        sys.stdout.write(json.dumps(_content(inspected), ensure_ascii=False) + "\n")
        sys.stdout.flush()
    if inspected.inspection is None:
        screen.complain(f"{inspected.file}: {inspected.error}")
    else:
        _show_inspection(screen, inspected.file, inspected.inspection)


def _content(inspected: Inspected) -> dict[str, Any]:
    if inspected.inspection is None:
        return {"file": inspected.file, "error": inspected.error}
    return {"file": inspected.file, **inspected.inspection.model_dump(mode="json")}


def _show_inspection(screen: Screen, file: str, inspection: Inspection) -> None:
    may = [str(mode) for mode, answer in inspection.modes.items() if answer.may_move]
    words = f"may move {', '.join(may)}" if may else "may not move"
    screen.say(f"{file}: {inspection.name}: {words}", style="green" if len(may) == len(inspection.modes) else "bold")
    for line, severity in _finding_lines(inspection.findings).items():
        screen.say(f"  {line}", style="yellow" if severity is Severity.WARN else "red")
    for assumed in inspection.assumes:
        screen.say(f"  assumed: {assumed}", style="dim")


def _finding_lines(findings: Iterable[InspectionFinding]) -> dict[str, Severity]:
    """One line per message, `block live, non-live; warn offline: …`, with the worst of its severities."""
    same: dict[tuple[str, str, str], list[InspectionFinding]] = {}
    for finding in findings:
        same.setdefault((finding.rule, finding.message, finding.source), []).append(finding)
    lines: dict[str, Severity] = {}
    for (rule, message, source), parts in same.items():
        weights = "; ".join(f"{part.severity} {', '.join(part.modes)}" for part in parts)
        is_block = any(part.severity is Severity.BLOCK for part in parts)
        lines[f"{weights}: {rule}: {message} ({source})"] = Severity.BLOCK if is_block else Severity.WARN
    return lines
