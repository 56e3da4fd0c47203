"""The tables of the evacuation benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table

from tests.bench.evacuation_run import Evacuation
from tests.bench.figures import Spread
from tests.bench.inside import STEPS, Inside, VmSteps
from tests.bench.ways import LOOP, VMFERRY, WAYS, XARGS, Way

_MIB = 2**20


def of_way(runs: Sequence[Evacuation], way: Way) -> list[Evacuation]:
    """Return the runs of one way, by round."""
    return [run for run in runs if run.letter == way.letter]


def compare(runs: Sequence[Evacuation], bound_s: float, link_mib_s: float) -> Table:
    """One line per way; vmferry has a second one for its moves alone."""
    table = Table(
        "way",
        "makespan s",
        f"× bound of {bound_s:.1f} s",
        f"MiB sent; s at {link_mib_s:g} MiB/s",
        "downtime per VM ms",
        "most",
        "CPU s per VM",
        "lost pages",
        "two at once",
        title="median (least–greatest) over the rounds; downtime: over all VMs of all rounds",
    )
    for way in WAYS:
        mine = of_way(runs, way)
        vms = [vm for run in mine for vm in run.vms]
        gaps = Spread.of(vm.downtime_s for vm in vms)
        sent = Spread.of(run.sent_bytes / _MIB for run in mine)
        table.add_row(
            f"{way.letter}  {way.title}",
            Spread.of(run.makespan_s for run in mine).show(),
            Spread.of(run.makespan_s / bound_s for run in mine).show(digits=2),
            f"{sent.median:.0f}; {sent.median / link_mib_s:.1f}",
            f"{gaps.median * 1000:.0f}",
            f"{gaps.greatest * 1000:.0f}",
            Spread.of(run.metered.cpu_s / len(run.vms) for run in mine).show(digits=2),
            str(sum(vm.lost_pages for vm in vms)),
            "no" if not any(vm.two_at_once_s for vm in vms) else "YES",
        )
        if way is VMFERRY:
            moves = [run.moves_s for run in mine if run.inside]
            table.add_row(
                "   its moves alone",
                Spread.of(moves).show(),
                Spread.of(move / bound_s for move in moves).show(digits=2),
            )
    return table


def ratios(runs: Sequence[Evacuation]) -> Table:
    """How many times the others' makespan vmferry takes, round by round: below 1 vmferry is faster."""
    table = Table("ratio", "whole command", "moves alone", title="vmferry beside the others, paired by round")
    for other in (LOOP, XARGS):
        pairs = list(zip(of_way(runs, VMFERRY), of_way(runs, other), strict=False))
        table.add_row(
            f"a/{other.letter}",
            Spread.of(mine.makespan_s / its.makespan_s for mine, its in pairs).show(digits=2),
            Spread.of(mine.moves_s / its.makespan_s for mine, its in pairs if mine.inside).show(digits=2),
        )
    return table


def rounds(runs: Sequence[Evacuation]) -> Table:
    """Every round's makespan, so that a disturbed one shows."""
    table = Table("round", *(f"{way.letter} s" for way in WAYS), "a: moves alone s", title="round by round")
    for number in sorted({run.round for run in runs}):
        mine = {run.letter: run for run in runs if run.round == number}
        cells = [f"{mine[way.letter].makespan_s:.1f}" if way.letter in mine else "-" for way in WAYS]
        first = mine.get(VMFERRY.letter)
        table.add_row(str(number), *cells, f"{first.moves_s:.1f}" if first and first.inside else "-")
    return table


def where_time_goes(runs: Sequence[Evacuation]) -> Table:
    """Split vmferry's wall time, its CPU time and its task runs."""
    table = Table("vmferry", "median (least–greatest)", "how it is known", title="where vmferry's time goes")
    mine = [(run, run.inside) for run in of_way(runs, VMFERRY) if run.inside is not None]

    def add(name: str, value: Callable[[Evacuation, Inside], float], unit: str, source: str, digits: int = 1) -> None:
        table.add_row(name, Spread.of(value(run, inside) for run, inside in mine).show(unit, digits), source)

    add("start: Python, imports, server", lambda _, i: i.phases.start_s, "s", "process start → report.started_at")
    add("read, preflight, plan", lambda _, i: i.phases.plan_s, "s", "→ first move's started_at")
    add("moves", lambda _, i: i.phases.moves_s, "s", "→ last move's ended_at")
    add("re-read", lambda _, i: i.phases.report_s, "s", "→ report.ended_at")
    add("publish, stop the server, leave", lambda _, i: i.phases.exit_s, "s", "→ process end", 2)
    table.add_section()
    rest = "rusage of all its processes less the server's"
    add("CPU, client, per VM", lambda r, _: _per_vm(r, r.metered.cpu_s - r.metered.server_cpu_s), "s", rest, 2)
    add(
        "CPU, embedded server, per VM",
        lambda r, _: _per_vm(r, r.metered.server_cpu_s),
        "s",
        "/proc, four times a second",
        2,
    )
    add("task runs per VM", lambda r, i: _per_vm(r, i.task_runs), "", "Prefect's database, shared ones included")
    _add_steps(table, [steps for _, inside in mine for steps in inside.steps])
    return table


def _per_vm(run: Evacuation, value: float) -> float:
    return value / len(run.vms)


def _add_steps(table: Table, steps: Sequence[VmSteps]) -> None:
    """Add one VM's steps by the journal, and the time between them: task runs and the journal's own writes."""
    between = Spread.of(vm.between_s for vm in steps)
    table.add_row("between steps, per VM", between.show("ms", 0, 1000), "journal: five times done → intended")
    table.add_section()
    for step in STEPS:
        spread = Spread.of(vm.step_s[step] for vm in steps if step in vm.step_s)
        table.add_row(f"step {step}, per VM", spread.show("ms", 0, 1000), "journal: intended → done")


def jobs(runs: Sequence[Evacuation]) -> Table:
    """Compare libvirt's own time per migration job with what is around it."""
    table = Table("way", "job per VM s", "sum of jobs s", "jobs at once", "quiet gap ms", title="libvirt's own jobs")
    for way in WAYS:
        mine = of_way(runs, way)
        vms = [vm for run in mine for vm in run.vms]
        sums = [sum(vm.job_s for vm in run.vms) for run in mine]
        at_once = [total / run.moves_s for total, run in zip(sums, mine, strict=True) if run.moves_s]
        table.add_row(
            f"{way.letter}  {way.title}",
            Spread.of(vm.job_s for vm in vms).show(digits=2),
            Spread.of(sums).show(),
            Spread.of(at_once).show(digits=2),
            Spread.of(vm.quiet_s for vm in vms).show(digits=0, scale=1000),
        )
    return table
