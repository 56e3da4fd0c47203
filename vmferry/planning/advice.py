"""What a human is told to do with a VM that runs nowhere: one way to make it run once, never two."""

from __future__ import annotations

from typing import NamedTuple

from vmferry.model.migration import MigrationMode
from vmferry.model.sighting import Sighting
from vmferry.model.vm import DomainState
from vmferry.planning.settlement import Facts


class Act(NamedTuple):
    """A virsh command (start, resume, destroy) and the host on which it is to be typed."""

    verb: str
    host: str


def advise(source: Sighting, dest: Sighting, facts: Facts, *, has_own_disks: bool) -> tuple[Act, ...]:
    """Return the acts in their order; empty where only looking may be advised.

    Whoever types them all has the VM running on one host, with the disks that were written last. `has_own_disks`: each
    host has its own, so that the older ones may not be started from.
    """
    if facts.mode is MigrationMode.OFFLINE or not (source.is_reachable and dest.is_reachable):
        return ()
    if source.state.is_active:
        return ()  # it, or both, may be running: what to end is to be seen, not told
    has_run_at_dest = _may_have_run_at_dest(dest, facts)
    if not dest.state.is_active:
        is_newer_at_dest = has_run_at_dest or source.reason == "migrated"
        newest, older = (dest, source) if is_newer_at_dest else (source, dest)
        places = [newest] if has_own_disks else [newest, older]
        return tuple(Act("start", seen.host) for seen in places if seen.is_persistent)[:1]
    if dest.state is not DomainState.PAUSED or dest.reason not in ("user", "migrating") or dest.has_job:
        return ()
    if has_run_at_dest or (dest.reason == "user" and not source.is_persistent):
        return (Act("resume", dest.host),)
    if source.is_persistent:
        # The source may have run on after this copy was made: the copy's memory is not to be trusted, its source is.
        return (Act("destroy", dest.host), Act("start", source.host))
    return ()


def _may_have_run_at_dest(dest: Sighting, facts: Facts) -> bool:
    """Whether its disks may have been written there; libvirt defines a persistent VM there before its CPUs run."""
    if facts.is_guarded:
        return facts.may_dest_have_run
    return facts.may_dest_have_run and dest.is_persistent
