"""The matrix as a picture: VM × host in a small fleet, host × host in a large one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from vmferry.model.audit import FleetAudit, Verdict, VmRow
from vmferry.reporting.audit_markdown import is_small
from vmferry.reporting.svg import BAD, DOUBTFUL, GOOD, QUIET, add, clean, render, short, start, text

_COLOURS = {Verdict.FREE: GOOD, Verdict.WARNED: DOUBTFUL, Verdict.BLOCKED: BAD, Verdict.UNREAD: "#d5d9de",
            Verdict.HERE: "#f1f3f5"}  # fmt: skip
_SHARES = (Verdict.FREE, Verdict.WARNED, Verdict.BLOCKED)
_MARKS = {Verdict.WARNED: "!", Verdict.BLOCKED: "×", Verdict.UNREAD: "?"}  # for those who see no colours
_LEGEND = {Verdict.FREE: "may move", Verdict.WARNED: "with warnings", Verdict.BLOCKED: "blocked",
           Verdict.UNREAD: "not read"}  # fmt: skip
_TITLE, _LEFT, _NAMES, _RIGHT, _GAP = 56, 16, 118, 150, 8  # px
_LETTER = 6.6  # px of a letter at size 11
_MIN_WIDTH = 640


def movability_svg(audit: FleetAudit) -> str:
    """Return the heat map as complete SVG text: hosts as columns, VMs grouped by their host.

    In a large fleet a row is a host, and a cell shows the shares of its VMs that may go to the column's host. At the
    right of every host: whether it can be emptied, and whether its VMs would survive its loss.
    """
    grid = _Grid.of(audit)
    svg = start(grid.width, grid.height, "Who could go where")
    text(svg, _LEFT, 28, f"Who could go where, {audit.taken_at:%Y-%m-%d %H:%M} UTC", size=16, weight="600")
    _legend(svg, grid)
    _columns(svg, audit, grid)
    (_vm_rows if grid.is_small else _host_rows)(svg, audit, grid)
    return render(svg)


@dataclass(frozen=True)
class _Grid:
    """Where the cells are; px."""

    is_small: bool
    columns: int
    rows: int
    groups: int
    cell: float  # width
    row: int  # height
    left: int
    top: float
    is_turned: bool  # host names above the columns

    @classmethod
    def of(cls, audit: FleetAudit) -> _Grid:
        """Choose sizes: wide cells while there are few hosts, names turned where they would touch."""
        matrix, small = audit.movability, is_small(audit)
        columns = max(1, len(matrix.hosts))
        longest = min(18, max((len(host) for host in matrix.hosts), default=1))
        cell = min(72.0, max(14.0, 700 / columns))
        turned = longest * _LETTER + 6 > cell
        head = longest * _LETTER * 0.75 + 18 if turned else 22.0
        left = _LEFT + _NAMES + (140 if small else 0)
        groups = len(audit.emptying) if small else 0
        bare = groups - len({row.host for row in matrix.rows}) if small else 0  # a host without VMs has a row too
        rows = len(matrix.rows) + bare if small else len(audit.emptying)
        return cls(small, columns, rows, groups, cell, 20 if small else 18, left, _TITLE + head, turned)

    @property
    def right(self) -> float:
        """Where the cells end."""
        return self.left + self.columns * self.cell

    @property
    def width(self) -> float:
        """The whole picture's."""
        return max(_MIN_WIDTH, self.right + _RIGHT)

    @property
    def height(self) -> float:
        """The whole picture's."""
        return self.top + max(1, self.rows) * self.row + self.groups * _GAP + 16

    def answer(self, column: int) -> float:
        """Where an answer about a whole host stands, right of the cells and of the last turned name."""
        return self.right + (54 if self.is_turned else 34) + 56 * column


def _legend(svg: ElementTree.Element, grid: _Grid) -> None:
    x = float(_LEFT)
    for verdict, words in _LEGEND.items():
        add(svg, "rect", x=x, y=38, width=12, height=12, rx=2, fill=_COLOURS[verdict])
        text(svg, x + 17, 48, words, size=11, fill=QUIET)
        x += 17 + _LETTER * len(words) + 20
    cells = "" if grid.is_small else "a cell: the host's VMs, by share; "
    text(svg, x, 48, f"{cells}right: VMs stuck when a host is emptied, or lost", size=11, fill=QUIET)


def _columns(svg: ElementTree.Element, audit: FleetAudit, grid: _Grid) -> None:
    for n, host in enumerate(audit.movability.hosts):
        x = grid.left + (n + 0.5) * grid.cell
        if grid.is_turned:
            text(svg, x + 4, grid.top - 6, short(host, 18), size=11, fill=QUIET, angle=-50)
        else:
            text(svg, x, grid.top - 8, short(host, 18), size=11, fill=QUIET, anchor="middle")
    for n, words in enumerate(("emptied", "lost")):
        text(svg, grid.answer(n), grid.top - 8, words, size=11, fill=QUIET, anchor="middle")


