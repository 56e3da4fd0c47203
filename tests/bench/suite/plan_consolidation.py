"""Consolidation: 20 hosts with 300 VMs beside the real hsqueeze, and up to 5,000 hosts with 100,000 VMs."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from tests.bench.planner import htools
from tests.bench.planner.fleets import make_fleet, violations
from tests.bench.registry import Options, Result, benchmark
from vmferry.solver.packing.emptying import Emptying, empty_hosts

CASES = (
    (20, 300, 0.33, 12),
    (50, 1000, 0.5, 122),
    (200, 4000, 0.4, 0),
    (1000, 20_000, 0.4, 0),
    (5000, 100_000, 0.4, 0),
)
SQUEEZED = (20, 300)  # larger ones take hsqueeze more than ten minutes
SQUEEZE_S = 600.0
SQUEEZE = ("--minimal-resources=0", "--target-resources=0")  # as tight as ours: no spare instance is kept


@benchmark("plan-consolidation", "hosts emptied: 20 x 300 beside hsqueeze, 5,000 x 100,000 beside the bound")
def run(options: Options, room: Path) -> Result:
    """Empty what can be; every result is checked by sums done anew."""
    htools.install()
    table = Table("fleet", "hosts after", "bound", "moves", "CPU s", "peak MiB", "hsqueeze: hosts, moves, s",
                  title="consolidation")  # fmt: skip
    data: dict[str, Any] = {}
    problems: list[str] = []
    for hosts, vms, filled, groups in CASES:
        fleet = make_fleet(hosts, vms, filled, 1, groups)
        begun = time.process_time()
        found = empty_hosts(fleet.board, Emptying(cost=np.ones(hosts)))
        seconds = time.process_time() - begun
        used, peak = hosts - len(found.hosts), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        name, peer = f"{hosts} x {vms}", "-"
        if (hosts, vms) == SQUEEZED:
            theirs = htools.run("hsqueeze", fleet, room, (), *SQUEEZE, limit_s=SQUEEZE_S)
            peer = f"{theirs.hosts_used}, {theirs.moves}, {theirs.cpu_s:.1f}" + " (cut)" * theirs.is_cut
            peer += f", {len(theirs.broken)} promises broken" * bool(theirs.broken)
            # Emptying one host more takes more moves: the same number of hosts is what can be compared.
            as_many = empty_hosts(fleet.board, Emptying(cost=np.ones(hosts), most_moves=theirs.moves))
            peer += f"; ours within as many moves: {hosts - len(as_many.hosts)}, {as_many.moves}"
            if hosts - len(as_many.hosts) > theirs.hosts_used and not theirs.broken:
                problems.append(f"{name}: hsqueeze needs {theirs.hosts_used} hosts with {theirs.moves} moves: {peer}")
            data["hsqueeze"] = {
                "hosts": theirs.hosts_used,
                "moves": theirs.moves,
                "seconds": theirs.cpu_s,
                "broken": list(theirs.broken),
            }
        table.add_row(name, str(used), str(found.bound), str(found.moves), f"{seconds:.2f}", str(peak), peer)
        options.say(f"{name}: {used} hosts, bound {found.bound}, {found.moves} moves, {seconds:.1f} s; hsqueeze {peer}")
        data[name] = {"hosts": used, "bound": found.bound, "moves": found.moves, "seconds": seconds, "peak_mib": peak}
        problems += [f"{name}: {text}" for text in violations(fleet, found.where)[:3]]
        if used > max(found.bound + 1, found.bound * 1.01):
            problems.append(f"{name}: {used} hosts, the bound is {found.bound}")
    return Result((table,), data, ("compiling is in the first row's seconds",), tuple(problems))
