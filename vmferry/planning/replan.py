"""Plan the rest anew when a move failed or a host is gone, and change as little as possible. Pure.

What runs stays, what still can go where it was to go does, and only the others get another destination. The times of
all that waits are made anew: what is free now is known better than it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import Field

from vmferry.errors import InvalidInput
from vmferry.model.base import Model
from vmferry.model.timetable import Job, TimetableRequest, Untimed


class Progress(Model):
    """What has become of a timetable's moves; those that are not named wait. Seconds count from its beginning."""

    at_s: float = Field(ge=0)
    done: frozenset[str] = frozenset()  # uuids of VMs that are where they were to go
    running: dict[str, float] = Field(default_factory=dict, description="uuid → seconds that its move still takes")
    banned: frozenset[tuple[str, str]] = frozenset()  # (uuid, host): it failed there, and is not sent there again
    lost: frozenset[str] = frozenset()  # hosts that take part no more
    choices: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="uuid → hosts that may hold it, the preferred ones first"
    )


class Replanned(Model):
    """The rest of the moves; `changed` maps the uuid of a VM to the destination that it had before."""

    request: TimetableRequest
    changed: dict[str, str] = Field(default_factory=dict)
    stranded: tuple[Untimed, ...] = ()


def replan(request: TimetableRequest, progress: Progress) -> Replanned:
    """Return what is to be planned now; `plan_timetable` gives it its times.

    Raises InvalidInput with every VM and host of `progress` that the request does not know.
    """
    _check(request, progress)
    room = _room_now(request, progress)
    kept: dict[str, Job] = {}
    affected: list[Job] = []
    stranded: list[Untimed] = []
    for job in request.jobs:
        if job.uuid in progress.done:
            continue
        if job.uuid in progress.running:
            kept[job.uuid] = _running(job, progress.running[job.uuid])
        elif job.source in progress.lost:
            stranded.append(_why(job, f"its host {job.source} is gone"))
        elif job.dest in progress.lost or (job.uuid, job.dest) in progress.banned:
            affected.append(job)
        else:
            kept[job.uuid] = _waiting(job, progress)
    changed: dict[str, str] = {}
    left = _left(room, kept.values())
    for job in sorted(affected, key=lambda job: (-sum(job.takes.values()), job.vm, job.uuid)):
        dest = _choose(job, progress, left)
        if dest is None:
            stranded.append(_why(job, _words(job, progress)))
            continue
        _take(left, dest, job.takes)
        changed[job.uuid] = job.dest
        kept[job.uuid] = _waiting(job, progress).model_copy(update={"dest": dest})
    stranded += _orphans(request, kept, {gap.uuid for gap in stranded})
    for uuid in {gap.uuid for gap in stranded} & set(kept):
        del kept[uuid]
        changed.pop(uuid, None)
    jobs = tuple(_linked(kept[job.uuid], kept) for job in request.jobs if job.uuid in kept)
    sites = tuple(site.model_copy(update={"room": room[site.host]}) for site in request.sites)
    update = {"jobs": jobs, "sites": sites, "opens_s": max(0.0, request.opens_s - progress.at_s)}
    if request.closes_s is not None:
        update["closes_s"] = max(0.001, request.closes_s - progress.at_s)
    return Replanned(request=request.model_copy(update=update), changed=changed, stranded=tuple(stranded))


def _check(request: TimetableRequest, progress: Progress) -> None:
    uuids, hosts = {job.uuid for job in request.jobs}, {site.host for site in request.sites}
    named = {*progress.done, *progress.running, *progress.choices, *(uuid for uuid, _ in progress.banned)}
    wanted = {*progress.lost, *(host for _, host in progress.banned)}
    wanted |= {host for hosts_of in progress.choices.values() for host in hosts_of}
    problems = [f"no move of {uuid} is planned" for uuid in sorted(named - uuids)]
    problems += [f"no host {host}" for host in sorted(wanted - hosts)]
    problems += [f"{uuid} has moved and still moves" for uuid in sorted(progress.done & set(progress.running))]
    if problems:
        raise InvalidInput("replan: " + "; ".join(problems), problems=tuple(problems))