def _answers(audit: FleetAudit) -> Mapping[str, tuple[int, int]]:
    """Return host → VMs that would stay when it is emptied, VMs that its loss would strand."""
    losses = {loss.host: len(loss.stranded) for loss in audit.losses}
    return {e.host: (len(e.stranded), losses.get(e.host, 0)) for e in audit.emptying}


def _answer(svg: ElementTree.Element, grid: _Grid, y: float, stuck: tuple[int, int]) -> None:
    for n, count in enumerate(stuck):
        words, colour = ("ok", GOOD) if count == 0 else (f"{count} stuck", BAD)
        text(svg, grid.answer(n), y, words, size=11, fill=colour, anchor="middle", weight="600")


def _vm_rows(svg: ElementTree.Element, audit: FleetAudit, grid: _Grid) -> None:
    by_host: dict[str, list[VmRow]] = {emptying.host: [] for emptying in audit.emptying}
    for row in audit.movability.rows:
        by_host.setdefault(row.host, []).append(row)
    answers, y = _answers(audit), grid.top
    for host, rows in by_host.items():
        text(svg, _LEFT, y + 14, short(host, 16), size=13, weight="600")
        _answer(svg, grid, y + 14, answers.get(host, (0, 0)))
        if not rows:
            text(svg, _LEFT + _NAMES, y + 14, "no VM", size=11, fill=QUIET)
        for row in rows:
            text(svg, _LEFT + _NAMES, y + 14, short(row.vm, 20), size=11)
            for n, dest in enumerate(audit.movability.hosts):
                _cell(svg, row, dest, grid.left + n * grid.cell, y, grid)
            y += grid.row
        y += (0 if rows else grid.row) + _GAP


def _cell(svg: ElementTree.Element, row: VmRow, dest: str, x: float, y: float, grid: _Grid) -> None:
    verdict = row.verdict(dest)
    group = ElementTree.SubElement(svg, "g")
    rules = row.warned.get(dest, tuple(dict.fromkeys(finding.rule for finding in row.blocked.get(dest, ()))))
    title = f"{row.vm}: {row.host} → {dest}: {verdict}" + (f" ({', '.join(rules)})" if rules else "")
    ElementTree.SubElement(group, "title").text = clean(title)
    add(group, "rect", x=x + 1, y=y + 1, width=grid.cell - 2, height=grid.row - 2, rx=2, fill=_COLOURS[verdict])
    if verdict in _MARKS:
        colour = QUIET if verdict is Verdict.UNREAD else "#ffffff"
        text(group, x + grid.cell / 2, y + 14, _MARKS[verdict], size=12, fill=colour, weight="700", anchor="middle")


def _host_rows(svg: ElementTree.Element, audit: FleetAudit, grid: _Grid) -> None:
    by_host: dict[str, list[VmRow]] = {}
    for row in audit.movability.rows:
        by_host.setdefault(row.host, []).append(row)
    shapes: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
    answers, y = _answers(audit), grid.top
    for emptying in audit.emptying:
        rows = by_host.get(emptying.host, [])
        text(svg, _LEFT, y + 13, f"{short(emptying.host, 14)} ({len(rows)})", size=11, weight="600")
        _answer(svg, grid, y + 13, answers[emptying.host])
        for n, dest in enumerate(audit.movability.hosts):
            _shares(shapes, rows, dest, grid.left + n * grid.cell, y, grid)
        y += grid.row
    # One path per colour: 2,500 cells with shapes of their own would be a picture of a megabyte.
    for verdict, pieces in shapes.items():
        if pieces:
            add(svg, "path", d="".join(pieces), fill=_COLOURS[verdict])


def _shares(shapes: dict[Verdict, list[str]], rows: list[VmRow], dest: str, x: float, y: float, grid: _Grid) -> None:
    """Add one cell: side by side the shares of a host's VMs that may go, may go with warnings, may not go."""
    counts = Counter(row.verdict(dest) for row in rows)
    width, height = grid.cell - 1, grid.row - 1
    total = sum(counts[verdict] for verdict in _SHARES)
    if not total:
        verdict = next(iter(counts), Verdict.HERE)
        shapes[verdict].append(_rectangle(x, y, width, height))
        return
    for verdict in _SHARES:
        share = width * counts[verdict] / total
        if share:
            shapes[verdict].append(_rectangle(x, y, share, height))
        x += share


def _rectangle(x: float, y: float, width: float, height: float) -> str:
    return f"M{x:.1f} {y:.1f}h{width:.1f}v{height:.1f}h-{width:.1f}z"
