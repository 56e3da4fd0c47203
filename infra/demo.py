"""The demo: eight VMs leave a real libvirt host before its hardware work, each by the right kind of migration.

Run by `make demo`. The lab's hosts have libvirtd, sshd, network and storage of their own; vmferry meets them as it
would meet any hosts: through an inventory file, ssh and libvirt.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from rich.table import Table

from infra.lab.lab import Lab, need_root, take_down
from infra.lab.proc import LabError
from infra.lab.spec import DiskFormat, DiskKind, GuestSpec, GuestState, HostSpec, LabSpec
from infra.lab.watch import Watch

STRANDED = "pinned1"
GUESTS = (
    GuestSpec(name="idle1", disk=DiskKind.SHARED, network="br0", title="an idle web server", autostart=True),
    GuestSpec(name="idle2", disk=DiskKind.NOLOCK, title="an idle proxy, on storage without locks"),
    GuestSpec(name="busy1", memory_mib=128, dirty_mib_s=20, working_set_mib=48, disk=DiskKind.SHARED),
    GuestSpec(name="busy2", memory_mib=128, dirty_mib_s=40, working_set_mib=64, disk=DiskKind.NOLOCK),
    GuestSpec(name="batch1", memory_mib=96, dirty_mib_s=60, working_set_mib=64, disk=DiskKind.SHARED),
    GuestSpec(name="parked1", disk=DiskKind.SHARED, state=GuestState.PAUSED),
    GuestSpec(
        name="archive1",
        disk=DiskKind.LOCAL,
        disk_format=DiskFormat.RAW,
        disk_mib=256,
        disk_data_mib=24,
        state=GuestState.SHUTOFF,
    ),
    GuestSpec(name=STRANDED, disk=DiskKind.SHARED, numa_pinned=True),
)
HOSTS = tuple(HostSpec(name=f"kvm{n}", bridges=("br0",)) for n in (1, 2, 3))
KEPT = "demo"  # the lab that stays; the others are named after their process, so that two demos do not meet
STATE = Path("/var/tmp/vmferry-demo")  # outlives the lab: the report is worth reading afterwards

out = Console(highlight=False)


def main() -> int:
    """Run the demo; return 0 when every VM ended where it should."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the lab for playing")
    keep = parser.parse_args().keep
    need_root()
    name = KEPT if keep else f"{KEPT}-{os.getpid()}"
    begun = time.monotonic()
    try:
        out.print(Rule("three libvirt hosts, eight VMs on the first"))
        take_down(name)
        lab = Lab.up(LabSpec(name=name, hosts=HOSTS, guests=GUESTS))
        out.print(f"up in {time.monotonic() - begun:.1f} s; guests run under {'KVM' if lab.kvm else 'TCG'}")
        is_good = _evacuate(lab)
        if keep:
            _say_how_to_play(lab)
        return 0 if is_good else 1
    except LabError as error:
        out.print(f"the lab did not come up: {error}", style="red", markup=False)
        return 1
    finally:
        if not keep:
            take_down(name)
        out.print(f"{time.monotonic() - begun:.0f} s in all")


def _evacuate(lab: Lab) -> bool:
    out.print(Rule("hosts before"))
    _show_hosts(lab)
    out.print(Rule("can kvm1 be emptied? vmferry check kvm1"))
    _vmferry(lab, "check", "kvm1")
    out.print(Rule("the evacuation: vmferry evacuate kvm1"))
    watches: dict[str, Watch] = {}
    with ExitStack() as stack:
        for guest in GUESTS:
            if guest.state is GuestState.RUNNING:
                watches[guest.name] = stack.enter_context(lab.watch(guest.name, interval_s=0.01))
        _vmferry(lab, "evacuate", "kvm1", "--mode", "batch1=non-live", "--reason", "more memory for kvm1")
        time.sleep(1)
    out.print(Rule("hosts after"))
    _show_hosts(lab)
    out.print(Rule("what the guests themselves saw"))
    return _judge(lab, watches)


def _vmferry(lab: Lab, *args: str) -> int:
    """Run the command line as an operator would; 4 is its code for "a VM was left behind"."""
    environment = os.environ | {
        "VMFERRY_INVENTORY": str(lab.inventory_path),
        "VMFERRY_STATE_DIR": str(STATE / lab.name),
    }
    command = [str(Path(sys.executable).with_name("vmferry")), *args]
    code = subprocess.run(command, env=environment, check=False).returncode
    out.print(f"[dim]exit code {code}[/dim]")
    return code


def _show_hosts(lab: Lab) -> None:
    """Show what `virsh list --all` says on every host."""
    for name, host in lab.hosts.items():
        out.print(f"[bold]{name}# virsh list --all[/bold]")
        out.print(host.virsh("list", "--all").rstrip(), markup=False)


def _judge(lab: Lab, watches: dict[str, Watch]) -> bool:
    """Compare with what must be true, from `virsh list` of every host and the guests' heartbeats."""
    table = Table("VM", "was", "is", "on", "silence", "two at once", "lost pages", "")
    is_good = True
    for guest in GUESTS:
        where = lab.where(guest.name)
        watch = watches.get(guest.name)
        stays = guest.name == STRANDED
        wanted = {GuestState.RUNNING: "running", GuestState.PAUSED: "paused", GuestState.SHUTOFF: "shut off"}
        is_right = list(where.values()) == [wanted[guest.state]] and ("kvm1" in where) == stays
        if watch is not None:
            is_right = is_right and watch.errors == 0 and watch.overlap_s == 0
        is_good = is_good and is_right
        table.add_row(
            guest.name,
            str(guest.state),
            ", ".join(where.values()),
            ", ".join(where),
            f"{watch.longest_gap_s * 1000:.0f} ms" if watch and not stays else "-",
            ("no" if watch.overlap_s == 0 else f"{watch.overlap_s:.2f} s") if watch else "-",
            str(watch.errors) if watch else "-",
            "good" if is_right else "WRONG",
        )
    out.print(table)
    out.print("silence: the longest time in which no copy of the guest beat; it beats every 10 ms.")
    out.print(f"{STRANDED} is pinned to NUMA nodes: it stays, with the reason above; everything else has left kvm1.")
    return is_good


def _say_how_to_play(lab: Lab) -> None:
    out.print(Rule("the lab stays"))
    out.print(f"export VMFERRY_INVENTORY={lab.inventory_path}", markup=False)
    out.print(".venv/bin/vmferry hosts; .venv/bin/vmferry migrate idle1 --to kvm1; make lab-down", markup=False)


if __name__ == "__main__":
    sys.exit(main())
