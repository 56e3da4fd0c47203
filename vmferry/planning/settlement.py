"""Decide what a pair of sightings means: the outcome table as one pure function.

Source: `failure-modes.md` 3.0 and the measured fault table in `libvirt-facts.md`. The exception that ended a
move is never consulted: the same one stands for clean failure, success and two copies.
"""

from __future__ import annotations

from enum import StrEnum

from vmferry.model.base import Model
from vmferry.model.migration import MigrationMode
from vmferry.model.sighting import Sighting
from vmferry.model.transport import Switch
from vmferry.model.vm import DomainState


class Seen(StrEnum):
    """A sighting, reduced to what the decision needs."""

    UNKNOWN = "unknown"  # the host did not answer
    ABSENT = "absent"
    SHUTOFF = "shut off"  # nobody knows since when, or before the move
    MIGRATED = "shut off (migrated)"  # the source after a successful move
    DIED = "shut off (crashed or destroyed)"
    RUNNING = "running"
    PAUSED = "paused (by a user, or arrived paused)"
    PAUSED_MIGRATION = "paused (migrating)"
    POSTCOPY = "in post-copy"
    BROKEN = "in a post-copy that broke off"
    OTHER = "other"


class Verdict(StrEnum):
    """The only acts that settlement allows."""

    WATCH = "watch the running job, then look again"
    ROLL_BACK = "the VM is at the source: undo what this run made"
    RESUME_SOURCE = "resume the source, then roll back"
    DESTROY_DEST = "the destination's copy never ran: destroy it, then roll back"
    DESTROY_DEST_RESUME_SOURCE = "destroy the copy that never ran, prove it gone, resume the source, roll back"
    FORWARD = "the VM is at the destination: finish"
    RESUME_DEST = "the destination holds the only copy, paused by our guard: resume it, then finish"
    RESUME_POSTCOPY = "the VM's memory is on both hosts: let its post-copy go on, touch nothing else"
    DESTROY_SOURCE = "the destination runs: destroy the source's paused remains, never resume them, then finish"
    HOLD = "a human must look"


class Facts(Model):
    """What the journal adds to the two sightings.

    `may_dest_have_run`: this run recorded the intent to let the destination's copy run; where libvirt itself does that
    (`switch`), the intent to move.
    `was_postcopy_ordered`: this run intended to switch to post-copy, which lets the VM run at the destination.
    `was_suspended`: this run intended to suspend the VM at the source, so that its move ends.
    `is_pivot_done`: an offline move passed the point where it only goes forward.
    """

    mode: MigrationMode
    must_run: bool
    is_persistent: bool = True
    switch: Switch = Switch.GUARDED
    was_postcopy_ordered: bool = False
    may_dest_have_run: bool = False
    was_suspended: bool = False
    is_pivot_done: bool = False

    @property
    def is_guarded(self) -> bool:
        """Whether only vmferry itself lets the destination's copy run."""
        return self.switch is Switch.GUARDED


_DEAD_REASONS = {"crashed", "destroyed", "shutdown", "failed", "daemon"}
_PAUSE_OF_A_MOVE = {"migrating"}
_ON_CPU = (DomainState.RUNNING, DomainState.BLOCKED)
_MAY_HAVE_NEVER_RUN = {"user", "migrating"}
_POSTCOPY = {"post-copy": Seen.POSTCOPY, "post-copy failed": Seen.BROKEN}


def reduce_sighting(seen: Sighting) -> Seen:
    """Reduce state and reason (virsh's words) to what the table distinguishes."""
    if not seen.is_reachable:
        return Seen.UNKNOWN
    match seen.state:
        case DomainState.ABSENT:
            return Seen.ABSENT
        case DomainState.RUNNING | DomainState.BLOCKED:
            return _POSTCOPY.get(seen.reason, Seen.RUNNING)
        case DomainState.PAUSED:
            if seen.reason in _POSTCOPY:
                return _POSTCOPY[seen.reason]
            return Seen.PAUSED_MIGRATION if seen.reason in _PAUSE_OF_A_MOVE else Seen.PAUSED
        case DomainState.SHUTOFF | DomainState.CRASHED:
            if seen.reason == "migrated":
                return Seen.MIGRATED
            return Seen.DIED if seen.reason in _DEAD_REASONS else Seen.SHUTOFF
        case _:
            return Seen.OTHER


