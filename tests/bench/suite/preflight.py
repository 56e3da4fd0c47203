"""Ask whether a host can be emptied: `vmferry check` beside a careful operator's script; and a large fleet, simulated.

The script asks, per VM and destination, what the reference chapter and libvirt's own commands can answer: ping,
libvirt, the guest's CPU, the disk's path. vmferry asks all of its rules. Both run against the same lab, in turn.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from infra.lab.lab import Lab
from tests.bench.figures import Spread
from tests.bench.lab_room import DESTS, SOURCE, fresh_lab
from tests.bench.meter import run_metered
from tests.bench.registry import Options, Result, benchmark
from tests.bench.suite.evacuation import make_guests
from tests.bench.ways import vmferry_command
from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import SimulatedFleet
from vmferry.planning.audit import audit
from vmferry.steps.read import read_all_pairs, read_fleet

HOSTS, VMS_PER_HOST = 50, 20
TIMEOUT_S = 120.0
# What an operator's check script does: every question anew for every VM and destination, one after the other.
SCRIPT = """
for vm in $(virsh -q list --all --name); do
  for dest in "$@"; do
    ping -q -n -c 2 -i 0.2 -W 2 "$dest" >/dev/null || echo "$vm $dest: no ping"
    virsh -q -c "qemu+ssh://root@$dest/system" version >/dev/null || echo "$vm $dest: no libvirt"
    virsh dumpxml --migratable "$vm" >/tmp/check.xml
    grep -q '<cpu' /tmp/check.xml && { virsh -c "qemu+ssh://root@$dest/system" hypervisor-cpu-compare \
      --virttype qemu /tmp/check.xml >/dev/null || echo "$vm $dest: CPU"; }
    virsh -q domblklist "$vm" | while read -r _ path; do
      ssh "$dest" test -e "$path" </dev/null || echo "$vm $dest: no $path"
    done
  done
done
"""


@benchmark("preflight", "can a host be emptied? vmferry check beside a shell script; and 50 simulated hosts")
def run(options: Options, room: Path) -> Result:
    """Run the rounds in one lab, then the simulated fleet."""
    mine: list[float] = []
    theirs: list[float] = []
    with fresh_lab(make_guests(options.vms), options.link_mib_s) as lab:
        for number in range(1, options.rounds + 1):
            mine.append(_check(lab, room))
            theirs.append(_script(lab))
            options.say(f"round {number}: vmferry check {mine[-1]:.1f} s, script {theirs[-1]:.1f} s")
    fleets = [_simulated(options.say) for _ in range(options.rounds)]
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    return Result(
        tables=(_lab_table(options, mine, theirs, ratios), _fleet_table(fleets)),
        notes=(
            "the script asks 4 questions per VM and destination; vmferry asks all rules, plans all VMs together and "
            "checks its plan",
            "simulated hosts answer at once: the second table is vmferry's own work",
        ),
        data={
            "check_s": asdict(Spread.of(mine)),
            "script_s": asdict(Spread.of(theirs)),
            "ratio": asdict(Spread.of(ratios)),
            "fleet_s": {step: asdict(Spread.of(one[step] for one in fleets)) for step in fleets[0]},
        },
    )


def _check(lab: Lab, room: Path) -> float:
    """Return the seconds of one `vmferry check`; every VM of the lab may move."""
    command = vmferry_command(lab, room, None, "check", SOURCE)
    found, _ = run_metered(command.argv, env=command.env, room=room, timeout_s=TIMEOUT_S)
    if found.exit_code:
        raise RuntimeError(f"vmferry check ended with {found.exit_code}: {found.output}")
    return found.seconds


def _script(lab: Lab) -> float:
    begun = time.monotonic()
    lab.hosts[SOURCE].run(["bash", "-c", SCRIPT, "check", *DESTS], timeout=600)
    return time.monotonic() - begun


def _simulated(say: Callable[[str], None]) -> dict[str, float]:
    """Return the seconds of each step of an audit of 50 hosts with 1,000 VMs."""
    fleet = SimulatedFleet.of(*(f"kvm{number}" for number in range(HOSTS)), memory_mib=262_144, cpus=64)
    for number in range(HOSTS * VMS_PER_HOST):
        fleet.add_vm(f"kvm{number % HOSTS}", f"vm{number}")
    world = fleet.world(journal=SqlJournal("sqlite://"))
    begun = time.monotonic()
    snapshot = read_fleet(world)
    read = time.monotonic()
    snapshot = read_all_pairs(world, snapshot)
    paired = time.monotonic()
    found = audit(snapshot)
    judged = time.monotonic()
    say(f"{HOSTS} hosts, {len(found.movability.rows)} VMs: {judged - begun:.1f} s, load {os.getloadavg()[0]:.1f}")
    return {"read the hosts": read - begun, "read all pairs": paired - read, "judge, plan, N-1": judged - paired}


def _lab_table(options: Options, mine: list[float], theirs: list[float], ratios: list[float]) -> Table:
    table = Table("way", "seconds", title=f"{options.vms} VMs, {len(DESTS)} destinations: median (least–greatest)")
    table.add_row("a  vmferry check", Spread.of(mine).show(digits=2))
    table.add_row("b  shell script", Spread.of(theirs).show(digits=2))
    table.add_row("a/b", Spread.of(ratios).show(digits=2))
    return table


def _fleet_table(fleets: list[dict[str, float]]) -> Table:
    table = Table(
        "step", "seconds", title=f"{HOSTS} simulated hosts, {HOSTS * VMS_PER_HOST} VMs, every VM × every host"
    )
    for step in fleets[0]:
        table.add_row(step, Spread.of(one[step] for one in fleets).show(digits=2))
    table.add_row("all", Spread.of(sum(one.values()) for one in fleets).show(digits=2))
    return table
