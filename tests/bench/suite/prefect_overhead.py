"""What Prefect costs per VM: the same moves with and without it, at 10, 100 and 1,000 VMs of a simulated host.

Moves of the simulated fleet take no time, so what is left is vmferry's own and Prefect's. Servers: one on SQLite as the
command line's, and one with a password on PostgreSQL; runs have the environment that the work pool gives them. Journals
are in memory. A run costs something fixed and something per VM: two sizes tell them apart.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.bench.registry import Options, Result, benchmark
from vmferry.deploying.wanted import read_yaml

SIZES = (10, 100, 1000)
TABLES = ("task_run", "task_run_state", "flow_run_state", "log", "artifact", "events", "event_resources")
TIMEOUT_S = 3600.0
ROOT = Path(__file__).resolve().parents[3]
MEASURES = ("seconds", "cpu_s", "requests", "sent_kib", "rows")
# So much more may a further VM cost in a large fleet, by factor and in all: requests and rows are counted, the others
# depend on how long the run takes on this machine; the live table is written again as time goes by.
GROWTH = {
    "requests": (1.1, 1.0),
    "rows": (1.1, 0.0),
    "sent_kib": (1.5, 0.0),
    "seconds": (1.5, 0.0),
    "cpu_s": (1.5, 0.0),
}
# The server's queue holds 10,000 messages and drops what comes then (Prefect 3.8.8): told when it is more than that.
LOST = 0.1


@dataclass(frozen=True)
class Cost:
    """One run of one size on one server: all that it costs; seconds are those more than without Prefect."""

    server: str
    vms: int
    seconds: float
    cpu_s: float  # of the client's process
    requests: int
    sent_kib: float  # in the bodies of the requests
    kinds: dict[str, int]  # table → rows
    load: float

    @property
    def rows(self) -> int:
        """Rows of all tables together."""
        return sum(self.kinds.values())


@dataclass(frozen=True)
class Slope:
    """What two sizes tell: the cost of each further VM between them, and what is left for the run itself."""

    server: str
    fewer: int
    more: int
    seconds: float
    cpu_s: float
    requests: float
    sent_kib: float
    rows: float
    fixed_s: float


@benchmark("prefect", "what Prefect costs per VM at 10, 100 and 1,000 VMs: seconds, requests, database rows")
def run(options: Options, room: Path) -> Result:
    """Measure without Prefect, then on both servers; sizes of more than `--vms` × 125 are left out."""
    sizes = [size for size in SIZES if size <= max(10, options.vms * 125)]
    bare = {size: _child(size, "bare", {}) for size in sizes}
    costs = [*_on(_embedded, room, sizes, bare, options.say), *_on(_postgres, room, sizes, bare, options.say)]
    slopes = _slopes(costs)
    notes = [f"without Prefect {size} VMs take {one['seconds'] / size:.3f} s each" for size, one in bare.items()]
    notes += _losses(costs)
    data = {"bare": bare, "costs": [asdict(cost) for cost in costs], "slopes": [asdict(slope) for slope in slopes]}
    tables = (_costs_table(costs), _slopes_table(slopes), _kinds_table(costs))
    return Result(tables, data, notes=tuple(notes), problems=tuple(_growing(slopes)))


def _slopes(costs: Sequence[Cost]) -> list[Slope]:
    """Return a slope per server and two sizes that follow on one another."""
    servers = dict.fromkeys(cost.server for cost in costs)
    by_server = [[cost for cost in costs if cost.server == server] for server in servers]
    return [_slope(fewer, more) for ours in by_server for fewer, more in pairwise(ours)]


def _slope(fewer: Cost, more: Cost) -> Slope:
    per_vm = {what: (getattr(more, what) - getattr(fewer, what)) / (more.vms - fewer.vms) for what in MEASURES}
    fixed_s = fewer.seconds - fewer.vms * per_vm["seconds"]
    return Slope(server=fewer.server, fewer=fewer.vms, more=more.vms, fixed_s=fixed_s, **per_vm)


def _growing(slopes: Sequence[Slope]) -> Iterator[str]:
    """The promise: a further VM costs no more in a large fleet than in a small one."""
    for small, large in pairwise(slopes):
        for what, (factor, slack) in GROWTH.items() if small.server == large.server else ():
            before, after = getattr(small, what), getattr(large, what)
            if after > factor * before + slack:
                where = f"from {large.fewer} to {large.more} VMs, {before:.3f} from {small.fewer} to {small.more}"
                yield f"{large.server}: a further VM costs {after:.3f} {what} {where}"


def _losses(costs: Sequence[Cost]) -> Iterator[str]:
    """Yield where the server kept fewer events per VM than of the smallest run: moves that take no time outrun it."""
    for cost in costs:
        first = next(one for one in costs if one.server == cost.server)
        kept = cost.kinds["events"] / cost.vms / (first.kinds["events"] / first.vms)
        if kept < 1 - LOST:
            yield f"{cost.server}, {cost.vms} VMs: the server kept {kept:.0%} of the events"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="left" if name == "server" else "right")
    return table


def _costs_table(costs: Sequence[Cost]) -> Table:
    names = ("seconds", "client CPU, s", "requests", "KiB sent", "database rows", "load")
    table = _table("per VM, the run's fixed costs included", "server", "VMs", *names)
    for cost in costs:
        per_vm = (getattr(cost, what) / cost.vms for what in MEASURES)
        table.add_row(cost.server, str(cost.vms), *_shown(*per_vm), f"{cost.load:.1f}")
    return table


def _slopes_table(slopes: Sequence[Slope]) -> Table:
    names = ("fixed, s", "seconds", "client CPU, s", "requests", "KiB sent", "database rows")
    table = _table("each further VM, and what is fixed", "server", "VMs", *names)
    for one in slopes:
        numbers = _shown(*(getattr(one, what) for what in MEASURES))
        table.add_row(one.server, f"{one.fewer} → {one.more}", f"{one.fixed_s:.1f}", *numbers)
    return table


def _shown(seconds: float, cpu_s: float, requests: float, sent_kib: float, rows: float) -> tuple[str, ...]:
    return f"{seconds:.3f}", f"{cpu_s:.3f}", f"{requests:.1f}", f"{sent_kib:.1f}", f"{rows:.0f}"


def _kinds_table(costs: Sequence[Cost]) -> Table:
    table = _table("rows that a run leaves, per VM", "server", "VMs", *TABLES)
    for cost in costs:
        table.add_row(cost.server, str(cost.vms), *(f"{cost.kinds[name] / cost.vms:.2f}" for name in TABLES))
    return table


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
            after = _settled(count_rows)
            kinds = {table: after[table] - before[table] for table in TABLES}
            more = {what: found[what] - bare[size][what] for what in ("seconds", "cpu_s")}
            say(f"{name}, {size} VMs: {found['seconds']:.1f} s, {found['requests']} requests")
            sent = {"requests": found["requests"], "sent_kib": found["sent_bytes"] / 1024}
            yield Cost(server=name, vms=size, kinds=kinds, load=load, **more, **sent)


def _child(size: int, way: str, environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.prefect_child", str(size), way]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    given = kept | {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"} | environment
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _settled(count: Callable[[], dict[str, int]]) -> dict[str, int]:
    """Count until nothing is added for ten seconds: the recorder of task runs is late."""
    import time

    last, since = count(), time.monotonic()
    while time.monotonic() - since < 10:
        time.sleep(1)
        if (now := count()) != last:
            last, since = now, time.monotonic()
    return last


@contextmanager
def _embedded(room: Path) -> Iterator[tuple[str, dict[str, str], Callable[[], dict[str, int]]]]:
    from tests.prefect_side import PrefectServer

    home = room / "embedded"
    home.mkdir()
    with PrefectServer.running(home) as server:
        yield "embedded, SQLite", _environment(server), lambda: _rows_of_sqlite(home / "prefect.db")


def _rows_of_sqlite(file: Path) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        return {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


@contextmanager
def _postgres(room: Path) -> Iterator[tuple[str, dict[str, str], Callable[[], dict[str, int]]]]:
    from tests import postgres
    from tests.prefect_side import PrefectServer

    home = room / "server"
    home.mkdir()
    with postgres.running("prefect") as database:
        url = database.url("asyncpg", "prefect")
        with PrefectServer.running(home, "ferry:bench", PREFECT_SERVER_DATABASE_CONNECTION_URL=url) as server:
            yield "server, PostgreSQL", _environment(server), lambda: _rows_of_postgres(database)


def _rows_of_postgres(database: Any) -> dict[str, int]:
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)
    return dict(zip(TABLES, map(int, database.ask("prefect", f"SELECT {counts}").split("|")), strict=True))


def _environment(server: Any) -> dict[str, str]:
    """Return what makes a run talk to the server as one that a worker has started: its log lines go there too."""
    pool = read_yaml(ROOT / "deployments" / "prefect.yaml")["x-process"]["job_variables"]["env"]
    return {key: value for key, value in server.environment().items() if key.startswith("PREFECT_")} | pool
