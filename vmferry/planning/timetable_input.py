"""What makes a request no timetable can be made from: every problem is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vmferry.model.timetable import Job, TimetableRequest


def problems_of_request(request: TimetableRequest) -> tuple[str, ...]:
    """Return all problems as text; empty for a request that can be planned."""
    hosts = Counter(site.host for site in request.sites)
    uuids = Counter(job.uuid for job in request.jobs)
    problems = [f"host {host} is named {count} times" for host, count in hosts.items() if count > 1]
    problems += [f"vm {uuid} has {count} moves" for uuid, count in uuids.items() if count > 1]
    if request.jobs and not request.sites:
        problems.append("there are moves, but no hosts")
    for job in request.jobs:
        problems += [f"vm {job.vm}: {problem}" for problem in _of_job(job, set(hosts), set(uuids))]
    for trunk in request.trunks:
        unknown = [host for host in (*trunk.sources, *trunk.dests) if host not in hosts]
        problems += [f"link {trunk.name}: no host {host}" for host in unknown]
    if request.closes_s is not None and request.closes_s <= request.opens_s:
        problems.append(f"the window ends at {request.closes_s:g} s, before it opens at {request.opens_s:g} s")
    circle = _circle(request)
    return (*problems, *((f"each waits for the next one to end: {', '.join(circle)}",) if circle else ()))


def _of_job(job: Job, hosts: set[str], uuids: set[str]) -> Iterator[str]:
    for name, host in (("source", job.source), ("destination", job.dest), *(("hop", hop) for hop in job.hops)):
        if host not in hosts:
            yield f"{name}: no host {host}"
    if job.source == job.dest:
        yield f"moves from {job.source} to itself"
    for kind, value in (*job.takes.items(), *job.gives.items()):
        if value < 0:
            yield f"takes or frees {value} of {kind}, less than nothing"
    seconds = [pace.seconds for pace in job.paces]
    if seconds != sorted(seconds):
        yield f"paces of {', '.join(f'{one:g}' for one in seconds)} s: the fastest comes first"
    if job.closes_s is not None and job.closes_s <= job.opens_s:
        yield f"its window ends at {job.closes_s:g} s, before it opens at {job.opens_s:g} s"
    for uuid in job.after:
        if uuid not in uuids:
            yield f"waits for the move of {uuid}, which is not planned"


def _circle(request: TimetableRequest) -> list[str]:
    """Return VMs that wait for one another, in the order of waiting; empty where there is no circle."""
    waits = {job.uuid: [uuid for uuid in job.after] for job in request.jobs}
    names = {job.uuid: job.vm for job in request.jobs}
    free = list(waits)
    while free:
        free = [uuid for uuid, others in waits.items() if not any(other in waits for other in others)]
        for uuid in free:
            del waits[uuid]
    if not waits:
        return []
    path = [min(waits)]
    while path.count(path[-1]) < 2:
        path.append(min(other for other in waits[path[-1]] if other in waits))
    return [names[uuid] for uuid in path[path.index(path[-1]) : -1]]
