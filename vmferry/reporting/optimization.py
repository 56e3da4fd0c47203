"""What consolidation and balance decided and did, as people read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vmferry.model.migration import OutcomeKind
from vmferry.model.optimization import Decision, OptimizationReport
from vmferry.model.plan import Purpose
from vmferry.model.worth import Saving
from vmferry.reporting.foretold import forecast_words
from vmferry.reporting.markdown import escape, table
from vmferry.reporting.units import format_bytes, format_kib, format_seconds
from vmferry.reporting.words import OUTCOME_HEAD, outcome_cells

WORTH_HEAD = ("host", "watts", "saves", "moves", "cost", "sent", "worth it", "why")
MOVE_HEAD = ("#", "VM", "from → to", "mode", "memory", "forecast", "why")


def worth_cells(saving: Saving) -> tuple[str, ...]:
    """Return one table row, in the order of WORTH_HEAD."""
    sent = format_bytes(sum(move.sent_bytes for move in saving.moves))
    return (
        saving.host,
        f"{saving.watts:.0f} W",
        f"{saving.gain_wh:.0f} Wh",
        str(len(saving.moves)),
        f"{saving.cost_wh:.1f} Wh",
        sent,
        "yes" if saving.is_worth else "no",
        saving.reason,
    )


def move_rows(decision: Decision) -> list[list[str]]:
    """Return the planned moves in the order of starting, as of MOVE_HEAD."""
    return [
        [
            str(move.order + 1),
            move.vm,
            f"{move.source} → {move.dest}",
            move.mode,
            format_kib(move.memory_kib),
            forecast_words(move.forecast),
            move.dest_reason,
        ]
        for move in sorted(decision.plan.moves, key=lambda move: move.order)
    ]


def decision_headline(decision: Decision) -> str:
    """One line: what would be done, or why nothing."""
    moves = len(decision.plan.moves)
    if not moves:
        return decision.reason
    words = f"{moves} {'move' if moves == 1 else 'moves'}"
    if decision.purpose is Purpose.CONSOLIDATE:
        return f"{words} empty {', '.join(decision.emptied)}: {decision.reason}"
    return f"{words}: {decision.reason}"


def report_headline(report: OptimizationReport) -> str:
    """One line: what was done, or would be."""
    if report.is_dry_run or not report.decision.plan.moves:
        return decision_headline(report.decision)
    kinds = [outcome.kind for outcome in report.outcomes]
    parts = [f"{count} {kind}" for kind in OutcomeKind if (count := kinds.count(kind))]
    parts += [f"{len(report.not_started)} not started"] if report.not_started else []
    if report.cancelled:
        parts.append(f"cancelled by {report.cancelled}")
    seconds = format_seconds((report.ended_at - report.started_at).total_seconds())
    what = f"emptied {', '.join(report.emptied) or 'no host'}: " if report.purpose is Purpose.CONSOLIDATE else ""
    return f"{what}{', '.join(parts)} in {seconds}"


def why_not_done(report: OptimizationReport) -> str:
    """One line: every VM that was to move and did not, with its reason; empty when all is done."""
    left = [f"{o.vm} {o.kind}: {o.reason}" for o in report.outcomes if o.kind is not OutcomeKind.MOVED]
    left += [f"{vm} not started" for vm in report.not_started]
    return " ".join("; ".join(left).split())


def markdown_decision(decision: Decision) -> str:
    """Return what is decided: worth host by host, moves, what is left alone."""
    parts = [f"# {escape(decision_headline(decision))}"]
    if decision.worth is not None and decision.worth.savings:
        parts += ["## Worth", table(WORTH_HEAD, (worth_cells(saving) for saving in decision.worth.savings))]
    if decision.assumed:
        assumed = ", ".join(decision.assumed)
        parts.append(escape(f"The inventory does not tell the watts of {assumed}: 100 W idle are assumed."))
    if decision.plan.moves:
        parts += ["## Moves", table(MOVE_HEAD, move_rows(decision))]
    if decision.left_alone:
        parts += ["## Left alone", "\n".join(f"- {escape(line)}" for line in left_alone_lines(decision))]
    if decision.plan.notes:
        parts += ["## Notes", "\n".join(f"- {escape(note)}" for note in decision.plan.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def left_alone_lines(decision: Decision) -> list[str]:
    """One line per host or VM that is not touched."""
    hosts = set(decision.plan.snapshot.inventory.names())
    return [f"{key}: {why}" if key in hosts else why for key, why in decision.left_alone.items()]


def markdown_optimization(report: OptimizationReport) -> str:
    """Return the whole report."""
    ended = f"{report.ended_at:%H:%M:%S}"
    parts = [
        f"# {escape(report_headline(report))}",
        f"Run `{report.run}`, {report.started_at:%Y-%m-%d %H:%M:%S} to {ended} UTC.",
        escape(report.reason),
    ]
    if report.outcomes:
        parts.append(table(OUTCOME_HEAD, (outcome_cells(outcome) for outcome in report.outcomes)))
    if report.not_started:
        parts += ["## Not started", "\n".join(f"- {escape(vm)}" for vm in report.not_started)]
    parts += [escape(line) for line in after_lines(report)]
    body = markdown_decision(report.decision).split("\n", 1)[1].strip()
    return "\n\n".join(part for part in [*parts, body] if part) + "\n"


def after_lines(report: OptimizationReport) -> list[str]:
    """Say what became of emptied hosts."""
    lines = [f"To be switched off: {', '.join(report.switch_off)}. {report.power}"] if report.switch_off else []
    lines += [f"Stays on as the reserve: {', '.join(report.reserve)}."] if report.reserve else []
    lines += [f"Closed for arrivals: {', '.join(report.cordoned)}."] if report.cordoned else []
    return lines


def next_commands(report: OptimizationReport) -> tuple[str, ...]:
    """The commands that an operator types next; each once."""
    commands = [command for outcome in report.outcomes for command in outcome.next_commands]
    if report.is_dry_run and report.decision.plan.moves:
        commands.append(f"vmferry {report.purpose}")
    commands += [f"vmferry uncordon {host}   # when it is to receive VMs again" for host in report.cordoned]
    return tuple(dict.fromkeys(commands))


def write_optimization(directory: Path, report: OptimizationReport) -> Path:
    """Write report.md and report.json, plan and snapshot in it; return the path of report.md. Raises OSError."""
    folder = directory / f"{report.started_at:%Y%m%dT%H%M%SZ}-{report.purpose}-{report.run}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    path = folder / "report.md"
    path.write_text(markdown_optimization(report), encoding="utf-8")
    return path


def savings_rows(savings: Sequence[Saving]) -> list[list[str]]:
    """Return the rows of a table of worth."""
    return [list(worth_cells(saving)) for saving in savings]
