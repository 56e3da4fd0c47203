"""What `vmferry usage` reads and shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NoReturn

from vmferry.errors import NotFound
from vmferry.inventory.problems import did_you_mean
from vmferry.model.usage import Demand, SubjectKind, Usage, UsageSample
from vmferry.planning.demand import DEFAULT_DEMAND, forecast_demand, percentile, windows
from vmferry.ports import World
from vmferry.reporting.units import format_kib
from vmferry.steps.usage import sample_usage
from vmferry.terminal.exit_codes import ExitCode
from vmferry.terminal.session import Session

_HEAD = ("what", "name", "host", "samples", "CPUs now", "mean", "p95", "peak", "expected", "memory", "disk/s", "net/s")


def run_usage(current: Session, world: World, what: str | None, hours: float, *, is_sampling: bool) -> NoReturn:
    """Show all, a host with its VMs, or one VM sample by sample."""
    problems: tuple[str, ...] = ()
    if is_sampling:
        taken = sample_usage(world, current.settings.usage_keep_days)
        current.screen.say(taken.headline())
        problems = taken.problems
    now_s = int(world.clock.now().timestamp())
    begin_s = now_s - round(hours * 3600)
    found = _wanted(world.usage.read([(begin_s, now_s)]), what, world.inventory.names())
    demands = _demands(world, found, now_s)
    if not found:
        current.screen.say("no samples; take the first two with `vmferry usage --sample`, or schedule sample-usage")
    elif what is not None and len(found) == 1 and found[0].subject.kind is SubjectKind.VM:
        _show_samples(current, found[0])
        current.screen.say(_expected_line(found[0], demands))
    else:
        current.screen.table(_HEAD, [_cells(usage, demands) for usage in found])
    content = {
        "usage": [
            {**usage.model_dump(mode="json"), "expected": demand.model_dump(mode="json") if demand else None}
            for usage in found
            for demand in (demands.get(usage.subject.key),)
        ]
    }
    current.end(ExitCode.REFUSED if problems else ExitCode.DONE, content, problems)


def _wanted(found: Sequence[Usage], what: str | None, hosts: Sequence[str]) -> tuple[Usage, ...]:
    """Return all, a host with the VMs that were seen there last, or the VMs of that name; raises NotFound."""
    if what is None:
        return tuple(found)
    if what in hosts:
        return tuple(usage for usage in found if usage.subject.host == what)
    chosen = tuple(u for u in found if u.subject.kind is SubjectKind.VM and what in (u.subject.name, u.subject.key))
    if not chosen:
        names = [*hosts, *(u.subject.name for u in found)]
        raise NotFound(f"{what}: no host of the inventory, and no VM with samples; {did_you_mean(what, names)}")
    return chosen


def _demands(world: World, found: Sequence[Usage], now_s: int) -> dict[str, Demand]:
    vms = {usage.subject.key: usage.subject.cpus for usage in found if usage.subject.kind is SubjectKind.VM}
    past = {usage.subject.key: usage.samples for usage in world.usage.read(windows(now_s), tuple(vms))}
    return {
        key: forecast_demand([s for s in past.get(key, ()) if s.start_s < now_s], cpus, now_s)
        for key, cpus in vms.items()
    }


def _cells(usage: Usage, demands: dict[str, Demand]) -> list[str]:
    subject, last, demand = usage.subject, usage.samples[-1], demands.get(usage.subject.key)
    busy = [(sample.cpus_peak, sample.span_s) for sample in usage.samples]
    total_s = sum(sample.span_s for sample in usage.samples)
    mean = sum(sample.cpus * sample.span_s for sample in usage.samples) / total_s
    expected = "-" if demand is None else f"{demand.cpus:.2f}" if demand.is_known else f"{demand.cpus:.2f} (vCPUs)"
    memory = f"{format_kib(last.memory_mib * 1024)} of {format_kib(subject.memory_mib * 1024)}"
    counts = [f"{last.cpus:.2f} of {subject.cpus}", f"{mean:.2f}", f"{percentile(busy, 95):.2f}"]
    counts += [f"{max(value for value, _ in busy):.2f}", expected, memory]
    is_host = subject.kind is SubjectKind.HOST
    rates = ["-", "-"] if is_host else [format_kib(last.disk_kib_s), format_kib(last.net_kib_s)]
    return [subject.kind, subject.name, subject.host, str(len(usage.samples)), *counts, *rates]


def _show_samples(current: Session, usage: Usage) -> None:
    head = ("from (UTC)", "minutes", "CPUs", "peak", "memory", "disk/s", "net/s")
    current.screen.table(head, [_sample_cells(sample) for sample in usage.samples], title=usage.subject.name)


def _sample_cells(sample: UsageSample) -> list[str]:
    begun = f"{datetime.fromtimestamp(sample.start_s, UTC):%Y-%m-%d %H:%M:%S}"
    rates = [format_kib(sample.memory_mib * 1024), format_kib(sample.disk_kib_s), format_kib(sample.net_kib_s)]
    return [begun, f"{sample.span_s / 60:.1f}", f"{sample.cpus:.3f}", f"{sample.cpus_peak:.3f}", *rates]


def _expected_line(usage: Usage, demands: dict[str, Demand]) -> str:
    demand = demands[usage.subject.key]
    ahead = DEFAULT_DEMAND.horizon_s // 3600
    return f"expected in the next {ahead} hours: {demand.cpus:.2f} CPUs at its peak ({demand.basis})"
