"""Moves in flight: a timeline of beats on the simulated clock, and how faults change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmferry.adapters.simulated.endings import ENDINGS, GOES_ON, Beat, End, Phase
from vmferry.adapters.simulated.faults import Blow
from vmferry.adapters.simulated.mirror import fill_whole, with_disks
from vmferry.adapters.simulated.postcopy import SWITCH_S, break_off, has_locks, is_whole, split, with_rest
from vmferry.adapters.simulated.precopy import Precopy
from vmferry.adapters.simulated.state import SimDomain, SimHost
from vmferry.model.migration import JobStats, MigrationPlan
from vmferry.model.transport import Switch
from vmferry.model.vm import DomainState


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
        if phase is Phase.POSTCOPY and (blow, end) in GOES_ON:
            self.error = GOES_ON[(blow, end)]
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
                pause_for_move(self.guest)
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


def pause_for_move(guest: SimDomain) -> None:
    """Stop the CPUs of a VM that runs, as a move does."""
    if guest.is_on_cpu:
        guest.state, guest.reason = DomainState.PAUSED, "migrating"
