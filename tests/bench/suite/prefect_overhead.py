"""What Prefect costs per VM: the same moves with and without it, at 10, 100 and 1,000 VMs of a simulated host.

Moves of the simulated fleet take no time, so what is left is vmferry's own and Prefect's. Servers: one on SQLite as the
command line's, and one with a password on PostgreSQL. Journals are in memory.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.bench.registry import Options, Result, benchmark

SIZES = (10, 100, 1000)
TABLES = ("flow_run_state", "task_run", "task_run_state", "artifact", "log", "events", "event_resources")
TIMEOUT_S = 3600.0
ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Cost:
    """One size on one server, per VM."""

    server: str
    vms: int
    seconds: float  # of the whole run, more than without Prefect
    cpu_s: float  # of the client's process, more than without Prefect
    requests: float
    rows: float
    load: float


@benchmark("prefect", "what Prefect costs per VM at 10, 100 and 1,000 VMs: seconds, requests, database rows")
def run(options: Options, room: Path) -> Result:
    """Measure without Prefect, then on both servers; sizes of more than `--vms` × 125 are left out."""
    sizes = [size for size in SIZES if size <= max(10, options.vms * 125)]
    bare = {size: _child(size, "bare", {}) for size in sizes}
    costs = [*_on(_embedded, room, sizes, bare, options.say), *_on(_postgres, room, sizes, bare, options.say)]
    table = Table(title="what Prefect costs per VM", title_justify="left")
    for name in ("server", "VMs", "seconds", "client CPU, s", "requests", "database rows", "load"):
        table.add_column(name, justify="left" if name == "server" else "right")
    for cost in costs:
        numbers = (f"{cost.seconds:.3f}", f"{cost.cpu_s:.3f}", f"{cost.requests:.1f}", f"{cost.rows:.0f}")
        table.add_row(cost.server, str(cost.vms), *numbers, f"{cost.load:.1f}")
    notes = [f"without Prefect {size} VMs take {one['seconds'] / size:.3f} s each" for size, one in bare.items()]
    data = {"bare": bare, "costs": [asdict(cost) for cost in costs]}
    return Result((table,), data, notes=tuple(notes), problems=tuple(_growing(costs)))


def _growing(costs: list[Cost]) -> Iterator[str]:
    """The promise: a VM costs no more requests and rows in a large fleet than among ten; seconds are the machine's."""
    for server in dict.fromkeys(cost.server for cost in costs):
        ours = [cost for cost in costs if cost.server == server]
        for cost in ours[1:]:
            for what in ("requests", "rows"):
                if getattr(cost, what) > 1.1 * getattr(ours[0], what):
                    least, most = getattr(ours[0], what), getattr(cost, what)
                    yield f"{server}: {cost.vms} VMs: {most:.1f} {what} per VM, {ours[0].vms} VMs: {least:.1f}"


def _on(
    serve: Callable[[Path], Any],
    room: Path,
    sizes: list[int],
    bare: dict[int, dict[str, Any]],
    say: Callable[[str], None],
) -> Iterator[Cost]:
    with serve(room) as (name, environment, count_rows):
        for size in sizes:
            before = count_rows()
            found = _child(size, "flow", environment)
            load = os.getloadavg()[0]
            assert found["left"] == 0, found
            rows = (_settled(count_rows) - before) / size
            more = {what: (found[what] - bare[size][what]) / size for what in ("seconds", "cpu_s")}
            say(f"{name}, {size} VMs: {found['seconds']:.1f} s, {found['requests']} requests")
            yield Cost(server=name, vms=size, requests=found["requests"] / size, rows=rows, load=load, **more)


def _child(size: int, way: str, environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.prefect_child", str(size), way]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    given = kept | {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"} | environment
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _settled(count: Callable[[], int]) -> int:
    """Count until nothing is added for ten seconds: the recorder of task runs is late."""
    import time

    last, since = count(), time.monotonic()
    while time.monotonic() - since < 10:
        time.sleep(1)
        if (now := count()) != last:
            last, since = now, time.monotonic()
    return last


@contextmanager
def _embedded(room: Path) -> Iterator[tuple[str, dict[str, str], Callable[[], int]]]:
    from tests.prefect_side import PrefectServer

    home = room / "embedded"
    home.mkdir()
    with PrefectServer.running(home) as server:
        yield "embedded, SQLite", _environment(server), lambda: _rows_of_sqlite(home / "prefect.db")


def _rows_of_sqlite(file: Path) -> int:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        return sum(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES)


@contextmanager
def _postgres(room: Path) -> Iterator[tuple[str, dict[str, str], Callable[[], int]]]:
    from tests import postgres
    from tests.prefect_side import PrefectServer

    home = room / "server"
    home.mkdir()
    with postgres.running("prefect") as database:
        url = database.url("asyncpg", "prefect")
        with PrefectServer.running(home, "ferry:bench", PREFECT_SERVER_DATABASE_CONNECTION_URL=url) as server:
            sums = " + ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)
            yield "server, PostgreSQL", _environment(server), lambda: int(database.ask("prefect", f"SELECT {sums}"))


def _environment(server: Any) -> dict[str, str]:
    return {key: value for key, value in server.environment().items() if key.startswith("PREFECT_")}
