"""Evacuations as they were planned, beside how they went: the end of them all, and each move's start and duration.

The product's own command empties a host of the lab; what it had planned is told by its event `evacuation.started`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import mean
from typing import Any

from rich.table import Table

from infra.lab.spec import GuestSpec
from tests.bench.figures import Spread
from tests.bench.lab_room import fresh_lab, shared_guest
from tests.bench.meter import run_metered
from tests.bench.registry import Options, Result, benchmark
from tests.bench.ways import VMFERRY

_TIMEOUT_S = 600.0
# Working set in MiB, rate in MiB/s.
_KINDS = ((64, 0.4), (192, 2.0), (96, 8.0), (256, 0.4), (128, 4.0))


@dataclass(frozen=True)
class Moved:
    """One move: seconds from the start of the first one, as planned and as it was."""

    vm: str
    planned_start_s: float
    planned_s: float | None  # None: it was not foretold that the move ends
    start_s: float
    seconds: float
    planned_downtime_ms: int | None
    downtime_ms: int | None

    @property
    def error(self) -> float | None:
        """Share of the duration by which the plan was off."""
        return (self.planned_s - self.seconds) / self.seconds if self.planned_s is not None else None


@dataclass(frozen=True)
class Evacuation:
    """One evacuation."""

    round: int
    link_mib_s: float
    planned_s: float | None  # None: one of the moves was not foretold to end
    seconds: float
    moves: tuple[Moved, ...]
    load: float

    @property
    def error(self) -> float | None:
        """Share of the whole by which the plan was off."""
        return (self.planned_s - self.seconds) / self.seconds if self.planned_s is not None else None


@benchmark("foreseen", "evacuations in the lab: planned starts, durations and end beside the measured ones")
def run(options: Options, room: Path) -> Result:
    """Empty a host once per round and speed of the link: a third of what is asked for, and all of it."""
    found: list[Evacuation] = []
    wrong: list[str] = []
    for number in range(1, options.rounds + 1):
        for link_mib_s in (options.link_mib_s / 3, options.link_mib_s):
            try:
                found.append(_evacuate(number, link_mib_s, options, room))
            except ValueError as error:
                wrong.append(f"round {number}, {link_mib_s:.0f} MiB/s: {error}")
                options.say(wrong[-1])
                continue
            options.say(_line(found[-1]))
    moves = [move for one in found for move in one.moves]
    whole, each = _errors(found), _errors(moves)
    return Result(
        tables=(_wholes(found), _table(found[-2:]), _summary(found)),
        notes=(
            "planned: the event evacuation.started; measured: started_at and ended_at of the report's outcomes",
            "a duration holds the steps around the move; starts count from the first move's",
        ),
        data={
            "whole": asdict(Spread.of(whole)) | {"mean": mean(whole) if whole else None},
            "each": asdict(Spread.of(each)) | {"mean": mean(each) if each else None},
            "runs": [asdict(one) for one in found],
        },
        problems=tuple(wrong),
    )


def make_guests(count: int) -> list[GuestSpec]:
    """Return guests of different sizes and rates; the same for the same count."""
    kinds = [_KINDS[number % len(_KINDS)] for number in range(count)]
    return [shared_guest(f"vm{n}", working_set_mib=mib, dirty_mib_s=rate) for n, (mib, rate) in enumerate(kinds)]


def _errors(found: Iterable[Moved | Evacuation]) -> list[float]:
    """Return by which share each was off, of those that were foretold."""
    return [abs(one.error) for one in found if one.error is not None]


def _evacuate(number: int, link_mib_s: float, options: Options, room: Path) -> Evacuation:
    mine = room / f"{link_mib_s:.0f}"  # what earlier moves teach of a link holds for that link
    mine.mkdir(exist_ok=True)
    events = mine / "events.jsonl"
    events.unlink(missing_ok=True)
    with fresh_lab(make_guests(options.vms), link_mib_s) as lab:
        command = VMFERRY.command(lab, mine, options.limit)
        command = replace(command, env={**command.env, "VMFERRY_EVENTS_FILE": str(events)})
        metered, stdout = run_metered(command.argv, env=command.env, room=mine, timeout_s=_TIMEOUT_S)
    if metered.exit_code:
        raise ValueError(f"exit code {metered.exit_code}: {metered.output.strip()}")
    told = _told(events)
    plan = {one["vm"]: one for one in told["timetable"]}
    outcomes = json.loads(stdout)["report"]["outcomes"]
    first = min(_seconds(one["started_at"]) for one in outcomes)
    moves = tuple(_moved(one, plan[one["vm"]], first) for one in outcomes)
    return Evacuation(
        round=number,
        link_mib_s=link_mib_s,
        planned_s=told["seconds"],
        seconds=max(move.start_s + move.seconds for move in moves),
        moves=tuple(sorted(moves, key=lambda move: move.planned_start_s)),
        load=os.getloadavg()[0],
    )


def _told(events: Path) -> dict[str, Any]:
    """Return what was told as the moves began."""
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    payload: dict[str, Any] = next(x["payload"] for x in lines if x["event"].endswith("evacuation.started"))
    return payload


def _moved(outcome: dict[str, Any], planned: dict[str, Any], first: float) -> Moved:
    start, end = _seconds(outcome["started_at"]), _seconds(outcome["ended_at"])
    return Moved(
        vm=outcome["vm"],
        planned_start_s=planned["starts_s"],
        planned_s=planned["seconds"],
        start_s=start - first,
        seconds=end - start,
        planned_downtime_ms=planned["downtime_ms"],
        downtime_ms=outcome["downtime_ms"],
    )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _line(one: Evacuation) -> str:
    each, unknown = _errors(one.moves), sum(move.planned_s is None for move in one.moves)
    off = f"{mean(each):.0%}" if each else "-"
    return (
        f"round {one.round}, {one.link_mib_s:.0f} MiB/s: planned {_s(one.planned_s)} s, took {one.seconds:.1f} s "
        f"({_share(one.error)}); each move off by {off} in the mean, {unknown} not foretold; load {one.load:.1f}"
    )


def _s(seconds: float | None) -> str:
    return f"{seconds:.1f}" if seconds is not None else "-"


def _share(error: float | None) -> str:
    return f"{error:+.0%}" if error is not None else "-"


def _wholes(found: list[Evacuation]) -> Table:
    table = Table("round", "link MiB/s", "planned s", "took s", "error", "starts off by s, mean", title="the whole")
    for one in found:
        late = mean(abs(move.planned_start_s - move.start_s) for move in one.moves)
        cells = _s(one.planned_s), _s(one.seconds), _share(one.error), f"{late:.1f}"
        table.add_row(str(one.round), f"{one.link_mib_s:.0f}", *cells)
    return table


def _table(found: list[Evacuation]) -> Table:
    head = ("link", "vm", "start s: planned", "was", "seconds: planned", "was", "error", "downtime ms: planned", "was")
    table = Table(*head, title="each move of the last round")
    for one in found:
        for move in one.moves:
            times = (move.planned_start_s, move.start_s, move.planned_s, move.seconds)
            cells = [f"{one.link_mib_s:.0f}", move.vm, *(_s(seconds) for seconds in times), _share(move.error)]
            table.add_row(*cells, *(str(ms or "-") for ms in (move.planned_downtime_ms, move.downtime_ms)))
    return table


def _summary(found: list[Evacuation]) -> Table:
    moves = [move for one in found for move in one.moves]
    table = Table("error of", "mean", "median (least–greatest)", title=f"{len(found)} evacuations, {len(moves)} moves")
    for name, errors in (
        ("the end of them all", _errors(found)),
        ("the duration of one move", _errors(moves)),
    ):
        table.add_row(name, f"{mean(errors):.0%}" if errors else "-", Spread.of(errors).show("%", 0, 100))
    return table
