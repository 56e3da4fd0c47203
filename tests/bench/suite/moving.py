"""One live move: vmferry beside plain virsh, on an idle guest and on busy ones; total time and downtime.

Both move one guest there and back between the same two hosts over the same transport, in turn. Guests on storage whose
locks work between the hosts are let run by libvirt itself, the others by vmferry (docs/decisions/0005).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from infra.lab.lab import Lab
from infra.lab.spec import DiskKind, GuestSpec
from tests.bench.figures import Spread
from tests.bench.lab_room import DESTS, SOURCE, fresh_lab
from tests.bench.moving_ways import Moved, Way, by_virsh, by_vmferry, planned
from tests.bench.registry import Options, Result, benchmark
from vmferry.adapters.world import RealWorld, open_world
from vmferry.inventory import load_inventory
from vmferry.model.convergence import PolicyName
from vmferry.settings import read_settings

_LEAST_ROUNDS = 7
_BUSY_ROUNDS = 3
_LIMIT_S = 45.0
_ASKED_RATIO = 1.05
_DEST = DESTS[0]


@dataclass(frozen=True)
class Course:
    """A guest, how often it moves each way, and under which policy of vmferry's."""

    guest: GuestSpec
    title: str
    rounds: int
    policy: PolicyName = PolicyName.MINIMAL_DOWNTIME
    limit_s: float = 300.0


def _guest(name: str, disk: DiskKind, dirty_mib_s: float, working_set_mib: int = 64) -> GuestSpec:
    return GuestSpec(
        name=name,
        host=SOURCE,
        memory_mib=256,
        disk=disk,
        disk_mib=8,
        disk_data_mib=2,
        dirty_mib_s=dirty_mib_s,
        working_set_mib=working_set_mib,
    )


def _courses(options: Options) -> tuple[Course, ...]:
    rounds = max(_LEAST_ROUNDS, options.rounds)
    near, above = 0.85 * options.link_mib_s, 1.5 * options.link_mib_s
    return (
        Course(_guest("idle-nolock", DiskKind.NOLOCK, 0.4), "idle, storage without locks", rounds),
        Course(_guest("idle-locks", DiskKind.SHARED, 0.4), "idle, storage with locks", rounds),
        Course(_guest("busy-near", DiskKind.NOLOCK, near, 192), f"busy, {near:.0f} MiB/s", _BUSY_ROUNDS),
        Course(
            _guest("busy-above", DiskKind.NOLOCK, above, 192),
            f"busy, {above:.0f} MiB/s",
            _BUSY_ROUNDS,
            PolicyName.SUSPEND_IF_NEEDED,
            _LIMIT_S,
        ),
    )


@benchmark("moving", "one live move: total time and downtime, vmferry beside virsh migrate, idle and busy guests")
def run(options: Options, room: Path) -> Result:
    """Move each guest both ways in turn, alone on its hosts."""
    found: dict[str, tuple[list[Moved], list[Moved]]] = {}
    courses = _courses(options)
    for course in courses:
        with fresh_lab((course.guest,), options.link_mib_s) as lab:
            world = open_world(load_inventory(lab.inventory_path), read_settings(state_dir=room / "state"))
            try:
                found[course.title] = _compare(lab, world, course, options)
            finally:
                world.close()
    tables = (_figures(courses, found), _parts(courses, found), _ratios(courses, found))
    data = {
        title: {"virsh": [asdict(one) for one in plain], "vmferry": [asdict(one) for one in ours]}
        for title, (plain, ours) in found.items()
    }
    notes = (
        f"link {options.link_mib_s:.0f} MiB/s, guests of 256 MiB; virsh's time is that of its command, vmferry's ends "
        "when the VM runs at the destination and does not hold reading, reserving, verifying (second table)",
        "downtime: the guest's longest silence by its own heartbeat, every 10 ms",
    )
    return Result(tables=tables, data=data, notes=notes, problems=_problems(found))