def _room_now(request: TimetableRequest, progress: Progress) -> dict[str, dict[str, int]]:
    """Return what is free: a VM that moves takes room on both hosts, one that has moved on its destination alone."""
    room = {site.host: dict(site.room) for site in request.sites}
    for job in request.jobs:
        if job.uuid in progress.done or (job.uuid in progress.running and not job.is_running):
            _take(room, job.dest, job.takes)
        if job.uuid in progress.done:
            _take(room, job.source, {kind: -amount for kind, amount in job.gives.items()})
    return room


def _take(room: dict[str, dict[str, int]], host: str, amounts: Mapping[str, int]) -> None:
    for kind, amount in amounts.items():
        if kind in room[host]:
            room[host][kind] -= amount


def _left(room: Mapping[str, Mapping[str, int]], kept: Iterable[Job]) -> dict[str, dict[str, int]]:
    """Return what is left when all that still go where they were to go have arrived."""
    left = {host: dict(kinds) for host, kinds in room.items()}
    for job in kept:
        _take(left, job.dest, job.takes)
    return left


def _choose(job: Job, progress: Progress, left: Mapping[str, Mapping[str, int]]) -> str | None:
    """Return the first host that may hold the VM and has room beside all that come."""
    for host in progress.choices.get(job.uuid, ()):
        if host == job.source or host in progress.lost or (job.uuid, host) in progress.banned:
            continue
        if all(left[host].get(kind, amount) >= amount for kind, amount in job.takes.items()):
            return host
    return None


def _running(job: Job, left_s: float) -> Job:
    """Return a move that runs: it has its room already, and ends when it ends."""
    pace = job.paces[0].model_copy(update={"seconds": max(0.001, left_s)})
    return job.model_copy(update={"paces": (pace,), "takes": {}, "is_running": True, "opens_s": 0.0, "closes_s": None,
                                  "after": (), "hops": ()})  # fmt: skip


def _waiting(job: Job, progress: Progress) -> Job:
    """Return a move that waits, its own window counted from now."""
    closes = None if job.closes_s is None else max(0.001, job.closes_s - progress.at_s)
    opens = max(0.0, job.opens_s - progress.at_s)
    hops = tuple(host for host in job.hops if host not in progress.lost and (job.uuid, host) not in progress.banned)
    return job.model_copy(update={"opens_s": opens if closes is None else min(opens, closes / 2), "closes_s": closes,
                                  "hops": hops})  # fmt: skip


def _orphans(request: TimetableRequest, kept: Mapping[str, Job], gone: set[str]) -> list[Untimed]:
    """Return the moves that wait for one that will never be made, or for one of these."""
    found: list[Untimed] = []
    while True:
        more = [
            job
            for job in request.jobs
            if job.uuid in kept and job.uuid not in gone and any(uuid in gone for uuid in kept[job.uuid].after)
        ]
        if not more:
            return found
        found += [_why(job, "waits for a move that will not be made") for job in more]
        gone = gone | {job.uuid for job in more}


def _linked(job: Job, kept: Mapping[str, Job]) -> Job:
    """Return the job without those it waited for that have ended."""
    return job.model_copy(update={"after": tuple(uuid for uuid in job.after if uuid in kept)})


def _why(job: Job, reason: str) -> Untimed:
    return Untimed(uuid=job.uuid, vm=job.vm, source=job.source, dest=job.dest, reason=reason)


def _words(job: Job, progress: Progress) -> str:
    why = f"{job.dest} is gone" if job.dest in progress.lost else f"its move to {job.dest} has failed"
    tried = [host for host in progress.choices.get(job.uuid, ()) if host not in (job.dest, job.source)]
    return f"{why}, and {'none of ' + ', '.join(tried) + ' has room' if tried else 'no other host may hold it'}"
