"""What each command shows: rows for tables, content for the JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vmferry.model.evacuation import EvacuationPlan
from vmferry.model.findings import Finding, PreflightReport
from vmferry.model.host import FleetSnapshot, HostFacts
from vmferry.model.journal import RunRecord
from vmferry.model.migration import MigrationOutcome
from vmferry.reporting import format_kib
from vmferry.reporting.foretold import forecast_line, forecast_words
from vmferry.reporting.words import OUTCOME_HEAD, lifted_words, outcome_cells, policy_words, way_words
from vmferry.terminal.screen import Screen

Rows = list[list[str]]


def version_words(version: int) -> str:
    """libvirt's coding of versions, major·10⁶ + minor·10³ + release → `9.0.0`."""
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"


def show_hosts(screen: Screen, snapshot: FleetSnapshot) -> None:
    """One line per host of the inventory, unreachable ones too."""
    cordons = {cordon.host: cordon.reason for cordon in snapshot.cordons}
    gone = {lost.host: lost.reason for lost in snapshot.unreachable}
    rows: Rows = []
    for host in snapshot.inventory.hosts:
        state = f"cordoned ({cordons[host.name]})" if host.name in cordons else "open"
        facts = snapshot.facts(host.name)
        if facts is None:
            rows.append([host.name, f"unreachable: {gone.get(host.name, 'not read')}", *["-"] * 5, host.site])
            continue
        running = sum(vm.is_active for vm in facts.vms)
        free, total = format_kib(facts.memory_available_kib), format_kib(facts.memory_total_kib)
        versions = [version_words(facts.libvirt_version), version_words(facts.qemu_version)]
        vms = f"{running} of {len(facts.vms)}"
        rows.append([host.name, state, vms, f"{free} of {total}", str(facts.cpus), *versions, host.site])
    head = ("host", "state", "VMs running", "memory free", "CPUs", "libvirt", "QEMU", "site")
    screen.table(head, rows)


def show_vms(screen: Screen, hosts: Iterable[HostFacts], open_runs: Mapping[str, str]) -> None:
    """One line per VM, as `virsh list --all` of each host."""
    rows: Rows = []
    for facts in hosts:
        for vm in facts.vms:
            notes = [*vm.problems]
            if str(vm.uuid) in open_runs:
                notes.append(f"open run {open_runs[str(vm.uuid)]}")
            others = (mark for mark in vm.marks if mark.run != open_runs.get(str(vm.uuid)))
            notes += (f"{mark.words()}{' (over)' if mark.is_stale(facts.read_at) else ''}" for mark in others)
            if not vm.is_persistent:
                notes.append("transient")
            memory, disks = format_kib(vm.memory_kib), str(len(vm.disks))
            rows.append([facts.name, vm.name, vm.state, memory, str(vm.vcpus), disks, "; ".join(notes)])
    screen.table(("host", "VM", "state", "memory", "vCPUs", "disks", "notes"), rows)


def show_runs(screen: Screen, records: Sequence[RunRecord]) -> None:
    """One line per run, newest first."""
    rows: Rows = []
    for record in records:
        move = f"{record.plan.source} → {record.plan.dest}"
        opened = f"{record.opened_at:%Y-%m-%d %H:%M:%S}"
        ended = record.outcome or ""
        rows.append([opened, record.run, record.plan.vm, move, record.plan.mode, record.state, ended, record.reason])
    screen.table(("opened (UTC)", "run", "VM", "from → to", "mode", "state", "outcome", "reason"), rows)


def run_content(record: RunRecord) -> dict[str, Any]:
    """A run for JSON, without the XML of its plan, which may hold secrets."""
    plan = record.plan.model_dump(mode="json", include={"vm", "uuid", "source", "dest", "mode", "mode_reason"})
    return record.model_dump(mode="json", exclude={"plan"}) | plan


def plan_content(plan: EvacuationPlan | None) -> dict[str, Any] | None:
    """A plan for JSON; the snapshot it was made from is left out, plan.json of the report holds it."""
    return plan.model_dump(mode="json", exclude={"snapshot"}) if plan is not None else None


def show_plan(screen: Screen, plan: EvacuationPlan) -> None:
    """Moves in the order of starting, then stranded VMs with the reason per host."""
    rows: Rows = [
        [
            str(move.order + 1),
            move.vm,
            move.dest,
            move.mode,
            policy_words(plan, move),
            way_words(move),
            format_kib(move.memory_kib),
            forecast_words(move.forecast),
            move.mode_reason,
        ]
        for move in sorted(plan.moves, key=lambda move: move.order)
    ]
    if rows:
        head = ("#", "VM", "to", "mode", "policy", "way", "memory", "forecast", "why")
        screen.table(head, rows, title=f"Plan for {plan.host}")
    for move in plan.moves:
        for finding in move.warnings:
            rule = f"{finding.rule}{lifted_words(finding)}"
            screen.say(f"warning: {move.vm} → {move.dest}: {finding.message} ({rule})", style="yellow")


def show_outcomes(screen: Screen, outcomes: Sequence[MigrationOutcome]) -> None:
    """One line per VM: from where to where, result and cost."""
    if outcomes:
        screen.table(OUTCOME_HEAD, [list(outcome_cells(outcome)) for outcome in outcomes])
    for outcome in outcomes:
        for note in outcome.notes:
            screen.say(f"{outcome.vm}: {note}")


def finding_line(finding: Finding) -> str:
    """`block numa-pinning: … (reference 9.3)`; a block that was lifted says so."""
    return f"{finding.severity} {finding.rule}: {finding.message} ({finding.source}{lifted_words(finding)})"


def show_preflight(screen: Screen, report: PreflightReport) -> None:
    """The judgement of a dry run."""
    verdict = "blocked" if report.blockers else "ready"
    warned = f", {len(report.warnings)} warnings" if report.warnings else ""
    route = f"{report.vm}: {report.source} → {report.dest} {report.mode}"
    screen.say(f"{route}: {verdict}{warned}; nothing was touched")
    if report.forecast is not None:
        screen.say(forecast_line(report.forecast))
    for finding in report.warnings:
        screen.say(finding_line(finding), style="yellow")
