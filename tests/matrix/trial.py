"""Try one cell: bring a move to its phase, strike, settle, prove."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack

from flows.recover_runs import recover_runs
from tests.matrix import phases, proof
from tests.matrix.proof import Figures
from tests.matrix.stand import Missed, Move, OtherMove, OwnMove, Stand
from tests.matrix.strikes import KILLS, OVER_TCP, Strike
from tests.matrix.table import Cell, Ends, Phase
from vmferry.adapters.world import RealWorld
from vmferry.errors import Held
from vmferry.model.journal import RunRecord

_TRIES = 3
_BY_A_HUMAN = (Ends.ANEW_SOURCE, Ends.ANEW_DEST)
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
    with stand.world(peer) as world, phases.prepared(stand, cell, guest) as held:
        at = phases.gate_of(cell.phase)
        move = OtherMove(stand, peer, at) if cell.fault in KILLS else OwnMove(world, at)
        try:
            phases.add_guest(stand, cell, guest)
            return _Trial(stand, cell, guest, world, move).run(held, strikes)
        finally:
            stand.source.cap_link(None)
            move.close()


class _Trial:
    """One attempt at a cell."""

    def __init__(self, stand: Stand, cell: Cell, guest: str, world: RealWorld, move: Move) -> None:
        self._stand = stand
        self._cell = cell
        self._guest = guest
        self._world = world
        self._move = move

    def run(self, held: ExitStack, strikes: int) -> Figures:
        stand, cell, guest = self._stand, self._cell, self._guest
        before, fault = proof.listing(stand), Strike(stand, cell, guest, self._move, held)
        with stand.lab.watch(guest) as watch:
            self._move.begin(guest)
            try:
                phases.reach(stand, cell, guest, self._move)
                struck_s = time.monotonic()
                fault.strike()
                phases.still_there(cell, struck_s)
                seen = phases.both(stand, guest)
                fault.mend()
                said = self._move.end(_END_S)
            finally:
                fault.close()
            record = self._settle()
            seconds = time.monotonic() - struck_s
            time.sleep(1)  # a second copy would beat now
        left = proof.leftovers(stand, before, guest, record)
        problems = [*proof.check(stand, cell, guest, record, watch), *(f"left behind: {one}" for one in left)]
        rows = self._world.journal.rows(record.run)
        if problems:
            problems += [f"the move ended: {said}", *(row.note for row in rows if row.note)]
        is_on = cell.phase is not Phase.COPY
        return Figures(
            phase=cell.place,
            fault=str(cell.fault),
            seen=seen,
            decisions=", ".join(found[1] for row in rows if (found := re.search(r"→ ([A-Z_]+): ", row.note))),
            outcome=str(record.outcome) + (", after a human" if cell.ends in _BY_A_HUMAN else ""),
            seconds=round(seconds, 1),
            copies=proof.copies_at_once(watch),
            lost_pages=watch.errors,
            silence_s=round(watch.longest_gap_s, 2) if watch.spells and is_on else None,
            leftovers=left,
            strikes=strikes,
            problems=tuple(problems),
        )

    def _settle(self) -> RunRecord:
        """Recover until nothing is open; where a human is asked, do what the message says, once."""
        deadline, journal = time.monotonic() + _SETTLE_S, self._world.journal
        is_human_asked = self._cell.ends in _BY_A_HUMAN
        while journal.unsettled():
            try:
                recover_runs()
            except Held as held:
                starts = re.findall(r"virsh -c '[^']+' start '[^']+'", str(held))
                if is_human_asked and len(starts) == 1:
                    is_human_asked = False
                    subprocess.run(["sh", "-c", starts[0]], check=True, capture_output=True, timeout=60)
                elif time.monotonic() > deadline:
                    raise
        return journal.recent(1)[0]


def _tidy(stand: Stand, guest: str) -> None:
    """Let nothing of a cell be there for the next one."""
    if guest in stand.lab.guests:
        stand.lab.remove_guest(guest)
    for host in stand.lab.hosts.values():
        host.run(["sh", "-c", f"rm -rf /var/lib/libvirt/images/{guest}.* /var/lib/libvirt/images/.vmferry-*"])
