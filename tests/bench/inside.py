"""Where the time of one `vmferry evacuate` went: from its JSON report, its journal and Prefect's task runs.

Both databases are read as files, by SQL; nothing of vmferry is imported.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.bench.meter import Metered

STEPS = ("reserve", "storage", "definition", "move", "verify", "finish")


@dataclass(frozen=True)
class Phases:
    """The parts of one run's wall time, in order; they add up to it."""

    start_s: float  # Python, imports, the embedded server: until the flow reads its clock
    plan_s: float  # read the fleet, preflight, plan, publish: until the first move starts
    moves_s: float  # first move's start to last move's end
    report_s: float  # read the host again, report, publish
    exit_s: float  # stop the embedded server, leave


@dataclass(frozen=True)
class VmSteps:
    """One VM's run: seconds of each step, and between them."""

    vm: str
    step_s: dict[str, float]
    between_s: float  # sum of the five times from a step's end to the next step's begin
    longest_between_s: float


@dataclass(frozen=True)
class Inside:
    """One run of vmferry seen from within."""

    phases: Phases
    steps: tuple[VmSteps, ...]
    task_runs: int
    reported_downtime_s: dict[str, float]


def read_inside(stdout: str, metered: Metered, state_dir: Path) -> Inside:
    """Read a finished run; raises ValueError when the command wrote no report."""
    try:
        report: dict[str, Any] = json.loads(stdout)["report"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"vmferry wrote no report: {stdout[:500]} {metered.output}") from error
    moves = report["outcomes"]
    if not moves:
        raise ValueError(f"vmferry moved nothing: {metered.output}")
    return Inside(
        phases=_phases(report, metered),
        steps=_read_steps(state_dir / "journal.db", {move["run"]: move["vm"] for move in moves}),
        task_runs=_count_task_runs(state_dir / "prefect" / "prefect.db", metered.began_at_s),
        reported_downtime_s={m["vm"]: m["downtime_ms"] / 1000 for m in moves if m["downtime_ms"] is not None},
    )


def _phases(report: dict[str, Any], metered: Metered) -> Phases:
    first = min(_seconds(move["started_at"]) for move in report["outcomes"])
    last = max(_seconds(move["ended_at"]) for move in report["outcomes"])
    begun, ended = _seconds(report["started_at"]), _seconds(report["ended_at"])
    return Phases(
        start_s=begun - metered.began_at_s,
        plan_s=first - begun,
        moves_s=last - first,
        report_s=ended - last,
        exit_s=metered.ended_at_s - ended,
    )


def _seconds(text: str) -> float:
    """Turn ISO text into seconds since the epoch; SQLite forgets the zone, and all is written in UTC."""
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _read_steps(journal: Path, vms: dict[str, str]) -> tuple[VmSteps, ...]:
    query = "select step, mark, at from rows where run = ? and mark in ('intended', 'done') order by seq"
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
        return tuple(_vm_steps(vm, database.execute(query, (run,)).fetchall()) for run, vm in vms.items())


def _vm_steps(vm: str, rows: list[tuple[str, str, str]]) -> VmSteps:
    begins = {step: _seconds(at) for step, mark, at in reversed(rows) if mark == "intended"}  # first of its retries
    ends = {step: _seconds(at) for step, mark, at in rows if mark == "done"}
    done = [step for step in STEPS if step in begins and step in ends]
    between = [begins[after] - ends[before] for before, after in pairwise(done)]
    steps = {step: ends[step] - begins[step] for step in done}
    return VmSteps(vm, steps, sum(between), max(between, default=0.0))


def _count_task_runs(prefect: Path, since_s: float) -> int:
    """Count the task runs that the embedded server recorded since then."""
    since = datetime.fromtimestamp(since_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    with closing(sqlite3.connect(f"file:{prefect}?mode=ro", uri=True)) as database:
        row = database.execute("select count(*) from task_run where start_time >= ?", (since,)).fetchone()
    return int(row[0])
