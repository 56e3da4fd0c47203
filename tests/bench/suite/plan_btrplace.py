"""BtrPlace's own instances, 5,000 hosts with up to 30,000 VMs: solve seconds, moves, and what an own check finds."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from rich.table import Table

from tests.bench.planner.btrplace import board_of, read, solve, violations
from tests.bench.planner.data import data_dir
from tests.bench.registry import Options, Result, benchmark
from vmferry.solver.packing.board import NOWHERE

MOST_S = 2.0


@benchmark("plan-btrplace", "BtrPlace's instances: 5,000 hosts repaired under spread, among and raised demands")
def run(options: Options, room: Path) -> Result:
    """Solve each instance `rounds` times; the first also pays for compiling."""
    del room
    files = sorted(data_dir("btrplace").glob("*.json.gz"))
    table = Table("instance", "VMs", "constraints", "relocated", "started", "solve s", "violations",
                  title="BtrPlace: median (all rounds)")  # fmt: skip
    data, problems = {}, []
    for file in files:
        one = read(file)
        seconds = []
        for _ in range(options.rounds):
            board = board_of(one)
            begun = time.process_time()
            where = solve(board, one.online)
            seconds.append(time.process_time() - begun)
        found = violations(one, where)
        moved = int(np.count_nonzero((where != one.home) & (one.home != NOWHERE)))
        started = int(np.count_nonzero(one.home == NOWHERE))
        best = float(np.median(seconds))
        name = file.name.removesuffix(".json.gz")
        shown = f"{best:.2f} ({', '.join(f'{s:.2f}' for s in seconds)})"
        count = len(one.spreads) + len(one.amongs)
        table.add_row(name, str(len(one.home)), str(count), str(moved), str(started), shown, str(len(found)))
        data[name] = {"solve_s": seconds, "relocated": moved, "started": started, "violations": found}
        problems += [f"{name}: {text}" for text in found[:3]]
        problems += [f"{name}: {best:.1f} s, {MOST_S} are allowed"] if best > MOST_S else []
        options.say(f"{name}: {shown} s, {moved} relocated, {len(found)} violations")
    notes = ("CPU seconds of solving; reading the JSON and building the arrays is not in them",)
    return Result((table,), data, notes, tuple(problems))
