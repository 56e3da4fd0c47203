"""Timetables beside mVM's published plans and beside the lower bound, under mVM's own duration and link model."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import mean
from typing import Any

from rich.table import Table

from tests.bench.kherbache.fluid import WAYS, simulate, synthetic
from tests.bench.kherbache.instances import Instance, plans, scale
from tests.bench.registry import Options, Result, benchmark
from vmferry.planning.timetable import plan_timetable
from vmferry.planning.timetable_check import check_timetable

_MOST_OVER_PLANS = 0.015
_MOST_OVER_SCALE = (0.02, 0.05)  # mean, worst
_TRIES = 2_000


@benchmark("timetable", "moves in time: mVM's 50 plans, 180 scalability instances, all at once and k at a time")
def run(options: Options, room: Path) -> Result:
    """Plan every instance once; nothing of it is random, so that rounds would show the same."""
    del room
    wrong: list[str] = []
    beside, beside_data = _plans(options, wrong)
    large, large_data = _scale(options, wrong)
    ways, ways_data = _ways(options)
    return Result(
        tables=(beside, large, ways),
        notes=(
            "durations and links are mVM's own (CNetwork.java); its formula gives every duration of its plans",
            "bound: the greatest of link work, longest move, moves at once; no order is shorter",
            "seconds: CPU time of plan_timetable, one thread, arrays included; kernels compiled before",
            "fluid simulation: pre-copy rounds, moves that share a link get equal parts of it",
        ),
        data={"plans": beside_data, "scale": large_data, "ways": ways_data},
        problems=tuple(wrong),
    )


def _plans(options: Options, wrong: list[str]) -> tuple[Table, dict[str, Any]]:
    found = []
    for one in plans():
        request = one.request.model_copy(update={"tries": _TRIES, "polish": True})
        table = plan_timetable(request)
        wrong += [f"{one.name}: {problem}" for problem in check_timetable(request, table)]
        assert one.theirs is not None
        if table.makespan_s > one.theirs[0]:
            wrong.append(f"{one.name}: {table.makespan_s:g} s, mVM {one.theirs[0]} s")
        ends = sum(move.ends_s for move in table.moves)
        found.append((one.theirs[0], table.makespan_s, table.bound_s, one.theirs[1], ends))
    over = mean(f[1] / f[2] for f in found) - 1
    if over > _MOST_OVER_PLANS:
        wrong.append(f"mVM's plans: {over:.2%} over the bound, asked for {_MOST_OVER_PLANS:.1%}")
    better, same = sum(f[1] < f[0] for f in found), sum(f[1] == f[0] for f in found)
    table = Table("50 plans of mVM, mean", "mVM", "vmferry", "bound", title="makespan and sum of ends, seconds")
    table.add_row("makespan", *(f"{mean(f[i] for f in found):.1f}" for i in (0, 1, 2)))
    table.add_row("over the bound", f"{mean(f[0] / f[2] for f in found) - 1:.2%}", f"{over:.2%}", "")
    table.add_row("worst over the bound", *(f"{max(f[i] / f[2] for f in found) - 1:.2%}" for i in (0, 1)), "")
    table.add_row("sum of ends", *(f"{mean(f[i] for f in found):.1f}" for i in (3, 4)), "")
    table.add_row("shorter, the same, longer", "", f"{better}, {same}, {50 - better - same}", "")
    options.say(f"mVM's plans: {over:.2%} over the bound, shorter on {better}, longer on {50 - better - same}")
    return table, {"over": over, "better": better, "same": same, "plans": found}


def _scale(options: Options, wrong: list[str]) -> tuple[Table, dict[str, Any]]:
    kinds: dict[str, list[tuple[int, float, float]]] = {}
    for one in scale():
        begun = time.process_time()
        table = plan_timetable(one.request)
        seconds = time.process_time() - begun
        wrong += [f"{one.name}: {problem}" for problem in check_timetable(one.request, table)]
        kind = one.name.rpartition("/")[0]
        if kind not in kinds:  # the first one loads the kernels
            begun = time.process_time()
            plan_timetable(one.request)
            seconds = time.process_time() - begun
        kinds.setdefault(kind, []).append((len(one.request.jobs), table.gap, seconds))
    everything = [f for found in kinds.values() for f in found]
    shown = Table(
        "instances",
        "moves",
        "mean",
        "worst",
        "CPU s, mean",
        "worst",
        title=f"{len(everything)} instances, over the bound",
    )
    for kind, found in {**kinds, "all": everything}.items():
        gaps, seconds_each = [f[1] for f in found], [f[2] for f in found]
        moves = f"{found[0][0]}" if kind != "all" else ""
        shown.add_row(
            kind,
            moves,
            f"{mean(gaps):.2%}",
            f"{max(gaps):.2%}",
            f"{mean(seconds_each):.2f}",
            f"{max(seconds_each):.2f}",
        )
    gaps = [f[1] for f in everything]
    if mean(gaps) > _MOST_OVER_SCALE[0] or max(gaps) > _MOST_OVER_SCALE[1]:
        wrong.append(f"scalability: {mean(gaps):.2%} over the bound, worst {max(gaps):.2%}")
    options.say(f"{len(gaps)} scalability instances: {mean(gaps):.2%} over the bound, worst {max(gaps):.2%}")
    return shown, {kind: found for kind, found in kinds.items()}


def _ways(options: Options) -> tuple[Table, dict[str, Any]]:
    """Play the same moves in the way of a loop, of xargs, and in the timetable's order with its admission."""
    cases: dict[str, list[Instance]] = {"mVM's 50 scenarios": list(plans())} | synthetic()
    shown = Table("mean makespan, s", *WAYS, title="the same moves, played: pre-copy over shared links")
    data: dict[str, Any] = {}
    for name, instances in cases.items():
        data[name] = {way: mean(simulate(one, way) for one in instances) for way in WAYS}
        shown.add_row(name, *(f"{data[name][way]:.0f}" for way in WAYS))
        options.say(f"{name}: " + ", ".join(f"{way} {seconds:.0f} s" for way, seconds in data[name].items()))
    return shown, data