def _compare(lab: Lab, world: RealWorld, course: Course, options: Options) -> tuple[list[Moved], list[Moved]]:
    """Move the guest both ways in turn; the order changes with every round."""
    name = course.guest.name
    ways: tuple[Way, Way] = (
        by_virsh(planned(world, name, _DEST, course.policy).encryption, course.limit_s),
        by_vmferry(world, course.policy),
    )
    found: tuple[list[Moved], list[Moved]] = ([], [])
    for number in range(course.rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            dest = _DEST if lab.running_on(name) == SOURCE else SOURCE
            found[which].append(ways[which](lab, name, dest))
        plain, ours = found[0][-1], found[1][-1]
        options.say(
            f"{course.title}, round {number + 1}: virsh {_seconds(plain)}, {plain.gap_ms:.0f} ms silent; "
            f"vmferry ({ours.switch}) {_seconds(ours)}, {ours.gap_ms:.0f} ms silent"
        )
    return found


def _seconds(moved: Moved) -> str:
    return f"{moved.returned_s:.2f} s" if moved.has_ended else f"no end within {moved.returned_s:.0f} s"


def _figures(courses: tuple[Course, ...], found: dict[str, tuple[list[Moved], list[Moved]]]) -> Table:
    table = Table("guest", "way", "ended", "total s", "until it beats there, s", "silent ms", "told ms")
    for course in courses:
        for way, moves in zip(("virsh", "vmferry"), found[course.title], strict=True):
            ended = [one for one in moves if one.has_ended]
            table.add_row(
                course.title,
                f"{way} {moves[0].switch}",
                f"{len(ended)} of {len(moves)}",
                Spread.of(one.returned_s for one in moves).show(digits=2),
                Spread.of(one.beats_s for one in ended).show(digits=2),
                Spread.of(one.gap_ms for one in ended).show(digits=0),
                Spread.of(one.told_ms for one in ended).show(digits=0) if way == "vmferry" else "-",
            )
    return table


def _parts(courses: tuple[Course, ...], found: dict[str, tuple[list[Moved], list[Moved]]]) -> Table:
    names = list(dict.fromkeys(name for _, ours in found.values() for one in ours for name in one.apart_s))
    table = Table("guest", *names, title="vmferry's parts, s")
    for course in courses:
        ours = found[course.title][1]
        spreads = [Spread.of(one.apart_s[name] for one in ours if name in one.apart_s) for name in names]
        table.add_row(course.title, *(f"{spread.median:.2f}" for spread in spreads))
    return table


def _ratios(courses: tuple[Course, ...], found: dict[str, tuple[list[Moved], list[Moved]]]) -> Table:
    table = Table("guest", "total", "until it beats", "silent, ms more", title="vmferry / virsh, of medians")
    for course in courses:
        plain, ours = found[course.title]
        table.add_row(
            course.title,
            f"{_ratio(plain, ours):.2f}" + ("" if all(one.has_ended for one in plain) else " or less"),
            f"{_median(ours, 'beats_s') / _median(plain, 'beats_s'):.2f}",
            f"{_median(ours, 'gap_ms') - _median(plain, 'gap_ms'):+.0f}",
        )
    return table


def _ratio(plain: list[Moved], ours: list[Moved]) -> float:
    return _median(ours, "returned_s") / _median(plain, "returned_s")


def _median(moves: list[Moved], what: str) -> float:
    return Spread.of(getattr(one, what) for one in moves if getattr(one, what) == getattr(one, what)).median


def _problems(found: dict[str, tuple[list[Moved], list[Moved]]]) -> tuple[str, ...]:
    problems = []
    for title, (plain, ours) in found.items():
        ratio = _ratio(plain, ours)
        asked = _ASKED_RATIO if title.startswith("idle") else 1.0
        if not ratio <= asked:
            problems.append(f"{title}: {ratio:.2f} of virsh's time; asked: {asked}")
        problems += [f"{title}: vmferry did not move it" for one in ours if not one.has_ended]
        problems += [f"{title}: two copies for {one.overlap_s:.2f} s" for one in ours if one.overlap_s > 0]
        problems += [f"{title}: {one.errors} pages lost" for one in ours if one.errors]
    return tuple(problems)
