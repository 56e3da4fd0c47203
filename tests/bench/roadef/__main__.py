"""`python -m tests.bench.roadef`: one instance of the challenge, within so many seconds of wall clock, all included.

Writes the new assignment in the official format and prints one JSON line. SIGTERM ends it early with the best so far.
Exit code 1: the files are wrong, or no feasible assignment was found.
"""

from __future__ import annotations

import time

_BEGUN = time.monotonic()  # before anything heavy is imported

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from pathlib import Path  # noqa: E402

from tests.bench.roadef.format import read_problem, write_assignment  # noqa: E402
from vmferry.errors import InvalidInput  # noqa: E402
from vmferry.solver.reassignment import Budget, solve  # noqa: E402

_LEAST_SPARE_S = 0.4  # to stop the workers, write the file, and end; more for large instances


def main() -> int:
    """Read, solve, write, print."""
    asked = _parse()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        problem = read_problem(asked.model, asked.assignment)
        spare = _LEAST_SPARE_S + _started_before() + problem.processes * problem.resources / 1e6
        left = asked.seconds - spare - (time.monotonic() - _BEGUN)
        found = solve(problem, Budget(seconds=max(0.0, left), workers=asked.workers, stop=stop), asked.seed)
    except InvalidInput as error:
        for text in error.problems:
            print(f"error: {text}", file=sys.stderr)
        return 1
    write_assignment(asked.out, found.machine_of)
    line = {
        "model": asked.model.name,
        "cost": found.cost.total,
        "load": found.cost.load,
        "balance": found.cost.balance,
        "process_move": found.cost.process_move,
        "service_move": found.cost.service_move,
        "machine_move": found.cost.machine_move,
        "lower_bound": found.lower_bound,
        "moved": int((found.machine_of != problem.initial).sum()),
        "seconds": round(_started_before() + time.monotonic() - _BEGUN, 2),
        "cpu_seconds": round(time.process_time(), 2),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "steps": found.steps,
        "violations": list(found.problems),
    }
    print(json.dumps(line), flush=True)
    return 1 if found.problems else 0


def _started_before() -> float:
    """Return the seconds between the start of the process and this module."""
    try:
        ticks = float(Path("/proc/self/stat").read_text().rsplit(") ", 1)[1].split()[19])
        return max(0.0, _BEGUN - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.roadef", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="the model, in the official format")
    parser.add_argument("--assignment", type=Path, required=True, metavar="FILE", help="the initial assignment")
    parser.add_argument("--seconds", type=_seconds, required=True, metavar="N", help="wall clock, all included")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the new assignment is written")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (0)")
    parser.add_argument("--workers", type=int, default=2, help="threads (2)")
    return parser.parse_args()


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text}: needs more than 0, at most 86400")
    return value


if __name__ == "__main__":
    code = main()
    # A thread that is still compiling, or in its last steps, must not hold the process after its time.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
