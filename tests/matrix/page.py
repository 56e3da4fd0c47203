"""docs/fault-matrix.md: the measured matrix, and what cannot be. Written by `make fault-matrix`, never by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from infra.lab.proc import run
from tests.matrix.proof import Figures
from tests.matrix.table import CELLS, IMPOSSIBLE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "fault-matrix.md"
_HEAD = """\
# What happens when something dies

Written by `make fault-matrix`, which tries every cell on two real libvirt hosts (the lab) and fails when one ends in
another way than the settlement table says (`tests/matrix/table.py`). A part of it runs in `make test`.

How to read it:

- *seen*: what `virsh domstate --reason` said on source | destination right after the fault.
- *decisions*: what settlement chose, look after look (`vmferry/planning/settlement.py`); none: the move ended
  by itself.
- *outcome*: `moved` (it runs at the destination), `rolled back` (it runs at the source). *After a human*: the VM
  had died with its QEMU, vmferry HELD the run, and the one `virsh … start` of its message was typed, then
  `vmferry recover`.
- *settled*: seconds from the fault to a closed run, the restart of what was killed and the human's step included.
- *copies*: the most copies of the guest whose heartbeat was seen at one time; *lost*: pages of its memory that did not
  hold what it had written there; *silence*: the guest's longest time without a heartbeat, seconds.
- Behind every row also: `virsh list --all` of both hosts shows the VM once; no file, definition, process, mount or mark
  is left besides the VM itself and the original that a moved VM's run has set aside.

A fault counts only when it struck in its phase: what holds the phase open is a link of {link} MiB/s with seconds of
memory left, a destination's QEMU that was stopped just after its start (prepare), or a vmferry that waits behind a row
of its journal (hand-over, finish). libvirt's keepalive between the hosts is 1 × 3 s here instead of 5 × 5 s, so "beyond
keepalive" is a link that is down for 9 s.
"""
_COLUMNS = (
    "fault",
    "seen (source \\| destination)",
    "decisions",
    "outcome",
    "settled s",
    "copies",
    "lost",
    "silence s",
)


def write_page(rows: Sequence[Figures]) -> None:
    """Write the matrix: a table for each phase, then what cannot be."""
    from tests.matrix.phases import LINK_MIB_S

    parts = [_HEAD.format(link=round(LINK_MIB_S)), _summary(rows)]
    for phase in dict.fromkeys(row.phase for row in rows):
        parts.append(f"\n## {phase[0].upper()}{phase[1:]}\n\n" + "\n".join(_table(phase, rows)) + "\n")
    parts += _not_measured(rows)
    parts.append("\n## What cannot be\n\n| phase | fault | why |\n|---|---|---|\n")
    parts += [f"| {phase} | {fault} | {why} |\n" for (phase, fault), why in IMPOSSIBLE.items()]
    PAGE.write_text("".join(parts))


def _not_measured(rows: Sequence[Figures]) -> Iterator[str]:
    """Yield the cells without a row, so that nobody takes them for passed."""
    measured = {(row.phase, row.fault) for row in rows}
    missing = [cell for cell in CELLS if (cell.place, str(cell.fault)) not in measured]
    if missing:
        yield "\n## Not measured in this run\n\n"
        yield from (f"- {cell.name} (wanted: {cell.ends})\n" for cell in missing)


def _summary(rows: Sequence[Figures]) -> str:
    versions = f"libvirt {_version('libvirtd')}, QEMU {_version('qemu-system-x86_64')}"
    slowest, silent = max(rows, key=lambda row: row.seconds), [row for row in rows if "human" not in row.outcome]
    longest = max(silent, key=lambda row: row.silence_s or 0)
    wrong = sum(bool(row.problems) for row in rows)
    most, lost = max(row.copies for row in rows), sum(row.lost_pages for row in rows)
    left = sum(len(row.leftovers) for row in rows)
    return (
        f"\nMeasured on {datetime.now(UTC):%Y-%m-%d}, {versions}: {len(rows)} of {len(CELLS)} cells, {wrong} of them "
        f"wrong; most copies at once {most}; pages lost {lost}; left behind {left}.\n"
        f"Slowest to settle: {slowest.seconds} s ({slowest.phase}, {slowest.fault}). Longest silence of a guest that\n"
        f"lived through it: {longest.silence_s} s ({longest.phase}, {longest.fault}).\n"
    )


def _version(program: str) -> str:
    said = run([program, "--version"]).stdout
    return next(word.rstrip(",") for word in said.split() if word[0].isdigit())


def _table(phase: str, rows: Sequence[Figures]) -> Iterator[str]:
    yield "| " + " | ".join(_COLUMNS) + " |"
    yield "|---" * len(_COLUMNS) + "|"
    for row in rows:
        if row.phase == phase:
            seen = row.seen.replace(" | ", " \\| ")
            silence = "–" if row.silence_s is None else f"{row.silence_s:.1f}"
            cells = (row.fault, seen, row.decisions or "none", row.outcome, f"{row.seconds:.1f}")
            yield "| " + " | ".join((*cells, str(row.copies), str(row.lost_pages), silence)) + " |"
