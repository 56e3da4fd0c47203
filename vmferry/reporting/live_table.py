"""The moves of an evacuation while they run, as a markdown table."""

from __future__ import annotations

from dataclasses import dataclass

from vmferry.model.evacuation import EvacuationPlan
from vmferry.model.migration import MigrationOutcome, MigrationPlan, OutcomeKind
from vmferry.reporting.markdown import table
from vmferry.reporting.meter import Figures
from vmferry.reporting.units import format_bytes
from vmferry.reporting.words import outcome_line

_HEAD = ("VM", "from → to", "mode", "state", "%", "rate", "left", "what")


@dataclass
class _Row:
    route: str
    mode: str
    state: str = "waits"
    figures: Figures | None = None
    help: str = ""
    end: str = ""


class LiveTable:
    """A row per VM in the order of the plan; for one listener, which is called by one thread."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._vm_of: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def open(self, plan: EvacuationPlan) -> None:
        """Show every move of the plan as waiting."""
        for move in sorted(plan.moves, key=lambda move: move.order):
            self._rows[move.vm] = _Row(f"{move.source} → {move.dest}", move.mode)

    def start(self, plan: MigrationPlan) -> None:
        """A run was opened."""
        self._vm_of[plan.run] = plan.vm
        self._rows[plan.vm] = _Row(f"{plan.source} → {plan.dest}", plan.mode, "starts")

    def step(self, run: str, step: str) -> None:
        """A step begins."""
        if row := self._row(run):
            row.state = step

    def show(self, run: str, figures: Figures) -> None:
        """Show new figures."""
        if row := self._row(run):
            row.figures = figures

    def help(self, run: str, words: str) -> None:
        """Show the last help that a job got."""
        if row := self._row(run):
            row.help = words

    def end(self, outcome: MigrationOutcome) -> None:
        """A run ended."""
        row = self._rows.setdefault(outcome.vm, _Row(f"{outcome.source} → {outcome.dest}", outcome.mode))
        row.state, row.end = outcome.kind, outcome_line(outcome)

    def markdown(self) -> str:
        """Return the table."""
        return table(_HEAD, (_cells(vm, row) for vm, row in self._rows.items())) or "Nothing to move."

    def _row(self, run: str) -> _Row | None:
        return self._rows.get(self._vm_of.get(run, ""))


def _cells(vm: str, row: _Row) -> tuple[str, ...]:
    if row.end:
        return (vm, row.route, row.mode, row.state, "100" if row.state == OutcomeKind.MOVED else "", "", "", row.end)
    figures = row.figures or Figures()
    rate = f"{format_bytes(round(figures.rate_bytes_s))}/s" if figures.rate_bytes_s else ""
    what = "; ".join(part for part in (figures.words, row.help) if part)
    return (vm, row.route, row.mode, row.state, f"{figures.percent:.0f}", rate, figures.left, what)
