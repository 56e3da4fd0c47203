"""Try one cell: bring a move to its phase, strike, settle, prove."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import time
from collections.abc import Callable

from flows.recover_runs import recover_runs
from infra.lab import Watch
from tests.matrix import phases, proof
from tests.matrix.proof import Figures
from tests.matrix.stand import Missed, OtherMove, OwnMove, Stand
from tests.matrix.strikes import KILLS, OVER_TCP, Strike
from tests.matrix.table import Cell, Ends
from vmferry.adapters.world import RealWorld
from vmferry.errors import Held
from vmferry.model.journal import RunRecord

_TRIES = 3
_END_S = 120.0
_SETTLE_S = 120.0
_numbers = itertools.count(1)


def try_cell(stand: Stand, cell: Cell, say: Callable[[str], None] = print) -> Figures:
    """Try until the fault struck in its phase; raises Missed when it never did."""
    for strikes in range(1, _TRIES + 1):
        guest = f"m{os.getpid()}-{next(_numbers)}"
        try:
            return _try_once(stand, cell, guest, strikes)
        except Missed as missed:
            say(f"again: {missed}")
        finally:
            stand.mend()
            _tidy(stand, guest)
    raise Missed(f"{cell.name}: {_TRIES} strikes missed")


def _try_once(stand: Stand, cell: Cell, guest: str, strikes: int) -> Figures:
    peer = "qemu+tcp" if cell.fault in OVER_TCP else "qemu+ssh"
    phases.add_guest(stand, cell, guest)
    before = proof.listing(stand)
    with stand.world(peer) as world, stand.lab.watch(guest) as watch, phases.prepared(stand, cell, guest) as held:
        at = phases.gate_of(cell.phase)
        move = OtherMove(stand, peer, guest, at) if cell.fault in KILLS else OwnMove(world, guest, at)
        fault = Strike(stand, cell, guest, move, held)
        try:
            phases.reach(stand, cell, guest, move)
            struck_s = time.monotonic()
            fault.strike()
            phases.still_there(stand, cell, guest, struck_s)
            seen = phases.both(stand, guest)
            fault.mend()
            said = move.end(_END_S)
        finally:
            fault.close()
            stand.source.cap_link(None)
            move.end(_END_S)
        record = _settle(stand, world, cell)
        seconds = time.monotonic() - struck_s
        time.sleep(1)  # a second copy would beat now
        watch.stop()
        return _figures(stand, cell, guest, world, record, watch, before, (seen, said, seconds, strikes))


def _settle(stand: Stand, world: RealWorld, cell: Cell) -> RunRecord:
    """Recover until nothing is open; where a human is asked, do what the message says, once."""
    deadline, is_human_asked = time.monotonic() + _SETTLE_S, cell.ends in (Ends.ANEW_SOURCE, Ends.ANEW_DEST)
    while world.journal.unsettled():
        try:
            recover_runs()
        except Held as held:
            starts = re.findall(r"virsh -c '[^']+' start '[^']+'", str(held))
            if is_human_asked and len(starts) == 1:
                is_human_asked = False
                subprocess.run(["sh", "-c", starts[0]], check=True, capture_output=True, timeout=60)
            elif time.monotonic() > deadline:
                raise
    return world.journal.recent(1)[0]


def _figures(
    stand: Stand,
    cell: Cell,
    guest: str,
    world: RealWorld,
    record: RunRecord,
    watch: Watch,
    before: dict[str, set[str]],
    told: tuple[str, str, float, int],
) -> Figures:
    seen, said, seconds, strikes = told
    rows = world.journal.rows(record.run)
    decisions = [found[1] for row in rows if (found := re.search(r"→ ([A-Z_]+): ", row.note))]
    left = proof.leftovers(stand, before, cell, guest, record)
    problems = [*proof.check(stand, cell, guest, record, watch), *(f"left behind: {one}" for one in left)]
    if problems:
        problems += [f"the move ended: {said}", *(row.note for row in rows if row.note)]
    return Figures(
        phase=cell.place,
        fault=str(cell.fault),
        seen=seen,
        decisions=", ".join(decisions),
        outcome=str(record.outcome) + (", after a human" if "ANEW" in cell.ends.name else ""),
        seconds=round(seconds, 1),
        copies=proof.copies_at_once(watch),
        lost_pages=watch.errors,
        silence_s=round(watch.longest_gap_s, 2) if watch.spells else -1.0,
        leftovers=left,
        strikes=strikes,
        problems=tuple(problems),
    )


def _tidy(stand: Stand, guest: str) -> None:
    """Let nothing of a cell be there for the next one."""
    if guest in stand.lab.guests:
        stand.lab.remove_guest(guest)
    for host in stand.lab.hosts.values():
        host.run(["sh", "-c", f"rm -rf /var/lib/libvirt/images/{guest}.* /var/lib/libvirt/images/.vmferry-*"])
