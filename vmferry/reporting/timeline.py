"""The moves of an evacuation over time, as a picture and as text."""

from __future__ import annotations

from xml.etree import ElementTree

from vmferry.model.evacuation import EvacuationReport
from vmferry.model.migration import MigrationOutcome, OutcomeKind
from vmferry.reporting.svg import BAD, DOUBTFUL, GOOD, QUIET, add, clean, render, short, start, text
from vmferry.reporting.units import format_ms, format_seconds

Lanes = dict[str, list[list[MigrationOutcome]]]

_WIDTH, _LEFT, _RIGHT = 960, 120, 170  # px; the right margin holds labels of short bars
_ROW, _BAR, _TOP, _GAP = 26, 18, 64, 14  # px
_COLOURS = {OutcomeKind.MOVED: GOOD, OutcomeKind.ROLLED_BACK: DOUBTFUL, OutcomeKind.HELD: BAD}
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


def pack_lanes(outcomes: tuple[MigrationOutcome, ...]) -> Lanes:
    """Return destination → rows of moves that do not overlap; destinations by name, moves by their start."""
    lanes: Lanes = {}
    for outcome in sorted(outcomes, key=lambda o: (o.dest, o.started_at, o.vm)):
        rows = lanes.setdefault(outcome.dest, [])
        row = next((row for row in rows if row[-1].ended_at <= outcome.started_at), None)
        if row is None:
            rows.append([outcome])
        else:
            row.append(outcome)
    return lanes


def choose_tick_s(span_s: float) -> float:
    """Return the round distance between ticks that gives at most ten of them."""
    return next((step for step in _STEPS_S if span_s / step <= 10), max(86400.0, span_s / 10))


def timeline_svg(report: EvacuationReport) -> str:
    """Return a Gantt picture of the moves per destination: complete SVG text, names escaped."""
    lanes = pack_lanes(report.outcomes)
    rows = sum(len(lane) for lane in lanes.values())
    height = _TOP + max(1, rows) * _ROW + len(lanes) * _GAP + 34
    svg = start(_WIDTH, height, f"Moves from {report.host}")
    text(svg, 16, 28, f"Moves from {report.host}", size=16, weight="600")
    _legend(svg, report)
    picture = _Picture(svg, report)
    picture.axis(height - 30)
    picture.lanes(lanes)
    return render(svg)


class _Picture:
    """The scale of one picture: seconds since the start of the report → pixels."""

    def __init__(self, svg: ElementTree.Element, report: EvacuationReport) -> None:
        self.svg = svg
        self.start = min([report.started_at, *(o.started_at for o in report.outcomes)])
        end = max([report.ended_at, *(o.ended_at for o in report.outcomes)])
        self.span_s = max(0.1, (end - self.start).total_seconds())
        self.scale = (_WIDTH - _LEFT - _RIGHT) / self.span_s

    def axis(self, bottom: int) -> None:
        tick_s = choose_tick_s(self.span_s)
        for n in range(int(self.span_s / tick_s + 1e-6) + 1):
            x = _LEFT + n * tick_s * self.scale
            add(self.svg, "line", x1=x, y1=_TOP - 8, x2=x, y2=bottom, stroke="#e3e6ea")
            label = format_seconds(n * tick_s) if tick_s < 1 or n * tick_s >= 100 else f"{n * tick_s:g} s"
            text(self.svg, x, bottom + 16, label, size=11, fill=QUIET, anchor="middle")

    def lanes(self, lanes: Lanes) -> None:
        y = _TOP
        for dest, rows in lanes.items():
            text(self.svg, _LEFT - 12, y + 14, short(dest, 16), size=13, weight="600", anchor="end")
            for row in rows:
                for n, outcome in enumerate(row):
                    after = row[n + 1].started_at if n + 1 < len(row) else None
                    room_s = (after - outcome.started_at).total_seconds() if after else None
                    self.bar(outcome, y, room_s)
                y += _ROW
            y += _GAP

    def bar(self, outcome: MigrationOutcome, y: float, room_s: float | None) -> None:
        """Draw a move; its label stands inside, else right of it, else only in the title."""
        x = _LEFT + (outcome.started_at - self.start).total_seconds() * self.scale
        width = max(3.0, outcome.seconds * self.scale)
        group = ElementTree.SubElement(self.svg, "g")
        title = f"{outcome.vm}: {outcome.source} → {outcome.dest}, {outcome.mode}, {outcome.kind}, "
        title += f"{format_seconds(outcome.seconds)}, downtime {format_ms(outcome.downtime_ms)}"
        ElementTree.SubElement(group, "title").text = clean(title)
        add(group, "rect", x=x, y=y, width=width, height=_BAR, rx=3, fill=_COLOURS[outcome.kind])
        label = f"{short(outcome.vm, 22)} {outcome.mode} {format_seconds(outcome.seconds)}"
        needed = 6.4 * len(label) + 10
        if needed <= width:
            text(group, x + 6, y + 13, label, size=11, fill="#ffffff")
        elif room_s is None or width + needed <= room_s * self.scale:
            text(group, x + width + 5, y + 13, label, size=11)


def _legend(svg: ElementTree.Element, report: EvacuationReport) -> None:
    x = _WIDTH - 16.0
    for kind in reversed(OutcomeKind):
        count = sum(outcome.kind is kind for outcome in report.outcomes)
        label = f"{count} {kind}"
        x -= 6.6 * len(label) + 26
        add(svg, "rect", x=x, y=18, width=12, height=12, rx=2, fill=_COLOURS[kind])
        text(svg, x + 17, 28, label, size=12)


def timeline_text(report: EvacuationReport, *, width: int = 48) -> str:
    """Return one line per move, `█` where it ran; destinations by name; empty without moves."""
    lanes = pack_lanes(report.outcomes)
    moves = [move for rows in lanes.values() for row in rows for move in row]
    if not moves:
        return ""
    start, end = min(m.started_at for m in moves), max(m.ended_at for m in moves)
    span_s = max(0.001, (end - start).total_seconds())
    dest_width = max(len(short(m.dest, 20)) for m in moves)
    vm_width = max(len(short(m.vm, 24)) for m in moves)
    lines = []
    for move in sorted(moves, key=lambda m: (m.dest, m.started_at, m.vm)):
        first = min(width - 1, int((move.started_at - start).total_seconds() / span_s * width))
        length = max(1, round(move.seconds / span_s * width))
        bar = ("·" * first + "█" * length)[:width].ljust(width, "·")
        dest, vm = clean(short(move.dest, 20)), clean(short(move.vm, 24))
        ending = f"{format_seconds(move.seconds)} {move.kind}"
        lines.append(f"{dest:<{dest_width}}  {vm:<{vm_width}}  {bar}  {ending}")
    return "\n".join(lines)
