"""Moves in flight: a timeline of beats on the simulated clock, and how faults change it.

The rows of ENDINGS are the fault table measured on libvirt 9.0, QEMU 7.2 (`What a move leaves behind when
something dies`), for peer-to-peer moves with VIR_MIGRATE_PAUSED; reasons are in virsh's words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from vmferry.adapters.simulated.faults import Blow
from vmferry.adapters.simulated.mirror import fill_half, fill_whole, with_disks
from vmferry.adapters.simulated.postcopy import SWITCH_S, break_off, has_locks, is_whole, split, with_rest
from vmferry.adapters.simulated.precopy import Precopy
from vmferry.adapters.simulated.state import SimDomain, SimHost
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.model.transport import Switch
from vmferry.model.vm import DomainState


class Phase(IntEnum):
    """How far a move is."""

    START = 0
    MEMORY = 1  # half of the memory is over
    SWITCH = 2  # both sides paused(migration), Finish not answered
    ARRIVED = 3  # destination paused(user), source still paused(migration)
    POSTCOPY = 4  # destination running(post-copy), source paused(post-copy)
    OVER = 5


PHASE_WORDS = {
    Phase.MEMORY: "memory",
    Phase.SWITCH: "switch-over",
    Phase.ARRIVED: "arrived",
    Phase.POSTCOPY: "post-copy",
}


class Beat(StrEnum):
    """One change that a move makes to the world."""

    MEMORY = "half of the memory is over"
    PASS = "all that was dirty is sent: the dirty bitmap is read again"
    SWITCH = "source stops its CPUs"
    ARRIVE = "destination is paused(user) and persistent"
    SPLIT = "the VM runs at the destination, a part of its memory is at the source"
    FETCHED = "all of its memory is at the destination"
    BREAK_OFF = "the stream is dead, both sides keep what they have"
    BREAK = "destination cannot finish and keeps the definition"
    LEAVE = "source's QEMU ends: migrated"
    KEEP = "source goes on as before"
    STRAND = "source's job ends, its CPUs stay stopped"
    DROP = "destination's incoming QEMU ends"


class End(StrEnum):
    """Which side a fault strikes."""

    SOURCE = "source"
    DEST = "dest"
    BOTH = "both"


Ending = tuple[str, tuple[tuple[float, Beat], ...]]
_RPC = "internal error: client socket is closed (ERR 1)"
_EOF = "Cannot recv data: End of file while reading data (ERR 38)"
_STREAM = "operation failed: job 'migration out' failed: Unable to write to socket (ERR 9)"
_DEAD = "operation failed: domain is not running (ERR 9)"
_LOST = "operation failed: job 'migration out' failed in post-copy phase (ERR 9)"
_FALL_BACK = ((0.0, Beat.DROP), (0.0, Beat.KEEP))

ENDINGS: dict[tuple[Blow, End, Phase], Ending] = {
    (Blow.LINK_DOWN, End.BOTH, Phase.MEMORY): (_RPC, ((27.0, Beat.DROP), (27.0, Beat.KEEP))),
    (Blow.LINK_DOWN, End.BOTH, Phase.SWITCH): (_RPC, ((37.0, Beat.DROP), (37.0, Beat.KEEP))),
    (Blow.LINK_DOWN, End.BOTH, Phase.ARRIVED): (_RPC, ((34.0, Beat.KEEP),)),
    (Blow.FINISH_REQUEST_LOST, End.BOTH, Phase.SWITCH): (_RPC, ((37.0, Beat.DROP), (37.0, Beat.KEEP))),
    (Blow.FINISH_REPLY_LOST, End.BOTH, Phase.SWITCH): (_RPC, ((0.1, Beat.ARRIVE), (34.0, Beat.KEEP))),
    (Blow.FINISH_FAILED, End.BOTH, Phase.SWITCH): (
        "internal error: unable to execute QEMU command 'cont' (ERR 1)",
        ((0.1, Beat.BREAK), (0.2, Beat.KEEP)),
    ),
    (Blow.ABORTED, End.BOTH, Phase.MEMORY): (
        "operation aborted: migration out job: canceled by client (ERR 78)",
        ((0.3, Beat.DROP), (0.3, Beat.KEEP)),
    ),
    (Blow.STALLED, End.BOTH, Phase.MEMORY): ("", ((1e9, Beat.SWITCH), (1e9, Beat.ARRIVE), (1e9, Beat.LEAVE))),
    (Blow.QEMU_KILLED, End.SOURCE, Phase.MEMORY): (_DEAD, ((0.2, Beat.DROP),)),
    (Blow.QEMU_KILLED, End.SOURCE, Phase.SWITCH): (_DEAD, ((0.2, Beat.DROP),)),
    (Blow.QEMU_KILLED, End.SOURCE, Phase.ARRIVED): (_DEAD, ()),
    (Blow.QEMU_KILLED, End.DEST, Phase.MEMORY): (_STREAM, _FALL_BACK),
    (Blow.QEMU_KILLED, End.DEST, Phase.SWITCH): (_STREAM, _FALL_BACK),
    (Blow.QEMU_KILLED, End.DEST, Phase.ARRIVED): ("", ((0.1, Beat.LEAVE),)),
    (Blow.LIBVIRTD_KILLED, End.SOURCE, Phase.MEMORY): (_EOF, _FALL_BACK),
    (Blow.LIBVIRTD_KILLED, End.SOURCE, Phase.SWITCH): (_EOF, ((0.0, Beat.DROP), (0.0, Beat.STRAND))),
    (Blow.LIBVIRTD_KILLED, End.SOURCE, Phase.ARRIVED): (_EOF, ((0.0, Beat.STRAND),)),
    (Blow.LIBVIRTD_KILLED, End.DEST, Phase.MEMORY): (_RPC, ((0.3, Beat.DROP), (0.3, Beat.KEEP))),
    (Blow.LIBVIRTD_KILLED, End.DEST, Phase.SWITCH): (_RPC, ((0.3, Beat.DROP), (0.3, Beat.KEEP))),
    (Blow.LIBVIRTD_KILLED, End.DEST, Phase.ARRIVED): (_RPC, ((0.3, Beat.KEEP),)),
    (Blow.POWER_CUT, End.SOURCE, Phase.MEMORY): (_EOF, ((0.1, Beat.DROP),)),
    (Blow.POWER_CUT, End.SOURCE, Phase.SWITCH): (_EOF, ((0.1, Beat.DROP),)),
    (Blow.POWER_CUT, End.SOURCE, Phase.ARRIVED): (_EOF, ()),
    (Blow.POWER_CUT, End.DEST, Phase.MEMORY): (_RPC, ((0.0, Beat.DROP), (0.1, Beat.KEEP))),
    (Blow.POWER_CUT, End.DEST, Phase.SWITCH): (_RPC, ((0.0, Beat.DROP), (0.1, Beat.KEEP))),
    (Blow.POWER_CUT, End.DEST, Phase.ARRIVED): (_RPC, ((0.1, Beat.KEEP),)),
    (Blow.LINK_DOWN, End.BOTH, Phase.POSTCOPY): (_RPC, ((25.0, Beat.BREAK_OFF),)),
    (Blow.STALLED, End.BOTH, Phase.POSTCOPY): ("", ((1e9, Beat.FETCHED), (1e9, Beat.LEAVE))),
    (Blow.QEMU_KILLED, End.SOURCE, Phase.POSTCOPY): (_DEAD, ((0.1, Beat.BREAK_OFF),)),
    (Blow.QEMU_KILLED, End.DEST, Phase.POSTCOPY): (_LOST, ((0.1, Beat.BREAK_OFF),)),
    (Blow.POWER_CUT, End.SOURCE, Phase.POSTCOPY): (_EOF, ((0.1, Beat.BREAK_OFF),)),
    (Blow.POWER_CUT, End.DEST, Phase.POSTCOPY): (_LOST, ((0.1, Beat.BREAK_OFF),)),
}
# In post-copy the QEMUs go on without their libvirtd, to the same end; only the call ends.
_GOES_ON = {(Blow.LIBVIRTD_KILLED, End.SOURCE): _EOF, (Blow.LIBVIRTD_KILLED, End.DEST): _RPC}


@dataclass
class Flight:
    """One move in flight; `guest` is the source's domain, `incoming` the destination's."""

    plan: MigrationPlan
    source: SimHost
    dest: SimHost
    guest: SimDomain
    incoming: SimDomain
    replaced: SimDomain | None
    was_on_cpu: bool
    started_s: float
    memory_s: float
    beats: list[tuple[float, Beat]]
    phase: Phase = Phase.START
    disk_s: float = 0.0  # the mirror of its disks, before memory begins
    precopy: Precopy | None = None  # None: the VM writes nothing, one pass is enough
    error: str = ""
    is_broken: bool = False  # in post-copy, and nothing moves until somebody resumes it
    rest: tuple[float, float, float] = (0.0, 0.0, 1.0)  # in post-copy: since when, bytes left then, bytes/s
    cause: str = ""  # the injected fault that changed the timeline

    def next_at(self) -> float | None:
        """Return when the next beat is due."""
        return self.beats[0][0] if self.beats else None

    def strike(self, blow: Blow, end: End, now: float) -> bool:
        """Change the rest of the timeline as the table says; False when this phase has no such row."""
        finishing = blow in (Blow.FINISH_REQUEST_LOST, Blow.FINISH_REPLY_LOST, Blow.FINISH_FAILED)
        phase = Phase.SWITCH if finishing and self.phase < Phase.SWITCH else max(self.phase, Phase.MEMORY)
        if phase is Phase.POSTCOPY and (blow, end) in _GOES_ON:
            self.error = _GOES_ON[(blow, end)]
            return True
        ending = ENDINGS.get((blow, end, phase))
        if ending is None or self.phase is Phase.OVER:
            return False
        kept = [b for b in self.beats if finishing and b[1] in (Beat.MEMORY, Beat.SWITCH)]
        if finishing and any(beat is Beat.PASS for _, beat in self.beats):
            kept.append((now, Beat.SWITCH))  # what is still dirty goes over at once: only the end matters here
        if phase is Phase.POSTCOPY:
            self.rest = (now, self._left(now), 0.0)
        base = max([now, *(at for at, _ in kept)])
        self.error, rest = ending
        self.beats = [*kept, *((base + delay, beat) for delay, beat in rest)]
        if not self.beats:
            self.end()
        return True

    def play(self) -> None:
        """Make the next beat happen."""
        at, beat = self.beats.pop(0)
        match beat:
            case Beat.MEMORY:
                self.phase = Phase.MEMORY
            case Beat.PASS:
                self._sync(at)
            case Beat.SWITCH:
                self.phase = Phase.SWITCH
                _pause_for_move(self.guest)
            case Beat.ARRIVE:
                self.phase = Phase.ARRIVED
                self._arrive()
            case Beat.BREAK:
                self._arrive()
                self.dest.end_qemu(self.incoming, "failed")
            case Beat.LEAVE:
                self.source.end_qemu(self.guest, "migrated")
            case Beat.KEEP:
                self._keep()
            case Beat.STRAND:
                self.guest.job = None
            case Beat.DROP:
                self._drop()
            case _:
                self._play_postcopy(at, beat)
        if not self.beats and not self.is_broken:
            self.end()

    def _play_postcopy(self, at: float, beat: Beat) -> None:
        match beat:
            case Beat.SPLIT:
                self._split(at)
            case Beat.FETCHED:
                self.incoming.reason, self.incoming.job = "migrated", None
                self.rest = (at, 0.0, 1.0)
            case Beat.BREAK_OFF:
                break_off(self.guest, self.incoming)
                self.is_broken = is_whole(self.guest, self.incoming)
            case _:
                raise AssertionError(beat)

    def start_postcopy(self, now: float) -> bool:
        """Switch to post-copy; False when that is not possible (any more)."""
        if self.phase >= Phase.SWITCH or not self.guest.is_on_cpu:
            return False
        self.beats = [(now + SWITCH_S, Beat.SPLIT)]
        return True

    def resume_postcopy(self, now: float, after_s: float) -> bool:
        """Let a broken one go on; False when there is none."""
        if not self.is_broken:
            return False
        self.is_broken, self.error = False, ""
        split(self.guest, self.incoming)
        self._fetch(now + after_s, self.rest[1])
        return True

    def break_off(self, now: float) -> bool:
        """Pause a post-copy (QEMU's migrate-pause)."""
        if self.phase is not Phase.POSTCOPY or self.is_broken:
            return False
        self.rest = (now, self._left(now), 0.0)
        self.beats, self.is_broken = [], True
        break_off(self.guest, self.incoming)
        return True

    def _split(self, now: float) -> None:
        left = self._memory_stats(now).data_remaining_bytes
        if self.precopy is not None:
            left += round(self.precopy.dirtied_bytes)
        self.phase = Phase.POSTCOPY
        split(self.guest, self.incoming)
        self._persist()
        self._fetch(now, left)

    def _fetch(self, begins_s: float, left_bytes: float) -> None:
        rate = self.precopy.link_bytes_s if self.precopy is not None else self.plan.memory_kib * 1024
        self.rest = (begins_s, left_bytes, rate)
        ends = begins_s + max(0.5, left_bytes / rate)
        self.beats = [(ends, Beat.FETCHED), (ends + 0.1, Beat.LEAVE)]

    def _left(self, now: float) -> float:
        begins_s, left_bytes, rate = self.rest
        return max(0.0, left_bytes - max(0.0, now - begins_s) * rate)

    def steer(self, now: float, change: Callable[[Precopy], None]) -> None:
        """Change the running pre-copy; what is left of its pass takes longer or shorter from now on."""
        if self.precopy is None or self.phase >= Phase.SWITCH:
            return
        self.precopy.go(now)
        change(self.precopy)
        ends = self.precopy.pass_ends_s()
        self.beats = [(max(now, ends), beat) if beat is Beat.PASS else (at, beat) for at, beat in self.beats]
        self.beats.sort(key=lambda item: item[0])

    def _sync(self, now: float) -> None:
        """End a pass: the switch-over when the rest is small enough, else the next pass."""
        assert self.precopy is not None
        self.precopy.go(now)
        if not self.precopy.sync():
            self.beats.append((self.precopy.pass_ends_s(), Beat.PASS))
            return
        arrived = now + self.precopy.last_pass_s() + 0.1
        self.beats += [(now, Beat.SWITCH), (arrived, Beat.ARRIVE), (arrived + 0.1, Beat.LEAVE)]

    def end(self) -> None:
        """Leave no job behind."""
        self.phase = Phase.OVER
        for domain, job in ((self.guest, "migration out"), (self.incoming, "migration in")):
            if domain.job == job:
                domain.job = None

    def stats(self, now: float) -> JobStats:
        """Return the sample that virDomainGetJobStats would give now."""
        if self.phase is Phase.POSTCOPY:
            total, left = self.plan.memory_kib * 1024, self._left(now)
            return with_rest(self._memory_stats(now), total - left, left)
        if not self.plan.disks:
            return self._memory_stats(now)
        return with_disks(self._memory_stats(now), self.plan, (now - self.started_s) / max(self.disk_s, 0.001))

    def _memory_stats(self, now: float) -> JobStats:
        if self.precopy is not None:
            return self._precopy_stats(self.precopy, now)
        total = self.plan.memory_kib * 1024
        share = 1.0 if self.memory_s <= 0 else min(1.0, max(0.0, now - self.started_s - self.disk_s) / self.memory_s)
        return JobStats(
            elapsed_ms=round((now - self.started_s) * 1000),
            data_total_bytes=total,
            data_processed_bytes=round(total * share),
            data_remaining_bytes=total - round(total * share),
            memory_bps=round(total / max(self.memory_s, 0.001)),
            iteration=1,
            downtime_ms=120 if self.phase >= Phase.ARRIVED and not self.error else None,
        )

    def _precopy_stats(self, precopy: Precopy, now: float) -> JobStats:
        if self.phase < Phase.SWITCH:
            precopy.go(now)
        is_over = self.phase >= Phase.ARRIVED and not self.error
        return JobStats(
            elapsed_ms=round((now - self.started_s) * 1000),
            data_total_bytes=self.plan.memory_kib * 1024,
            data_processed_bytes=round(precopy.sent_bytes + (precopy.left_bytes if is_over else 0)),
            data_remaining_bytes=0 if is_over else round(precopy.left_bytes),
            memory_bps=round(precopy.rate_bytes_s),
            iteration=precopy.iteration,
            throttle_percent=precopy.slowed_percent,
            downtime_ms=round(precopy.last_pass_s() * 1000) + 120 if is_over else None,
        )

    def _arrive(self) -> None:
        if not self.incoming.is_active:
            return
        fill_whole(self.plan, self.source, self.dest)
        self.incoming.state, self.incoming.reason, self.incoming.job = DomainState.PAUSED, "user", None
        if self.plan.switch is not Switch.GUARDED and self.was_on_cpu:
            self.incoming.state, self.incoming.reason = DomainState.RUNNING, "migrated"
        self._persist()

    def _persist(self) -> None:
        if self.plan.is_persistent:
            xml = self.plan.dest_persistent_xml or self.plan.dest_xml or self.guest.persistent_xml
            self.incoming.persistent_xml = xml

    def _keep(self) -> None:
        guest = self.guest
        guest.job = None
        if self.incoming.is_on_cpu and has_locks(self.source, guest):
            return  # its `cont` fails on the image lock of the copy that runs
        if guest.is_active and self.was_on_cpu and not guest.is_on_cpu:
            guest.state, guest.reason = DomainState.RUNNING, "migration canceled"

    def _drop(self) -> None:
        if self.dest.domains.get(self.incoming.uuid) is not self.incoming:
            return
        self.incoming.state, self.incoming.job, self.incoming.live_xml = DomainState.ABSENT, None, None
        del self.dest.domains[self.incoming.uuid]
        if self.replaced is not None:
            self.dest.domains[self.replaced.uuid] = self.replaced


def _pause_for_move(guest: SimDomain) -> None:
    if guest.is_on_cpu:
        guest.state, guest.reason = DomainState.PAUSED, "migrating"


def _beats_of(now: float, memory_s: float, precopy: Precopy | None) -> list[tuple[float, Beat]]:
    end = now + memory_s
    half = (now + memory_s / 2, Beat.MEMORY)
    if precopy is not None:
        return [half, (end, Beat.PASS)]
    return [half, (end, Beat.SWITCH), (end + 0.1, Beat.ARRIVE), (end + 0.2, Beat.LEAVE)]


def take_off(
    plan: MigrationPlan,
    source: SimHost,
    dest: SimHost,
    now: float,
    *,
    memory_s: float,
    precopy: Precopy | None,
    disk_s: float = 0.0,
) -> Flight:
    """Start a move whose checks have passed: the incoming domain appears, the source gets its job."""
    guest = source.domains[plan.uuid]
    was_on_cpu = guest.is_on_cpu
    incoming = SimDomain(
        name=guest.name,
        uuid=guest.uuid,
        live_xml=plan.dest_xml or guest.live_xml,
        state=DomainState.PAUSED,
        reason="migrating",
        job="migration in",
        memory_kib=guest.memory_kib,
        dirty_mib_s=guest.dirty_mib_s,
        working_set_mib=guest.working_set_mib,
        id=dest.give_id(),
    )
    replaced = dest.domains.get(guest.uuid)
    dest.domains[guest.uuid] = incoming
    guest.job = "migration out"
    fill_half(plan, source, dest)
    if plan.mode == "non-live":
        _pause_for_move(guest)
    return Flight(
        plan=plan,
        source=source,
        dest=dest,
        guest=guest,
        incoming=incoming,
        replaced=replaced,
        was_on_cpu=was_on_cpu,
        started_s=now,
        memory_s=memory_s,
        beats=_beats_of(now + disk_s, memory_s, precopy),
        disk_s=disk_s,
        precopy=precopy,
    )
