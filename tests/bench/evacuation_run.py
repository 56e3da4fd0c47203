"""One evacuation, by one way, in a fresh lab: measured from outside, the same for every way."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from infra.lab.lab import Lab
from infra.lab.spec import GuestSpec
from infra.lab.watch import Watch
from tests.bench.inside import Inside, read_inside
from tests.bench.lab_room import DESTS, SOURCE, fresh_lab, watching
from tests.bench.meter import Metered, run_metered
from tests.bench.registry import Options
from tests.bench.ways import VMFERRY, Way, state_dir

TIMEOUT_S = 180.0
_QUIET_S = 1.0  # watched before anything moves: what the machine itself does to a heartbeat
_AFTER_S = 0.5  # watched after the end


@dataclass(frozen=True)
class VmMoved:
    """What became of one VM."""

    vm: str
    dest: str
    downtime_s: float  # longest silence of the guest's own heartbeat, on all hosts together
    quiet_s: float  # longest silence while nothing moved
    sent_bytes: int  # by QEMU's count, asked of the destination
    job_s: float  # libvirt's own time for the migration job
    lost_pages: int
    two_at_once_s: float


@dataclass(frozen=True)
class Evacuation:
    """One evacuation."""

    letter: str
    round: int
    makespan_s: float
    metered: Metered
    vms: tuple[VmMoved, ...]
    problems: tuple[str, ...]
    inside: Inside | None = None

    @property
    def moves_s(self) -> float:
        """Time of the moves alone: what vmferry reports; the scripts do nothing else."""
        return self.inside.phases.moves_s if self.inside else self.makespan_s

    @property
    def sent_bytes(self) -> int:
        """Bytes of guest memory that crossed the link."""
        return sum(vm.sent_bytes for vm in self.vms)


def evacuate(way: Way, number: int, guests: Sequence[GuestSpec], options: Options, room: Path) -> Evacuation:
    """Empty the source of a fresh lab in one way, and look at what that did to its guests."""
    names = [guest.name for guest in guests]
    with fresh_lab(guests, options.link_mib_s) as lab:
        with watching(lab, names) as quiet:
            time.sleep(_QUIET_S)
        command = way.command(lab, room, options.limit)
        with watching(lab, names) as watches:
            metered, stdout = run_metered(command.argv, env=command.env, room=room, timeout_s=TIMEOUT_S)
            time.sleep(_AFTER_S)
        where = lab.where_all()
        vms = tuple(_moved(lab, name, where[name], watches[name], quiet[name]) for name in names)
        problems = [*_wrong_command(metered), *_wrong_guests(vms, where, watches)]
    found = Evacuation(way.letter, number, metered.seconds, metered, vms, tuple(problems))
    return _with_inside(found, stdout, room) if way is VMFERRY else found


def _with_inside(found: Evacuation, stdout: str, room: Path) -> Evacuation:
    try:
        return replace(found, inside=read_inside(stdout, found.metered, state_dir(room)))
    except ValueError as error:
        return replace(found, problems=(*found.problems, str(error)))


def _moved(lab: Lab, name: str, where: Mapping[str, str], watch: Watch, quiet: Watch) -> VmMoved:
    dest = next((host for host in where if host in DESTS), "")
    job = _read_job(lab, name, dest) if dest else {}
    return VmMoved(
        vm=name,
        dest=dest,
        downtime_s=watch.longest_gap_s,
        quiet_s=quiet.longest_gap_s,
        sent_bytes=int(job.get("memory_processed", 0)),
        job_s=int(job.get("time_elapsed", 0)) / 1000,
        lost_pages=watch.errors,
        two_at_once_s=watch.overlap_s,
    )


def _read_job(lab: Lab, name: str, dest: str) -> dict[str, str]:
    """Read the finished job's statistics, which libvirt hands to the destination."""
    text = lab.hosts[dest].virsh("domjobinfo", name, "--completed", "--rawstats")
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def _wrong_command(metered: Metered) -> list[str]:
    wrong = []
    if metered.exit_code:
        wrong.append(f"exit code {metered.exit_code}: {metered.output.strip()}")
    if metered.strays:
        wrong.append(f"{metered.strays} processes were left behind and had to be killed")
    return wrong


def _wrong_guests(
    vms: Sequence[VmMoved], where: Mapping[str, Mapping[str, str]], watches: Mapping[str, Watch]
) -> list[str]:
    """Judge by `virsh list` of all hosts and by the guests' own heartbeats."""
    wrong = []
    for vm in vms:
        seen = where[vm.vm]
        if list(seen.values()) != ["running"] or SOURCE in seen:
            wrong.append(f"{vm.vm}: does not run on exactly one destination: {dict(seen) or 'it is nowhere'}")
        elif not watches[vm.vm].alive_on(vm.dest):
            wrong.append(f"{vm.vm}: does not beat on {vm.dest}")
        if vm.lost_pages:
            wrong.append(f"{vm.vm}: LOST {vm.lost_pages} PAGES of its memory")
        if vm.two_at_once_s:
            wrong.append(f"{vm.vm}: TWO COPIES beat at once for {vm.two_at_once_s:.3f} s")
    return wrong
