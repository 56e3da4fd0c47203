"""Faults as data, and the gate that every port call passes: it records the call and strikes when asked to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

from vmferry.errors import HostUnreachable, OutcomeUnknown, PermanentError, TransientError, UnsafeError
from vmferry.model.base import Model


class SimulatedCrash(BaseException):
    """The vmferry process ends here, as by SIGKILL; only the test that injected it may catch it."""


class Blow(StrEnum):
    """What a fault does."""

    # to the call
    TRANSIENT = "transient error, no effect"
    PERMANENT = "permanent error, no effect"
    LOST_ANSWER = "effect, then the answer is lost"
    CRASH_BEFORE = "vmferry dies before the effect"
    CRASH_AFTER = "vmferry dies after the effect"
    # to the world, before the call's effect; `target` says where
    POWER_CUT = "host loses power"
    ISOLATED = "host cannot be reached from vmferry"
    LINK_DOWN = "target and peer cannot reach each other"
    LIBVIRTD_KILLED = "libvirtd dies and stays down"
    LIBVIRTD_RESTARTED = "libvirtd dies and comes back"
    QEMU_KILLED = "the VM's QEMU dies"
    DISK_FULL = "all file systems of the host are full"
    # to the move in flight
    FINISH_REQUEST_LOST = "Finish does not reach the destination"
    FINISH_REPLY_LOST = "Finish arrives, its reply does not"
    FINISH_FAILED = "the destination cannot finish"
    ABORTED = "somebody cancels the job"
    STALLED = "the job makes no progress any more"


CALL_BLOWS = frozenset({Blow.TRANSIENT, Blow.PERMANENT, Blow.LOST_ANSWER, Blow.CRASH_BEFORE, Blow.CRASH_AFTER})
PHASE_BLOWS = (Blow.LOST_ANSWER, Blow.CRASH_BEFORE)
END_BLOWS = (Blow.POWER_CUT, Blow.LIBVIRTD_KILLED, Blow.LIBVIRTD_RESTARTED, Blow.QEMU_KILLED, Blow.ISOLATED)
FINISH_BLOWS = (Blow.FINISH_REQUEST_LOST, Blow.FINISH_REPLY_LOST, Blow.FINISH_FAILED)


class Operation(Model):
    """One touch point: a port call, or a moment inside a move (`phase` not empty).

    `seq` counts from 0 over the life of the fleet; `answer` is "ok", or the class of what was raised.
    """

    seq: int
    port: str  # hypervisor, tools, journal
    host: str  # empty for the journal
    op: str
    phase: str = ""  # memory, switch-over, arrived, post-copy
    subject: str = ""  # VM UUID or path
    peer: str = ""  # the other host, where there is one
    is_write: bool = False
    at: datetime
    answer: str = ""

    @property
    def title(self) -> str:
        """One line for a test id."""
        return " ".join(word for word in (f"{self.seq:03d}", self.host or self.port, self.op, self.phase) if word)


class Fault(Model):
    """Strike at the call with this `seq`, or at the `nth` to `nth + times` that the named fields match."""

    does: Blow
    seq: int | None = None
    host: str = ""
    op: str = ""
    phase: str = ""
    nth: int = 1
    times: int = 1
    target: str = ""  # host that a world fault strikes; empty: the host of the call
    peer: str = ""

    def fits(self, operation: Operation) -> bool:
        """Whether the operation is one that this fault counts."""
        if self.seq is not None:
            return operation.seq == self.seq
        wanted = ((self.host, operation.host), (self.op, operation.op))
        return self.phase == operation.phase and all(want in ("", got) for want, got in wanted)


def faults_at(operation: Operation) -> tuple[Fault, ...]:
    """Return every fault that makes sense at a touch point, so that a matrix covers new steps by itself."""
    seq = operation.seq
    if operation.phase:
        ends = [end for end in (operation.host, operation.peer) if end]
        found = [Fault(does=blow, seq=seq) for blow in PHASE_BLOWS]
        found += [Fault(does=blow, seq=seq, target=end) for end in ends for blow in END_BLOWS]
        found.append(Fault(does=Blow.LINK_DOWN, seq=seq, target=operation.host, peer=operation.peer))
        if operation.phase not in ("arrived", "post-copy"):
            found += [Fault(does=blow, seq=seq) for blow in FINISH_BLOWS]
        if operation.phase in ("memory", "post-copy"):
            found += [Fault(does=blow, seq=seq) for blow in (Blow.ABORTED, Blow.STALLED)]
        return tuple(found)
    blows = [Blow.TRANSIENT, Blow.CRASH_BEFORE]
    if operation.is_write:
        blows += [Blow.LOST_ANSWER, Blow.CRASH_AFTER]
    if operation.host:
        blows += [Blow.PERMANENT] if operation.is_write else []
        blows += [Blow.POWER_CUT, Blow.ISOLATED, Blow.LIBVIRTD_RESTARTED]
    found = [Fault(does=blow, seq=seq) for blow in blows]
    if operation.op == "copy_file":
        found.append(Fault(does=Blow.DISK_FULL, seq=seq, target=operation.peer))
        found.append(Fault(does=Blow.LINK_DOWN, seq=seq, target=operation.host, peer=operation.peer))
    return tuple(found)


class Gate:
    """Counts and logs every touch point, and strikes the faults that were injected."""

    def __init__(self, now: Callable[[], datetime], strike: Callable[[Fault, Operation], None]) -> None:
        self.log: list[Operation] = []
        self._now = now
        self._strike = strike
        self._waiting: list[tuple[Fault, list[int]]] = []
        self._lock = threading.Lock()

    def inject(self, fault: Fault) -> None:
        """Arm a fault."""
        with self._lock:
            self._waiting.append((fault, [0]))

    def disarm(self) -> None:
        """Forget the faults that have not struck."""
        with self._lock:
            self._waiting.clear()

    def admit(self, operation: Operation) -> Operation:
        """Log a touch point; returns it with its number."""
        with self._lock:
            operation = operation.model_copy(update={"seq": len(self.log), "at": self._now()})
            self.log.append(operation)
        return operation

    def enter(self, operation: Operation) -> Blow | None:
        """Strike what belongs before a touch point; returns the blow left for after the effect."""
        with self._lock:
            due = [fault for fault, count in self._waiting if self._is_due(fault, count, operation)]
        after = None
        for fault in due:
            if fault.does in CALL_BLOWS:
                after = self._before(operation, fault.does) or after
            else:
                self._strike(fault, operation)
        return after

    def leave(self, operation: Operation, blow: Blow | None) -> None:
        """Strike what belongs after the effect."""
        if blow is Blow.CRASH_AFTER:
            raise SimulatedCrash(operation.title)
        if blow is Blow.LOST_ANSWER:
            raise _lost(operation)

    def answer(self, operation: Operation, answer: str) -> None:
        """Write down how the call ended."""
        with self._lock:
            self.log[operation.seq] = operation.model_copy(update={"answer": answer})

    @staticmethod
    def _is_due(fault: Fault, count: list[int], operation: Operation) -> bool:
        if not fault.fits(operation):
            return False
        count[0] += 1
        return fault.nth <= count[0] < fault.nth + fault.times

    @staticmethod
    def _before(operation: Operation, blow: Blow) -> Blow | None:
        what = f"{operation.host or operation.port}: injected: {operation.op}"
        if operation.port == "journal" and blow in (Blow.TRANSIENT, Blow.PERMANENT):
            raise UnsafeError(f"{what}: the journal cannot be used")  # as SqlJournal does
        match blow:
            case Blow.CRASH_BEFORE:
                raise SimulatedCrash(operation.title)
            case Blow.TRANSIENT:
                raise TransientError(f"{what} did not happen; try again", host=operation.host or None)
            case Blow.PERMANENT:
                raise PermanentError(f"{what} was refused", host=operation.host or None)
            case _:
                return blow


def _lost(operation: Operation) -> Exception:
    host = operation.host or None
    if not operation.is_write:
        return HostUnreachable(f"{operation.host}: no answer to {operation.op}", host=host)
    what = f"{operation.host or operation.port}: the answer to {operation.op} was lost; look before trying again"
    return OutcomeUnknown(what, host=host)
