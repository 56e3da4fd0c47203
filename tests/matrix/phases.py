"""Bring a move to a phase, and see that it is there: by what the hosts show, never by waiting for a time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from infra.lab import DiskKind, GuestSpec, GuestState
from infra.lab.conditions import is_stopped, stop_at_start
from tests.matrix.gate import FINISH, HANDOVER
from tests.matrix.stand import DEST, SOURCE, Missed, Move, OtherMove, Stand
from tests.matrix.table import Cell, Phase

LINK_MIB_S = 5.0
_WORKING_SET_MIB = 40
_DATA_MIB = 40
_STAGED = "find /var/lib/libvirt/images -path '*/.vmferry-*' -type f -size +1024k"
# What still has to flow when a fault strikes: so much that the phase cannot have ended before.
_MARGIN_S = 2.0
_REACH_S = 120.0
_UNITS = {"B": 1 / 2**20, "KiB": 1 / 2**10, "MiB": 1.0, "GiB": 2.0**10}


def gate_of(phase: Phase) -> str:
    """Return the journal's row at which vmferry itself is held in this phase."""
    return {Phase.HANDOVER: HANDOVER, Phase.FINISH: FINISH}.get(phase, "")


def add_guest(stand: Stand, cell: Cell, name: str) -> None:
    """Add the guest that the cell needs, half of its memory written; the link is narrow from then on."""
    is_copy = cell.phase is Phase.COPY
    disk_mib, data_mib = (64, _DATA_MIB) if cell.disk is DiskKind.LOCAL else (8, 2)
    spec = GuestSpec(
        name=name,
        memory_mib=_WORKING_SET_MIB + 16,
        working_set_mib=_WORKING_SET_MIB,
        dirty_mib_s=80,
        disk=cell.disk,
        disk_mib=disk_mib,
        disk_data_mib=data_mib,
        state=GuestState.SHUTOFF if is_copy else GuestState.RUNNING,
    )
    stand.lab.add_guest(spec)
    if not is_copy:
        _let_it_write(stand, name)
    if cell.phase not in (Phase.HANDOVER, Phase.FINISH):
        stand.source.cap_link(LINK_MIB_S)


def _let_it_write(stand: Stand, name: str) -> None:
    deadline = time.monotonic() + 60
    while (beat := stand.lab.heartbeats(name).get(SOURCE)) is None or beat.passes < 1:
        assert time.monotonic() < deadline, f"{name} does not write"
        time.sleep(0.05)
    while (beat := stand.lab.heartbeats(name).get(SOURCE)) is None or beat.rate_pages > 10:
        assert time.monotonic() < deadline, f"{name} does not hear its keyboard"
        stand.lab.set_rate(name, 0.4, host=SOURCE)
        time.sleep(0.4)


@contextmanager
def prepared(stand: Stand, cell: Cell, guest: str) -> Iterator[ExitStack]:
    """Arm what holds a move in its phase; closing what it gives lets the move go on."""
    with ExitStack() as held:
        if cell.phase is Phase.PREPARE:
            held.enter_context(stop_at_start(stand.dest, guest))
        yield held


def reach(stand: Stand, cell: Cell, guest: str, move: Move) -> None:
    """Wait until the move is in its phase, for certain and for long enough."""
    deadline = time.monotonic() + _REACH_S
    asked: list[bool] = []
    while not _is_there(stand, cell.phase, guest, move, asked):
        if move.is_over:
            said = move.said if isinstance(move, OtherMove) else move.end(10)
            raise Missed(f"{cell.name}: over before its phase: {said[-2000:]}")
        if time.monotonic() > deadline:
            raise Missed(f"{cell.name}: its phase was not seen in {_REACH_S:.0f} s")
        time.sleep(0.02)


def _is_there(stand: Stand, phase: Phase, guest: str, move: Move, asked: list[bool]) -> bool:
    match phase:
        case Phase.PREPARE:
            return is_stopped(stand.dest, guest)
        case Phase.MEMORY:
            return left_mib(stand, guest, "Memory") > _MARGIN_S * LINK_MIB_S
        case Phase.SWITCH:
            return _switch(stand, guest, asked)
        case Phase.MIRROR:
            return left_mib(stand, guest, "File") > _MARGIN_S * LINK_MIB_S
        case Phase.COPY:
            return bool(stand.dest.run(["sh", "-c", _STAGED], check=False).stdout)
        case Phase.HANDOVER | Phase.FINISH:
            return move.is_held


def _switch(stand: Stand, guest: str, asked: list[bool]) -> bool:
    """Let QEMU stop the CPUs while much of the memory is still to be sent, as soon as memory flows.

    From then on its monitor answers nobody until all is sent (QEMU 7.2), so nothing is asked that needs it.
    """
    if asked:
        return state(stand, SOURCE, guest) == "paused (migrating)"
    if left_mib(stand, guest, "Memory") > 2 * _MARGIN_S * LINK_MIB_S:
        stand.source.begin(["virsh", "migrate-setmaxdowntime", guest, "120000"])
        asked.append(True)
    return False


def left_mib(stand: Stand, guest: str, what: str) -> float:
    """Return how many MiB of "Memory" or "File" the source's job still has to send; 0 where none flows."""
    said = stand.source.run(["virsh", "domjobinfo", guest], check=False).stdout
    sent = re.search(rf"^{what} processed: +([\d.]+) (\w+)", said, re.MULTILINE)
    left = re.search(rf"^{what} remaining: +([\d.]+) (\w+)", said, re.MULTILINE)
    if sent is None or left is None or float(sent[1]) == 0:
        return 0
    return float(left[1]) * _UNITS[left[2]]


def still_there(cell: Cell, since_s: float) -> None:
    """Prove that the fault struck in its phase: it cannot have ended in the time that the strike took."""
    took = time.monotonic() - since_s
    is_flowing = cell.phase in (Phase.MEMORY, Phase.SWITCH, Phase.MIRROR, Phase.COPY)
    if is_flowing and took > _MARGIN_S:
        raise Missed(f"{cell.name}: the strike took {took:.1f} s, longer than the phase may have lasted")


def state(stand: Stand, host: str, guest: str) -> str:
    """Return state and reason as virsh on the host says them; "absent", or "no answer"."""
    done = stand.lab.hosts[host].run(["timeout", "5", "virsh", "-q", "domstate", "--reason", guest], check=False)
    if done.returncode == 0:
        return done.stdout.strip()
    return "absent" if "failed to get domain" in done.stderr else "no answer"


def both(stand: Stand, guest: str) -> str:
    """Return what both hosts show of the guest: `running (booted) | absent`."""
    return f"{state(stand, SOURCE, guest)} | {state(stand, DEST, guest)}"
