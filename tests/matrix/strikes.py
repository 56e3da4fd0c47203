"""The faults themselves, and how each is mended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

from infra.lab.conditions import swallowed_answers
from tests.matrix.phases import state
from tests.matrix.stand import DEST, Missed, Move, OtherMove, Stand, wait_until
from tests.matrix.table import Cell, Fault, Phase

_SHORT_S = 1.0
_LONG_S = 9.0  # libvirt's keepalive in the lab is 1 × 3 s, its connection through ssh the same
_HOG = "/var/lib/libvirt/images/hog"
_KEEPALIVE_BYTES = 100
KILLS = (Fault.VMFERRY, Fault.REPLY_VMFERRY, Fault.HUMAN)
OVER_TCP = (Fault.REPLY, Fault.REPLY_VMFERRY)


class Strike:
    """One fault on one guest: `strike`, then `mend` when both hosts have been looked at."""

    def __init__(self, stand: Stand, cell: Cell, guest: str, move: Move, held: ExitStack) -> None:
        self._stand = stand
        self._cell = cell
        self._guest = guest
        self._move = move
        self._held = held  # closing it lets the move go on
        self._lasting = ExitStack()
        self._healing: threading.Timer | None = None

    def strike(self) -> None:
        stand, guest = self._stand, self._guest
        acts: dict[Fault, Callable[[], object]] = {
            Fault.VMFERRY: self._kill,
            Fault.SOURCE_LIBVIRTD: stand.source.kill_libvirtd,
            Fault.DEST_LIBVIRTD: stand.dest.kill_libvirtd,
            Fault.SOURCE_QEMU: lambda: stand.source.kill_qemu(guest),
            Fault.DEST_QEMU: lambda: stand.dest.kill_qemu(guest),
            Fault.LINK_SHORT: lambda: self._cut(_SHORT_S),
            Fault.LINK_LONG: lambda: self._cut(_LONG_S),
            Fault.REPLY: self._swallow,
            Fault.REPLY_VMFERRY: self._swallow_and_kill,
            Fault.DISK_FULL: self._fill,
            Fault.ABORT: self._abort,
            Fault.HUMAN: self._kill,
        }
        acts[self._cell.fault]()

    def mend(self) -> None:
        """Restart, reconnect, or let a human act: what happens in the world besides vmferry."""
        stand, fault = self._stand, self._cell.fault
        if self._healing is not None:
            self._healing.join()
        if fault is Fault.HUMAN:
            self._human()
        self._held.close()
        self._move.release()
        if fault not in OVER_TCP:
            stand.source.cap_link(None)
        for host in (stand.source, stand.dest):
            host.start_libvirtd()
        if fault is Fault.REPLY_VMFERRY:
            stand.source.cap_link(None)
            wait_until(self._has_given_up, "libvirt gives up")
        if fault is Fault.REPLY:
            stand.source.cap_link(None)
            wait_until(lambda: self._move.is_over or self._has_given_up(), "libvirt gives up")

    def close(self) -> None:
        """End what lasted until the move had ended."""
        self._lasting.close()
        self._stand.dest.run(["rm", "-f", _HOG], check=False)

    def _cut(self, seconds: float) -> None:
        self._stand.dest.link_down()
        self._healing = threading.Timer(seconds, self._stand.dest.link_up)
        self._healing.start()

    def _kill(self) -> None:
        assert isinstance(self._move, OtherMove)
        if self._move.is_over:
            raise Missed(f"{self._cell.name}: vmferry had ended: {self._move.said[-500:]}")
        self._move.kill()

    def _abort(self) -> None:
        # Not waited for: in the switch-over QEMU's monitor answers nobody until all memory is sent.
        self._stand.source.begin(["virsh", "domjobabort", self._guest])

    def _swallow(self) -> None:
        loss = swallowed_answers(self._stand.source, self._stand.dest, longer_than=_KEEPALIVE_BYTES)
        self._lasting.enter_context(loss)

    def _swallow_and_kill(self) -> None:
        self._kill()
        self._swallow()

    def _has_given_up(self) -> bool:
        job = self._stand.source.run(["virsh", "domjobinfo", self._guest], check=False).stdout
        return "None" in job or not job.strip()

    def _fill(self) -> None:
        # dd ends when nothing is left; whatever the copy frees afterwards is as good as nothing.
        self._stand.dest.run(["dd", "if=/dev/zero", f"of={_HOG}", "bs=64k"], check=False)

    def _human(self) -> None:
        """A human finishes what vmferry left: where a copy has arrived it is let run, else the move is ended."""
        stand, guest = self._stand, self._guest
        match self._cell.phase:
            case Phase.HANDOVER:
                wait_until(lambda: state(stand, DEST, guest) == "paused (user)", "the copy has arrived")
                stand.dest.virsh("resume", guest)
            case Phase.FINISH:
                stand.source.virsh("undefine", guest)
            case Phase.COPY:
                stand.source.virsh("start", guest)
            case _:
                stand.dest.virsh("destroy", guest)
