"""What is left after a cell: one running copy and nothing else, seen on the hosts themselves."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass

from infra.lab import Watch
from tests.matrix.stand import DEST, SOURCE, Stand
from tests.matrix.table import Cell, Ends, Fault, Phase
from vmferry.model.journal import RunRecord
from vmferry.model.migration import OutcomeKind

# Everything that a move may leave on a host: images, definitions, monitors, marks, mounts, processes.
_LIST = r"""
find /var/lib/libvirt/images /srv/shared /srv/nolock /etc/libvirt/qemu /run/libvirt/qemu -mindepth 1 2>/dev/null
find /run /tmp /etc/libvirt /var/lib/libvirt -name '*vmferry*' ! -name 'vmferry-guest.img' 2>/dev/null
awk '{ print "mount " $2 }' /proc/self/mounts
for p in /proc/[0-9]*; do tr '\0' ' ' <"$p/cmdline" 2>/dev/null | grep -oE 'guest=[^, ]+|vmferry-(send|receive)'; done
for guest in $(virsh -q list --all --name); do
    virsh dumpxml "$guest" | grep -oE '<vmferry[^>]*>' | sed "s/^/mark of $guest: /"
done
true
"""


@dataclass(frozen=True)
class Figures:
    """One row of the printed matrix."""

    phase: str
    fault: str
    seen: str
    decisions: str
    outcome: str
    seconds: float
    copies: int
    lost_pages: int
    silence_s: float | None  # a VM that is shut off is silent
    leftovers: tuple[str, ...]
    strikes: int
    problems: tuple[str, ...]

    def as_data(self) -> dict[str, object]:
        return asdict(self)


def listing(stand: Stand) -> dict[str, set[str]]:
    """Return what is on both hosts now."""
    return {name: set(stand.lab.hosts[name].run(["sh", "-c", _LIST]).stdout.splitlines()) for name in (SOURCE, DEST)}


def leftovers(stand: Stand, before: dict[str, set[str]], guest: str, record: RunRecord) -> tuple[str, ...]:
    """Return what is there and does not belong there; the daemons need a moment to tidy up."""
    deadline = time.monotonic() + 20
    while True:
        after = listing(stand)
        found = [
            f"{host}: {line}"
            for host in (SOURCE, DEST)
            for line in sorted(after[host] - before[host])
            if not _belongs(host, line, guest, record)
        ]
        if not found or time.monotonic() > deadline:
            return tuple(found)
        time.sleep(0.5)


def _belongs(host: str, line: str, guest: str, record: RunRecord) -> bool:
    """Whether it is a part of the VM where it is now, or the original that a moved VM's run has set aside."""
    home = DEST if record.outcome is OutcomeKind.MOVED else SOURCE
    if host == home:
        own = rf"/(etc|run|var/lib)/libvirt/(qemu|images)/{guest}\.(xml|pid|raw)|guest={guest}"
        return re.fullmatch(own, line) is not None
    return line == f"/var/lib/libvirt/images/{guest}.raw.vmferry-moved-{record.run}"


def copies_at_once(watch: Watch) -> int:
    """Return the most copies that beat at the same time."""
    spells = watch.spells
    return max((sum(o.first_s <= one.first_s <= o.last_s for o in spells) for one in spells), default=0)


def check(stand: Stand, cell: Cell, guest: str, record: RunRecord, watch: Watch) -> list[str]:
    """Return what is wrong with the end of a cell: both `virsh list --all`, the beat, and the journal's word."""
    problems = []
    home = DEST if record.outcome is OutcomeKind.MOVED else SOURCE
    is_off = cell.phase is Phase.COPY and cell.fault is not Fault.HUMAN  # who starts it at the source
    wanted = {home: "shut off" if is_off else "running"}
    where = stand.lab.where(guest)
    if where != wanted:
        problems.append(f"the hosts show {where}, not {wanted}")
    if not is_off and not watch.alive_on(home, within_s=1.0):
        problems.append(f"no heartbeat on {home}")
    if watch.overlap_s > 0:
        problems.append(f"TWO COPIES beat for {watch.overlap_s:.2f} s")
    if watch.errors:
        problems.append(f"{watch.errors} pages were lost")
    allowed = {
        Ends.MOVED: (OutcomeKind.MOVED,),
        Ends.ANEW_DEST: (OutcomeKind.MOVED,),
        Ends.STAYS: (OutcomeKind.ROLLED_BACK,),
        Ends.ANEW_SOURCE: (OutcomeKind.ROLLED_BACK,),
        Ends.EITHER: (OutcomeKind.MOVED, OutcomeKind.ROLLED_BACK),
    }[cell.ends]
    if record.outcome not in allowed:
        problems.append(f"ended {record.outcome}, wanted: {cell.ends}")
    return problems
