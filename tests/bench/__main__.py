"""`python -m tests.bench`: run the benchmarks, print tables, write JSON; exit code 1 when a promise was broken."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule

from infra.lab.lab import need_root, take_down
from tests.bench import lab_room
from tests.bench.machine import machine_facts, machine_lines
from tests.bench.registry import Benchmark, Options, Result, load_benchmarks

out = Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 150)


def main() -> int:
    """Run what was asked for; whatever happens, nothing is left on the machine."""
    known = load_benchmarks()
    asked = _parse(known)
    if asked.list:
        for one in known.values():
            out.print(f"{one.name}: {one.summary}", markup=False)
        return 0
    need_root()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    room = lab_room.room_path()
    try:
        lab_room.sweep()
        room.mkdir(mode=0o700)
        return _run_all([known[name] for name in asked.only or known], asked, room)
    finally:
        take_down(lab_room.lab_name())
        shutil.rmtree(room, ignore_errors=True)


def _parse(known: dict[str, Benchmark]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(known), help="this benchmark; repeat it")
    parser.add_argument("--list", action="store_true", help="name the benchmarks")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, interleaved (3)")
    parser.add_argument("--vms", type=int, default=8, help="VMs of one host (8)")
    parser.add_argument("--link", type=float, default=100.0, metavar="MIB_S", help="speed of every host's link (100)")
    parser.add_argument("--limit", type=int, metavar="N", help="moves at once per host in the inventory (as it is)")
    parser.add_argument("--part", type=_part, default=(1, 1), metavar="K/N", help="a part of benchmark forecast (1/1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser.parse_args()


def _part(text: str) -> tuple[int, int]:
    which, _, of = text.partition("/")
    part = int(which), int(of)
    if not 1 <= part[0] <= part[1]:
        raise argparse.ArgumentTypeError(f"{text}: K/N with K from 1 to N, as 2/3")
    return part


def _run_all(chosen: list[Benchmark], asked: argparse.Namespace, room: Path) -> int:
    begun = time.monotonic()
    facts = machine_facts()
    for line in machine_lines(facts):
        out.print(line, markup=False)
    options = Options(
        asked.rounds, asked.vms, asked.link, asked.limit, asked.part, lambda text: out.print(text, markup=False)
    )
    document: dict[str, Any] = {"machine": facts, "benchmarks": {}}
    problems: list[str] = []
    for one in chosen:
        out.print(Rule(one.name), markup=False)
        result = one.run(options, room)
        _show(result)
        problems += result.problems
        document["benchmarks"][one.name] = {**result.data, "problems": list(result.problems)}
    if asked.json:
        asked.json.write_text(json.dumps(document, indent=1, default=str) + "\n")
        out.print(f"figures: {asked.json}", markup=False)
    out.print(f"{time.monotonic() - begun:.0f} s in all", markup=False)
    return 1 if problems else 0


def _show(result: Result) -> None:
    for table in result.tables:
        out.print(table)
    for note in result.notes:
        out.print(f"- {note}", markup=False)
    if result.problems:
        out.print(Rule("PROMISES BROKEN", style="bold red"))
        for problem in result.problems:
            out.print(f"!!! {problem}", style="bold red", markup=False)


if __name__ == "__main__":
    sys.exit(main())