def settle(source: Sighting, dest: Sighting, facts: Facts) -> Verdict:
    """Return the verdict for a pair of sightings; every pair that is not listed is HOLD."""
    pair = (reduce_sighting(source), reduce_sighting(dest))
    if Seen.UNKNOWN in pair:
        return Verdict.HOLD  # never act on one side alone
    if Seen.POSTCOPY in pair or Seen.BROKEN in pair:
        if source.state in _ON_CPU:
            return Verdict.HOLD  # no source of a post-copy runs
        return _settle_postcopy(pair, has_job=source.has_job or dest.has_job, facts=facts)
    if source.has_job or dest.has_job:
        return Verdict.WATCH
    if dest.state is DomainState.PAUSED and dest.reason not in _MAY_HAVE_NEVER_RUN:
        return Verdict.HOLD  # an I/O error, a watchdog, a crash: that copy has run
    if facts.mode is MigrationMode.OFFLINE:
        return _settle_offline(pair, facts)
    is_users = (source.state, source.reason) == (DomainState.PAUSED, "user")
    if facts.must_run and facts.was_suspended and is_users and pair[1] is not Seen.RUNNING:
        # Our suspend came when the job had just failed, so libvirt calls it the user's; the source may have run
        # between the two, so where the destination runs nobody may choose.
        pair = (Seen.PAUSED_MIGRATION, pair[1])
    return _settle_online(pair, facts)


def _settle_postcopy(pair: tuple[Seen, Seen], *, has_job: bool, facts: Facts) -> Verdict:
    """Settle a VM whose memory is on both hosts: it can only go on. Nothing is destroyed, aborted or let run.

    A broken one keeps its job on both sides (libvirt), so a job tells nothing there. Where one of the two QEMUs is
    gone, memory is lost: what then is to be done is for a human.
    """
    source, dest = pair
    if facts.switch is not Switch.POSTCOPY:
        return Verdict.HOLD  # whoever began it, it was not this run
    is_split = source in _SPLIT and dest in _SPLIT
    if is_split and source is Seen.BROKEN:
        return Verdict.RESUME_POSTCOPY
    if is_split:
        return Verdict.WATCH if has_job else Verdict.RESUME_POSTCOPY
    # One side is about to see what the other has seen: the begin of post-copy, or its end.
    is_beginning = source in _SPLIT and dest is Seen.PAUSED_MIGRATION
    is_ending = (source in _SPLIT and dest is Seen.RUNNING) or (source in _GONE and dest is Seen.POSTCOPY)
    return Verdict.WATCH if has_job and (is_beginning or is_ending) else Verdict.HOLD


_SPLIT = (Seen.POSTCOPY, Seen.BROKEN)
_GONE = (Seen.ABSENT, Seen.MIGRATED)
_NOT_ACTIVE = (Seen.ABSENT, Seen.SHUTOFF, Seen.MIGRATED, Seen.DIED)
_ARRIVED_PAUSED = (Seen.PAUSED, Seen.PAUSED_MIGRATION)


