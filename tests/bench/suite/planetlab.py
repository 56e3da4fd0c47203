"""PlanetLab, ten days: energy, moves and SLA violation beside the policies of Beloglazov and Buyya in CloudSim."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from tests.bench.planetlab.measures import (
    Day,
    bound_as_published,
    bound_of_cpu,
    bound_of_memory,
    dvfs_as_cloudsim,
    least_hosts,
    run_day,
)
from tests.bench.planetlab.policy import Planner, late
from tests.bench.planetlab.traces import Percents, read_days
from tests.bench.registry import Options, Result, benchmark

# What issue 6 asks for: of a day, the median of ten.
MOST_KWH, MOST_MOVES, MOST_SLATAH = 155.0, 3000, 0.002
MOST_OVER_BOUND = 0.02
# CloudSim 3.0.3, day 20110303, run by us (kWh, SLATAH, PDM, moves); its directory was not in the order of names.
_PEER_DAY = "20110303"
_PEERS = {
    "DVFS": (765.0, 0.0, 0.0, 0),
    "THR-MMT-0.8": (198.1, 0.0500, 0.0007, 27728),
    "IQR-MMT-1.5": (193.6, 0.0502, 0.0007, 27592),
    "MAD-MMT-2.5": (189.8, 0.0509, 0.0007, 27781),
    "LR-MMT-1.2": (167.8, 0.0572, 0.0008, 27649),
}
_PEER_MEDIAN = ("LR-MMT-1.2, median of ten days", 162.2, 0.062, 27277)
# DVFS of that day in the order of names, as CloudSim 3.0.3 on Windows prints it in public reports.
_DVFS_BY_NAME = 803.91


@benchmark("planetlab", "ten PlanetLab days: kWh, moves, SLATAH, PDM, SLAV, ESV beside CloudSim's policies")
def run(options: Options, _room: Path) -> Result:
    """Play all days without and with memory; `--part K/N` takes a part of the days."""
    days = read_days()
    part, parts = options.part
    chosen = {day: percents for n, (day, percents) in enumerate(days.items()) if n % parts == part - 1}
    without, delayed, with_memory, seconds = {}, {}, {}, {}
    for day, percents in chosen.items():
        begun = time.process_time()
        without[day] = run_day(percents, Planner())
        delayed[day] = run_day(percents, late(Planner()))
        with_memory[day] = run_day(percents, Planner(has_memory=True))
        seconds[day] = time.process_time() - begun
        options.say(f"{day}: {without[day].kwh:.1f} kWh, {without[day].moves} moves, {seconds[day]:.0f} s of CPU")
    dvfs = dvfs_as_cloudsim(days[_PEER_DAY])
    tables = (
        _peers(without),
        _days("memory not enforced", chosen, without),
        _days("the same, readings five minutes old", chosen, delayed),
        _memory(chosen, with_memory),
    )
    notes = (
        "A decision sees what is asked at that step and was before, as in CloudSim; overload counts until the moves "
        "that end it have arrived (RAM ÷ 62.5 MB/s). No VM is ever removed.",
        f"check of the measures: DVFS on {_PEER_DAY} as CloudSim computes it: {dvfs:.1f} kWh; printed by it in the "
        f"order of names: {_DVFS_BY_NAME}, in the order of our directory: {_PEERS['DVFS'][0]} (20 random orders: "
        "759 to 794)",
        "CloudSim takes a VM that asks for nothing at two samples in a row for ended and removes it; here all stay.",
    )
    data: dict[str, Any] = {
        "days": {day: found.data() for day, found in without.items()},
        "late": {day: found.data() for day, found in delayed.items()},
        "memory": {day: found.data() for day, found in with_memory.items()},
        "bounds": {day: _bounds(percents) for day, percents in chosen.items()},
        "cpu_seconds": seconds,
        "dvfs_as_cloudsim_kwh": dvfs,
    }
    return Result(tables=tables, data=data, notes=notes, problems=_problems(chosen, without, with_memory))


def _bounds(percents: Percents) -> dict[str, Any]:
    least = least_hosts(len(percents))
    return {
        "cpu_kwh": bound_of_cpu(percents),
        "memory_kwh": bound_of_memory(percents),
        "memory_kwh_as_noted": bound_as_published(percents),
        "hosts_by_sum": least.by_sum,
        "hosts": least.all,
    }


def _peers(found: dict[str, Day]) -> Table:
    table = Table(title=f"day {_PEER_DAY} and medians, memory not enforced (as CloudSim)", title_justify="left")
    for name in ("policy", "kWh", "moves", "SLATAH %", "PDM %", "SLAV ·10⁻⁵", "ESV ·10⁻³"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for name, (kwh, slatah, pdm, moves) in _PEERS.items():
        table.add_row(name, *_cells(kwh, moves, slatah, pdm))
    name, kwh, slatah, moves = _PEER_MEDIAN
    table.add_row(name, f"{kwh:.1f}", f"{moves:,}", f"{slatah * 100:.2f}", "-", "-", "-")
    if _PEER_DAY in found:
        day = found[_PEER_DAY]
        table.add_row("vmferry", *_cells(day.kwh, day.moves, day.slatah, day.pdm))
    middle = [median(getattr(d, n) for d in found.values()) for n in ("kwh", "moves", "slatah", "pdm")]
    table.add_row(f"vmferry, median of {len(found)} days", *_cells(middle[0], round(middle[1]), middle[2], middle[3]))
    return table


def _cells(kwh: float, moves: int, slatah: float, pdm: float) -> tuple[str, ...]:
    slav = slatah * pdm
    shown = (f"{kwh:.1f}", f"{moves:,}", f"{slatah * 100:.3f}", f"{pdm * 100:.4f}")
    return (*shown, f"{slav * 1e5:.3f}", f"{slav * kwh * 1e3:.3f}")


def _days(title: str, chosen: dict[str, Percents], found: dict[str, Day]) -> Table:
    table = Table(title=f"every day, {title}", title_justify="left")
    for name in ("day", "VMs", "kWh", "bound", "moves", "SLATAH %", "PDM %", "ESV ·10⁻³", "hosts"):
        table.add_column(name, justify="right")
    for day, percents in chosen.items():
        one = found[day]
        figures = (f"{one.kwh:.1f}", f"{bound_of_cpu(percents):.1f}", f"{one.moves:,}", f"{one.slatah * 100:.3f}")
        more = (f"{one.pdm * 100:.4f}", f"{one.esv * 1e3:.4f}", f"{one.hosts:.1f}")
        table.add_row(day, str(len(percents)), *figures, *more)
    return table


def _memory(chosen: dict[str, Percents], found: dict[str, Day]) -> Table:
    table = Table(title="every day, memory and cores as stated", title_justify="left")
    for name in ("day", "kWh", "bound", "over", "as noted", "hosts", "bound ", "by sum", "moves", "SLATAH %"):
        table.add_column(name, justify="right")
    for day, percents in chosen.items():
        one, bound, least = found[day], bound_of_memory(percents), least_hosts(len(percents))
        energy = (f"{one.kwh:.1f}", f"{bound:.1f}", f"{(one.kwh / bound - 1) * 100:.1f} %")
        hosts = (f"{one.hosts:.1f}", str(least.all), str(least.by_sum))
        noted = f"{bound_as_published(percents):.1f}"
        table.add_row(day, *energy, noted, *hosts, f"{one.moves:,}", f"{one.slatah * 100:.3f}")
    return table


def _problems(chosen: dict[str, Percents], without: dict[str, Day], with_memory: dict[str, Day]) -> tuple[str, ...]:
    """Return what issue 6 asks for and is not reached; energy of a day depends on its traces, so the median counts."""
    kwh = median(day.kwh for day in without.values())
    found = [f"median {kwh:.1f} kWh: more than {MOST_KWH:g}"] if kwh > MOST_KWH else []
    for name, day in without.items():
        found += [f"{name}: {day.moves} moves: more than {MOST_MOVES}"] if day.moves > MOST_MOVES else []
        found += [f"{name}: SLATAH {day.slatah * 100:.3f} %"] if day.slatah > MOST_SLATAH else []
    for name, day in with_memory.items():
        over = day.kwh / bound_of_memory(chosen[name]) - 1
        found += [f"{name}: {over * 100:.1f} % over the bound of memory"] if over > MOST_OVER_BOUND else []
        found += [f"{name}: a host held {day.most_mb:.0f} MB"] if day.most_mb > 4096 else []
    return tuple(found)
