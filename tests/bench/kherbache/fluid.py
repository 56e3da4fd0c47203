"""Play moves over links that they share: pre-copy in rounds, equal parts of a link, small steps of time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.bench.kherbache.instances import Guest, Instance
from vmferry.model.timetable import Job, Pace, Site, TimetableRequest
from vmferry.planning.timetable import plan_timetable

WAYS = ("all at once", "one by one", "2 at a time", "4 at a time", "vmferry")
_STEP_S = 0.1
_PAUSE_S = 0.3  # QEMU's downtime limit
_SETUP_S = 1.0  # handshakes, nothing is sent
_MB = 1e6 / 8  # of a Mb/s, in bytes
_MOST_S = 20_000.0


@dataclass
class _Flow:
    """One move under way."""

    job: Job
    guest: Guest
    left_mb: float
    round_s: float = 0.0
    set_up_s: float = _SETUP_S
    throttled: float = 0.0  # of the VM's CPU time: 0.2 at first, then 0.1 more each time, as QEMU does it
    is_over: bool = field(default=False)

    def go(self, mb_s: float) -> None:
        """Let a step of time pass; a round that cannot shrink throttles the VM more, as auto-converge does it."""
        if self.set_up_s > 0:
            self.set_up_s -= _STEP_S
            return
        # A round that ends within the step is as short as it is: rounded up, one that shrinks slowly never would.
        self.round_s += min(_STEP_S, self.left_mb / mb_s)
        self.left_mb -= mb_s * _STEP_S
        if self.left_mb > 0:
            return
        hot = self.guest.hot_mb * min(1.0, self.round_s / self.guest.hot_s)
        cold = self.guest.cold_mb_s * max(0.0, self.round_s - self.guest.hot_s)
        again = min(self.guest.memory_mb, hot + cold) * (1.0 - self.throttled)
        self.is_over = again <= mb_s * _PAUSE_S or (self.round_s < 2 * _STEP_S)
        if not self.is_over and again >= 0.95 * mb_s * self.round_s:
            self.throttled = min(0.99, self.throttled + (0.1 if self.throttled else 0.2))
        self.left_mb, self.round_s = again, 0.0


def simulate(one: Instance, way: str) -> float:
    """Return the seconds until the last move has ended."""
    request = one.request
    jobs = {job.uuid: job for job in request.jobs}
    order, shares = [job.uuid for job in request.jobs], dict[str, float]()
    if way == "vmferry":
        timed = plan_timetable(request).moves
        order = [move.uuid for move in timed]
        shares = {move.uuid: move.mib_s for move in timed}
    most = {"all at once": len(order), "one by one": 1, "2 at a time": 2, "4 at a time": 4}.get(way, len(order))
    sites = {site.host: site for site in request.sites}
    room = {site.host: dict(site.room) for site in request.sites}
    running: list[_Flow] = []
    now, rates, sending = 0.0, dict[str, float](), list[str]()
    is_new = True  # something has ended: another move may start, and links are shared by fewer
    while (order or running) and now < _MOST_S:
        for uuid in list(order) if is_new else ():
            job = jobs[uuid]
            if len(running) >= most or not _may(job, running, shares, sites, room):
                continue
            order.remove(uuid)
            running.append(_Flow(job, one.guests[uuid], one.guests[uuid].memory_mb))
            _change(room[job.dest], job.takes, -1)
        before, sending = sending, [flow.job.uuid for flow in running if flow.set_up_s <= 0]
        if is_new or sending != before:
            rates = _rates(running, sites)
        for flow in running:
            flow.go(rates[flow.job.uuid])
            if flow.is_over:
                _change(room[flow.job.source], flow.job.gives, 1)
        is_new = any(flow.is_over for flow in running)
        running = [flow for flow in running if not flow.is_over]
        now += _STEP_S
    return now


def _change(room: dict[str, int], amounts: dict[str, int], sign: int) -> None:
    for kind, amount in amounts.items():
        if kind in room:
            room[kind] += sign * amount


def _may(
    job: Job, running: list[_Flow], shares: dict[str, float], sites: dict[str, Site], room: dict[str, dict[str, int]]
) -> bool:
    """Whether there is room, and for vmferry's own order, whether the links have their part left."""
    if any(room[job.dest].get(kind, amount) < amount for kind, amount in job.takes.items()):
        return False
    if not shares:
        return True
    out = sum(shares[f.job.uuid] for f in running if f.job.source == job.source) + shares[job.uuid]
    arriving = sum(shares[f.job.uuid] for f in running if f.job.dest == job.dest) + shares[job.uuid]
    return out <= (sites[job.source].out_mib_s or 0) * 1.001 and arriving <= (sites[job.dest].in_mib_s or 0) * 1.001


