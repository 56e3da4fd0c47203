"""Set A of the ROADEF/EURO challenge 2012 by the challenge's rules, beside the best known and two teams of the
challenge.

Each instance is a process of its own, `python -m tests.bench.roadef`, whose answer is read from its file and judged
anew.
`VMFERRY_BENCH_ROADEF_S` are the seconds of each (300, as in the challenge), `VMFERRY_BENCH_ROADEF` another directory.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.bench.registry import Options, Result, benchmark
from tests.bench.roadef.format import read_assignment, read_problem
from vmferry.solver.reassignment.audit import Cost, cost_of, violations
from vmferry.solver.reassignment.bound import lower_bound

# Team S41's own figures for set A, 300 s on an i7-920 (its paper; docs/decisions/0024). J12 published bounds for set
# A only.
S41 = {
    "a1_1": 44306501, "a1_2": 777912030, "a1_3": 583006422, "a1_4": 262125116, "a1_5": 727578310,
    "a2_1": 329, "a2_2": 746097632, "a2_3": 1210644572, "a2_4": 1680615349, "a2_5": 318358949,
}  # fmt: skip
NEAR = ("a1_1", "a1_2", "a1_3", "a1_5", "a2_4")  # asked for: within 1 % of the best known
HARD = ("a1_4", "a2_1", "a2_2", "a2_3", "a2_5")  # asked for: better than S41 on half of them


@dataclass(frozen=True)
class Found:
    """An instance, and what was found."""

    name: str
    initial: int
    best_known: int
    bound: int
    j12_bound: int | None
    cost: Cost
    told: dict[str, Any]
    problems: tuple[str, ...]

    @property
    def gap(self) -> float:
        """Share above the best known."""
        return (self.cost.total - self.best_known) / self.best_known

    @property
    def score(self) -> float:
        """Return the challenge's own score: per cent of the initial cost above the best known."""
        return 100 * (self.cost.total - self.best_known) / self.initial


@benchmark("reassignment", "ROADEF/EURO 2012 set A, beside the best known and team S41")
def run(options: Options, room: Path) -> Result:
    """Solve each instance once; a part (`--part K/N`) takes every N-th."""
    data = Path(os.environ.get("VMFERRY_BENCH_ROADEF", _data()))
    seconds = float(os.environ.get("VMFERRY_BENCH_ROADEF_S", "300"))
    table = data / "best_known_a.csv"
    if not table.is_file():
        return Result((), {}, (f"{table} is not there; VMFERRY_BENCH_ROADEF names the directory",))
    which, of = options.part
    rows = list(csv.DictReader(table.read_text().splitlines()))[which - 1 :: of]
    found = []
    for row in rows:
        one = _solve(data, row, seconds, room)
        options.say(f"{one.name}: {one.cost.total:,} ({one.gap:+.2%}), {one.told['seconds']} s")
        found.append(one)
    return Result(
        tables=(_table(found, seconds),),
        data={"seconds": seconds, "instances": [_figures(one) for one in found]},
        notes=(_verdict(found), "score: per cent of the initial cost above the best known, as the challenge counted"),
        problems=tuple(f"{one.name}: {text}" for one in found for text in one.problems),
    )


def _data() -> Path:
    """Return the public instances beside the repository, or beside one of its parents."""
    below = Path("shared", "data", "roadef2012")
    return next((up / below for up in Path(__file__).resolve().parents if (up / below).is_dir()), below)


def _solve(data: Path, row: dict[str, str], seconds: float, room: Path) -> Found:
    name = row["instance"]
    model, assignment, out = data / f"model_{name}.txt", data / f"assignment_{name}.txt", room / f"new_{name}.txt"
    argv = [sys.executable, "-m", "tests.bench.roadef", "--model", str(model), "--assignment", str(assignment)]
    done = subprocess.run(
        [*argv, "--seconds", str(seconds), "--out", str(out)], capture_output=True, text=True, check=False
    )
    problem = read_problem(model, assignment)
    problems = [] if done.returncode == 0 else [f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"]
    told = json.loads(done.stdout) if done.stdout.strip() else {"cost": None, "seconds": None, "peak_memory_mib": None}
    machine_of = read_assignment(out, problem.processes, problem.machines) if out.is_file() else problem.initial
    cost = cost_of(problem, machine_of)
    problems += violations(problem, machine_of)
    if told["cost"] != cost.total:
        problems.append(f"said {told['cost']}, is {cost.total}")
    if told["seconds"] is None or told["seconds"] > seconds:
        problems.append(f"took {told['seconds']} s of {seconds:g}")
    published = data / f"lb_{name}.txt"
    return Found(
        name=name,
        initial=cost_of(problem, problem.initial).total,
        best_known=int(row["best_known"]),
        bound=lower_bound(problem),
        j12_bound=int(published.read_text()) if published.is_file() else None,
        cost=cost,
        told=told,
        problems=tuple(problems),
    )


def _table(found: list[Found], seconds: float) -> Table:
    table = Table(title=f"ROADEF/EURO 2012 set A, {seconds:g} s of wall clock each")
    headings = (
        "instance",
        "initial",
        "ours",
        "best known",
        "ours above",
        "score",
        "S41",
        "S41 above",
        "bound",
        "J12's bound",
    )
    for heading in (*headings, "s", "CPU s", "MiB"):
        table.add_column(heading, justify="left" if heading == "instance" else "right")
    for one in found:
        peer = S41.get(one.name)
        table.add_row(
            one.name,
            f"{one.initial:,}",
            f"{one.cost.total:,}",
            f"{one.best_known:,}",
            f"{one.gap:+.2%}",
            f"{one.score:.3f}",
            f"{peer:,}" if peer is not None else "-",
            f"{(peer - one.best_known) / one.best_known:+.2%}" if peer is not None else "-",
            f"{one.bound:,}",
            f"{one.j12_bound:,}" if one.j12_bound is not None else "-",
            *(str(one.told.get(key)) for key in ("seconds", "cpu_seconds", "peak_memory_mib")),
        )
    return table


def _verdict(found: list[Found]) -> str:
    near = [one for one in found if one.name in NEAR]
    hard = [one for one in found if one.name in HARD]
    good = [one.name for one in near if one.gap <= 0.01]
    better = [one.name for one in hard if one.cost.total < S41[one.name]]
    return (
        f"within 1 % of the best known: {len(good)} of {len(near)} ({', '.join(good) or 'none'}); "
        f"better than S41: {len(better)} of {len(hard)} of the hard ones ({', '.join(better) or 'none'})"
    )


def _figures(one: Found) -> dict[str, Any]:
    return {**asdict(one), "total": one.cost.total, "gap": one.gap, "score": one.score, "s41": S41.get(one.name)}
