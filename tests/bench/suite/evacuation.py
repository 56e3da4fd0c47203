"""Empty a host: vmferry beside a shell loop of `virsh migrate` and `xargs -P4` of it, in interleaved rounds.

The same VMs each time, in a lab made anew for each run; every host's link is capped to the same speed, so that a
lower bound exists: each page that a guest has written must cross the source's link at least once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.lab.spec import GuestSpec
from tests.bench import evacuation_tables as tables
from tests.bench.evacuation_run import Evacuation, evacuate
from tests.bench.figures import Spread
from tests.bench.lab_room import shared_guest
from tests.bench.registry import Options, Result, benchmark
from tests.bench.ways import LOOP, VMFERRY, WAYS, XARGS

# Working set in MiB, rate in MiB/s: idle, modest, idle, busy, and again.
KINDS = ((64, 0.4), (64, 5.0), (64, 0.4), (96, 20.0))


@benchmark("evacuation", "empty a host with vmferry, a virsh loop, and xargs -P4 of virsh")
def run(options: Options, room: Path) -> Result:
    """Run all rounds and compare."""
    guests = make_guests(options.vms)
    bound_s = sum(guest.working_set_mib for guest in guests) / options.link_mib_s
    options.say(
        f"{len(guests)} VMs, {sum(g.working_set_mib for g in guests)} MiB of touched memory, every link capped to "
        f"{options.link_mib_s:g} MiB/s: no way takes less than {bound_s:.1f} s; {options.rounds} rounds"
    )
    found = [
        _told(evacuate(way, number, guests, options, room), options)
        for number in range(1, options.rounds + 1)
        for way in WAYS
    ]
    return Result(
        tables=(
            tables.compare(found, bound_s, options.link_mib_s),
            tables.ratios(found),
            tables.rounds(found),
            tables.jobs(found),
            tables.where_time_goes(found),
        ),
        notes=(_parallel(options), *NOTES),
        data=_data(options, guests, bound_s, found),
        problems=tuple(f"round {one.round}, way {one.letter}: {text}" for one in found for text in one.problems),
    )


NOTES = (
    "bound: touched memory ÷ link speed; what was sent is more, because guests write on while they move",
    "downtime: the longest silence of the guest's own 10 ms heartbeat, over all hosts; `quiet gap` is what the "
    "machine does to a heartbeat when nothing moves",
    "vmferry checks every destination first, resumes each VM only after a look at both hosts, and proves each move; "
    "the scripts do not",
    "round 1 of vmferry is its first use: it makes Prefect's database and Python's byte code",
    "CPU s: the command's own processes; libvirtd, QEMU and the hosts' ssh are not in it",
)


def _parallel(options: Options) -> str:
    limit = f"{options.limit}, by --limit" if options.limit else "2, as the lab's inventory has it and by default"
    return f"moves at once: vmferry at most {limit}, out of a host and into one; xargs 4; the loop 1"


def make_guests(count: int) -> list[GuestSpec]:
    """Return `count` running VMs on shared storage, of four kinds in turn."""
    kinds = [KINDS[number % len(KINDS)] for number in range(count)]
    return [shared_guest(f"vm{n + 1}", working_set_mib=mib, dirty_mib_s=rate) for n, (mib, rate) in enumerate(kinds)]


def _told(one: Evacuation, options: Options) -> Evacuation:
    worst = max(vm.downtime_s for vm in one.vms)
    alone = f", moves alone {one.moves_s:.1f} s" if one.inside else ""
    options.say(
        f"round {one.round} {one.letter}: {one.makespan_s:.1f} s{alone}, longest downtime {worst * 1000:.0f} ms, "
        f"load {os.getloadavg()[0]:.1f}" + "".join(f"\n!!! {problem}" for problem in one.problems)
    )
    return one


def _data(options: Options, guests: Sequence[GuestSpec], bound_s: float, found: Sequence[Evacuation]) -> dict[str, Any]:
    def ratio(other: str, is_alone: bool) -> dict[str, float]:
        theirs = {one.round: one.makespan_s for one in found if one.letter == other}
        mine = {one.round: one.moves_s if is_alone else one.makespan_s for one in tables.of_way(found, VMFERRY)}
        return asdict(Spread.of(mine[number] / theirs[number] for number in mine if number in theirs))

    return {
        "link_mib_s": options.link_mib_s,
        "limit": options.limit,
        "bound_s": bound_s,
        "ways": {way.letter: way.title for way in WAYS},
        "guests": [guest.model_dump(mode="json") for guest in guests],
        "ratios": {
            f"a/{other.letter}": {"makespan": ratio(other.letter, False), "moves_alone": ratio(other.letter, True)}
            for other in (LOOP, XARGS)
        },
        "runs": [{**asdict(one), "moves_s": one.moves_s, "sent_bytes": one.sent_bytes} for one in found],
    }