def _rates(running: list[_Flow], sites: dict[str, Site]) -> dict[str, float]:
    """Return MB/s of each: all rise together until one of their links is full (max-min fair)."""
    room: dict[tuple[str, str], float] = {}
    for flow in running:
        room[("out", flow.job.source)] = (sites[flow.job.source].out_mib_s or 0) * _MB / 1e6
        room[("in", flow.job.dest)] = (sites[flow.job.dest].in_mib_s or 0) * _MB / 1e6
    rates = {flow.job.uuid: 0.0 for flow in running}
    rising = [flow for flow in running if flow.set_up_s <= 0]
    while rising:
        users = {link: sum(link in _links(flow.job) for flow in rising) for link in room}
        step = min(room[link] / count for link, count in users.items() if count)
        for flow in rising:
            rates[flow.job.uuid] += step
        room = {link: left - step * users[link] for link, left in room.items()}
        rising = [flow for flow in rising if all(room[link] > 1e-9 for link in _links(flow.job))]
    return rates


def _links(job: Job) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("out", job.source), ("in", job.dest)


def synthetic() -> dict[str, list[Instance]]:
    """Return evacuations of 40 VMs over one link of 10 Gb/s: idle, mixed and write-heavy guests, from a seed."""
    return {
        f"40 VMs, 10 Gb/s, {name}": [_evacuation(name, hot, seed) for seed in (1, 2, 3)]
        for name, hot in (("idle", (0.0, 1.0)), ("mixed", (0.0, 300.0)), ("write-heavy", (150.0, 500.0)))
    }


def _evacuation(name: str, hot: tuple[float, float], seed: int) -> Instance:
    """VMs of 2 to 16 GB that write to a twentieth of their memory, in MB/s between the two of `hot`."""
    draw = random.Random(f"{name}{seed}")
    dests = [f"d{n}" for n in range(4)]
    guests: dict[str, Guest] = {}
    jobs = []
    for number in range(40):
        memory = draw.choice((2000, 4000, 8000, 16000))
        hot_mb, rate = memory / 20, draw.uniform(*hot)
        guests[str(number)] = guest = Guest(memory, hot_mb, hot_mb / max(rate, 0.1), 0.0)
        paces = tuple(
            Pace(seconds=_alone_s(guest, 1250 / share), mib_s=_alone_mbit(guest, 1250 / share)) for share in (1, 2)
        )
        jobs.append(Job(uuid=str(number), vm=str(number), source="s", dest=dests[number % 4], paces=paces))
    sites = tuple(Site(host=h, out_mib_s=10_000, in_mib_s=10_000, outgoing=99, incoming=99) for h in ("s", *dests))
    return Instance(name, TimetableRequest(jobs=tuple(jobs), sites=sites, max_parallel=99), guests)


def _alone_s(guest: Guest, mb_s: float) -> float:
    """Return the seconds of a move at a constant rate."""
    flow, seconds = (
        _Flow(Job(uuid="x", vm="x", source="a", dest="b", paces=(Pace(seconds=1),)), guest, guest.memory_mb),
        0.0,
    )
    while not flow.is_over:
        flow.go(mb_s)
        seconds += _STEP_S
    return seconds


def _alone_mbit(guest: Guest, mb_s: float) -> float:
    """Return what it uses of its link meanwhile, on average: all but its handshakes."""
    seconds = _alone_s(guest, mb_s)
    return mb_s * 8 * (seconds - _SETUP_S) / seconds
