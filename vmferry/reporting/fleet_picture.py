"""The fleet before and after as a picture: memory in use per host, as bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from xml.etree import ElementTree

from vmferry.model.evacuation import EvacuationPlan, Move
from vmferry.model.host import HostFacts
from vmferry.reporting.svg import BAD, DOUBTFUL, GOOD, QUIET, add, render, short, start, text
from vmferry.reporting.units import format_kib

_WIDTH, _LEFT, _BAR, _ROW, _TOP = 900, 150, 13, 46, 70  # px
_SPAN = _WIDTH - _LEFT - 230
_FULL, _TIGHT = 0.95, 0.8  # shares of a host's memory from which a bar is red, and yellow


def fleet_svg(plan: EvacuationPlan, moved: Iterable[str] | None = None) -> str:
    """Return the memory of every host that was read, before and after: complete SVG text.

    `moved` names the VMs that have moved; None: as planned.
    """
    names = None if moved is None else set(moved)
    moves = [move for move in plan.moves if names is None or move.vm in names]
    hosts = plan.snapshot.hosts
    svg = start(_WIDTH, _TOP + len(hosts) * _ROW + 16, f"Memory of the fleet, {plan.host} emptied")
    after = "after" if names is not None else "as planned"
    text(svg, 16, 28, f"Memory in use, before and {after}", size=16, weight="600")
    text(svg, 16, 48, f"upper bar: before; lower bar: {after}; line: what stays free for the host", size=11, fill=QUIET)
    arriving, leaving = _changes(moves)
    for number, facts in enumerate(hosts):
        _row(svg, plan, facts, _TOP + number * _ROW, (arriving[facts.name], leaving[facts.name]), moves)
    return render(svg)


def _changes(moves: list[Move]) -> tuple[Counter[str], Counter[str]]:
    arriving: Counter[str] = Counter()
    leaving: Counter[str] = Counter()
    for move in moves:
        arriving[move.dest] += move.memory_kib - move.hugepages_kib
        leaving[move.source] += move.memory_kib - move.hugepages_kib
    return arriving, leaving


def _row(
    svg: ElementTree.Element,
    plan: EvacuationPlan,
    facts: HostFacts,
    y: float,
    change: tuple[int, int],
    moves: list[Move],
) -> None:
    total = max(1, facts.memory_total_kib)
    before = max(0, total - facts.memory_available_kib)
    after = min(total, max(0, before + change[0] - change[1]))
    text(svg, _LEFT - 12, y + 19, short(facts.name, 16), size=13, weight="600", anchor="end")
    for top, used in ((y, before), (y + _BAR + 3, after)):
        share = used / total
        add(svg, "rect", x=_LEFT, y=top, width=_SPAN, height=_BAR, fill="#eef0f2")
        add(svg, "rect", x=_LEFT, y=top, width=max(1.0, _SPAN * share), height=_BAR, fill=_colour(share))
    host = plan.snapshot.inventory.find(facts.name)
    kept = _LEFT + _SPAN * max(0.0, 1 - (host.reserves.memory_mib * 1024 if host else 0) / total)
    add(svg, "line", x1=kept, y1=y - 2, x2=kept, y2=y + 2 * _BAR + 5, stroke="#1f2933")
    vms = len(facts.vms)
    came, went = (sum(getattr(move, end) == facts.name for move in moves) for end in ("dest", "source"))
    words = f"{format_kib(before)} → {format_kib(after)} of {format_kib(total)}"
    text(svg, _LEFT + _SPAN + 12, y + 11, words, size=11)
    text(svg, _LEFT + _SPAN + 12, y + 27, f"{vms} → {vms + came - went} VMs", size=11, fill=QUIET)


def _colour(share: float) -> str:
    return BAD if share >= _FULL else DOUBTFUL if share >= _TIGHT else GOOD
