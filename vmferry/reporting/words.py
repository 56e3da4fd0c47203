"""The sentences that reports, terminal and logs share."""

from __future__ import annotations

from collections import Counter

from vmferry.model.convergence import DEFAULT_POLICY
from vmferry.model.evacuation import EvacuationPlan, EvacuationReport, Move
from vmferry.model.findings import Finding
from vmferry.model.migration import MigrationMode, MigrationOutcome, OutcomeKind
from vmferry.reporting.units import format_bytes, format_ms, format_seconds


def count_vms(count: int) -> str:
    """`1 VM`, `8 VMs`."""
    return f"{count} VM" if count == 1 else f"{count} VMs"


def plan_headline(plan: EvacuationPlan) -> str:
    """One line: how many VMs will leave to where, and how many cannot."""
    to = Counter(move.dest for move in plan.moves)
    places = ", ".join(f"{count} to {dest}" for dest, count in sorted(to.items()))
    parts = [f"{count_vms(len(plan.moves))} to move" + (f" ({places})" if places else "")]
    if plan.stranded:
        names = ", ".join(stranded.vm for stranded in plan.stranded)
        parts.append(f"{len(plan.stranded)} stranded ({names})")
    if plan.seconds is not None and plan.moves:
        parts.append(f"expected to take {format_seconds(plan.seconds)}{_bound_words(plan)}")
    return f"{plan.host}: {', '.join(parts)}"


def _bound_words(plan: EvacuationPlan) -> str:
    """Say what no order of the moves goes below, where it is known and not the same."""
    if plan.seconds is None or not plan.bound_seconds or plan.seconds <= 1.01 * plan.bound_seconds:
        return ""
    return f" (no order takes less than {format_seconds(plan.bound_seconds)}: {plan.bound_by})"


def policy_words(plan: EvacuationPlan, move: Move) -> str:
    """Return the policy that the move will have; `-` for an offline move, which has nothing to converge."""
    if move.mode is MigrationMode.OFFLINE:
        return "-"
    source = plan.snapshot.inventory.find(move.source)
    return str(move.policy or (source.convergence if source else DEFAULT_POLICY))


def way_words(move: Move) -> str:
    """Return how memory travels and who lets the VM run there: `TLS, 4 connections; guarded`; `-` when not known."""
    return "; ".join(part for part in (move.transport, str(move.switch or "")) if part) or "-"


def report_headline(report: EvacuationReport) -> str:
    """One line that tells the truth: empty or not, and what became of every VM."""
    kinds = Counter(outcome.kind for outcome in report.outcomes)
    parts = [f"{kinds[OutcomeKind.MOVED]} moved"]
    if above := sum(outcome.is_downtime_above for outcome in report.outcomes):
        parts.append(f"{above} above the downtime objective")
    for count, word in (
        (kinds[OutcomeKind.ROLLED_BACK], "rolled back"),
        (kinds[OutcomeKind.HELD], "HELD for a human"),
        (len(report.stranded), "stranded"),
        (len(report.not_started), "not started"),
    ):
        if count:
            parts.append(f"{count} {word}")
    if report.is_dry_run:
        blocked = f", {len(report.stranded)} stranded" if report.stranded else ""
        return f"{report.host}: dry run, nothing was touched{blocked}"
    if report.cancelled:
        parts.append(f"cancelled by {report.cancelled}")
    if report.stopped:
        parts.append(f"stopped: {report.stopped}")
    state = "is empty" if report.is_empty else f"is NOT empty, {count_vms(len(report.left))} left"
    if report.is_done and not report.is_empty:
        state = f"holds only what was to stay ({', '.join(report.left)})"
    seconds = (report.ended_at - report.started_at).total_seconds()
    return f"{report.host} {state}: {', '.join(parts)} in {format_seconds(seconds)}"


def outcome_line(outcome: MigrationOutcome) -> str:
    """One line: who, from where to where, how it ended, what it cost, why."""
    line = f"{outcome.vm}: {outcome.source} → {outcome.dest} {outcome.mode}: {outcome.kind}"
    line += f" after {format_seconds(outcome.seconds)}"
    if outcome.kind is OutcomeKind.MOVED:
        line += f", downtime {downtime_words(outcome)}, {format_bytes(outcome.bytes_sent)} sent"
    return f"{line}; {outcome.reason}" if outcome.reason else line


def downtime_words(outcome: MigrationOutcome) -> str:
    """`84 ms`, `812 ms (objective 600 ms)` where it is above that, `-` where nobody measured it."""
    objective = f" (objective {format_ms(outcome.max_downtime_ms)})" if outcome.is_downtime_above else ""
    return format_ms(outcome.downtime_ms) + objective


def lifted_words(finding: Finding) -> str:
    """Say behind a finding that it would block and why it does not; empty for every other finding."""
    return ", lifted by the operator" if finding.is_lifted else ""


def lifted_note(finding: Finding) -> str:
    """One line for the outcome of a run in which the finding did not block."""
    return f"{finding.rule} was lifted by the operator: {finding.message}"


OUTCOME_HEAD = ("VM", "from → to", "mode", "result", "time", "downtime", "sent", "reason")


def outcome_cells(outcome: MigrationOutcome) -> tuple[str, ...]:
    """Return one table row, in the order of OUTCOME_HEAD."""
    return (
        outcome.vm,
        f"{outcome.source} → {outcome.dest}",
        outcome.mode,
        outcome.kind,
        format_seconds(outcome.seconds),
        downtime_words(outcome),
        format_bytes(outcome.bytes_sent),
        outcome.reason,
    )


def next_commands(report: EvacuationReport) -> tuple[str, ...]:
    """The commands that an operator types next, most urgent first; each once."""
    commands: list[str] = []
    for kind in (OutcomeKind.HELD, OutcomeKind.ROLLED_BACK):
        for outcome in report.outcomes:
            if outcome.kind is kind:
                commands += outcome.next_commands
    if report.is_dry_run:
        if len(report.stranded) < len(report.left):
            commands.append(f"vmferry evacuate {report.host}")
    elif report.is_done:
        commands.append(f"vmferry uncordon {report.host}   # when the host is ready again")
    else:
        if any(outcome.kind is OutcomeKind.HELD for outcome in report.outcomes):
            commands.append("vmferry recover")
        commands.append(f"vmferry vms {report.host}")
        if report.not_started:
            commands.append(f"vmferry evacuate {report.host} --resume   # go on by the same plan")
        commands.append(f"vmferry evacuate {report.host}   # again, when the reasons are gone")
        commands.append(f"vmferry uncordon {report.host}   # if it is to receive VMs again")
    return tuple(dict.fromkeys(commands))


def why_left(report: EvacuationReport) -> str:
    """One line: every VM that did not leave, with its reason."""
    left = [f"{o.vm} {o.kind}: {o.reason}" for o in report.outcomes if o.kind is not OutcomeKind.MOVED]
    left += [f"{s.vm} stranded: {s.summary()}" for s in report.stranded]
    left += [f"{vm} not started" for vm in report.not_started]
    return " ".join("; ".join(left).split())