def _settle_online(pair: tuple[Seen, Seen], facts: Facts) -> Verdict:
    """Settle a live or non-live move, no job on either side."""
    source, dest = pair
    if dest in _NOT_ACTIVE:
        return _settle_without_dest(source, dest, facts)
    if dest is Seen.RUNNING:
        if source in _NOT_ACTIVE:
            return Verdict.FORWARD
        # In post-copy the rest of the memory is at the source, whatever its state is called.
        is_remains = source is Seen.PAUSED_MIGRATION and not facts.was_postcopy_ordered
        return Verdict.DESTROY_SOURCE if is_remains else Verdict.HOLD
    if dest not in _ARRIVED_PAUSED:
        return Verdict.HOLD
    if source in _GONE:
        return _settle_arrived(dest, facts)
    if _may_have_run(source, dest, facts):
        return Verdict.HOLD
    if source is Seen.RUNNING or (source is Seen.PAUSED and not facts.must_run):
        return Verdict.DESTROY_DEST
    if source is Seen.PAUSED_MIGRATION:
        return Verdict.DESTROY_DEST_RESUME_SOURCE if facts.must_run else Verdict.DESTROY_DEST
    return Verdict.HOLD


def _settle_arrived(dest: Seen, facts: Facts) -> Verdict:
    """Settle a copy at the destination that is paused and the only one."""
    if dest is Seen.PAUSED_MIGRATION:
        return Verdict.HOLD  # an incoming QEMU without source or job: its memory may be incomplete
    if not facts.must_run:
        return Verdict.FORWARD
    # libvirt lets it run when the move is over: who paused it then was not this run.
    return Verdict.RESUME_DEST if facts.is_guarded else Verdict.HOLD


def _may_have_run(source: Seen, dest: Seen, facts: Facts) -> bool:
    """Whether the destination's copy may have newer memory than the source's.

    Where libvirt lets it run, what is seen tells more than the journal: `paused (migrating)` is what an incoming copy
    is from its start until its CPUs run, and a persistent VM is defined there before they do (libvirt,
    qemuMigrationDstFinishFresh: persist, wait for the memory, start CPUs). A transient one leaves nothing behind.
    """
    if facts.is_guarded:
        return facts.may_dest_have_run
    if facts.was_postcopy_ordered and source is not Seen.RUNNING:
        return True
    is_proof = dest is Seen.PAUSED_MIGRATION or (dest is Seen.ABSENT and facts.is_persistent)
    return facts.may_dest_have_run and not is_proof


def _settle_without_dest(source: Seen, dest: Seen, facts: Facts) -> Verdict:
    """Settle when nothing is active at the destination."""
    if _may_have_run(source, dest, facts):
        # It ran there and does not any more: whatever the source shows, its memory is older.
        return Verdict.ROLL_BACK if source is Seen.RUNNING else Verdict.HOLD
    if source is Seen.RUNNING:
        return Verdict.ROLL_BACK
    if source is Seen.PAUSED:
        return Verdict.HOLD if facts.must_run else Verdict.ROLL_BACK
    if source is Seen.PAUSED_MIGRATION:
        return Verdict.RESUME_SOURCE if facts.must_run else Verdict.ROLL_BACK
    return Verdict.HOLD  # the VM runs nowhere: an alarm, never a success


def _settle_offline(pair: tuple[Seen, Seen], facts: Facts) -> Verdict:
    """Settle an offline move: definitions only, nobody may run at two places."""
    source, dest = pair
    is_source_off = source in (Seen.SHUTOFF, Seen.MIGRATED, Seen.DIED)
    is_dest_off = dest in (Seen.SHUTOFF, Seen.MIGRATED, Seen.DIED)
    if source is Seen.ABSENT:
        return Verdict.FORWARD if is_dest_off or dest is Seen.RUNNING else Verdict.HOLD
    if is_source_off and dest is Seen.RUNNING and facts.is_pivot_done:
        return Verdict.FORWARD  # somebody has started it at its new host already
    if is_source_off and (is_dest_off or dest is Seen.ABSENT):
        return Verdict.FORWARD if facts.is_pivot_done and is_dest_off else Verdict.ROLL_BACK
    if source in (Seen.RUNNING, Seen.PAUSED) and (is_dest_off or dest is Seen.ABSENT):
        # Somebody started it at the source in the meantime: it stays there.
        return Verdict.HOLD if facts.is_pivot_done else Verdict.ROLL_BACK
    return Verdict.HOLD
