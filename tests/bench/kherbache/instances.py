"""Read Kherbache's instances, with mVM's own duration model and links (btrplace/kherbache-thesis, CNetwork.java)."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vmferry.model.timetable import Job, Pace, Site, TimetableRequest, Trunk

ACCURACY, SCALE = "accuracy.tar.xz", "scale_instances_first10.tar.xz"
# The four servers of the accuracy experiments: two were capped to 500 Mb/s (what the plans' bandwidths show).
_ACCURACY_MBIT_S = {0: 500, 1: 500, 2: 1000, 3: 1000}
_LINE = re.compile(r"\{action=migrate\(vm=vm#(\d+), from=node#(\d+), to=node#(\d+), bw=(\d+)\)\};(\d+);(\d+)")


@dataclass(frozen=True)
class Guest:
    """What is known of a VM's memory: MB, MB of the hot set rewritten in seconds, MB/s elsewhere."""

    memory_mb: float
    hot_mb: float
    hot_s: float
    cold_mb_s: float

    def seconds(self, mbit_s: int) -> int:
        """Return mVM's duration over that bandwidth, in its whole seconds."""
        rate = mbit_s // 9
        once = self.memory_mb / rate
        cold = (self.hot_mb + (once - self.hot_s) * self.cold_mb_s) / (rate - self.cold_mb_s)
        hot_rate = self.hot_mb / self.hot_s
        hot = self.hot_mb / rate * hot_rate / (rate - hot_rate)
        return round(once + cold + hot) if once > self.hot_s else round(once)


@dataclass(frozen=True)
class Instance:
    """One instance; rates of the request are Mb/s. `theirs` is mVM's plan: (makespan, sum of ends)."""

    name: str
    request: TimetableRequest
    guests: dict[str, Guest]
    theirs: tuple[int, int] | None = None


@dataclass(frozen=True)
class Measured:
    """One real migration."""

    scenario: int
    run: int
    guest: Guest
    mbit_s: int
    seconds: int
    planned_s: int


def archive(name: str) -> Path:
    """Return the archive, of BENCH_DATA or shared/data beside or above the checkout; raises FileNotFoundError."""
    places = [Path(given)] if (given := os.environ.get("BENCH_DATA")) else []
    places += [parent / "shared/data" for parent in Path(__file__).resolve().parents]
    for place in places:
        for path in (place / "btrplace" / name, place / name):
            if path.is_file():
                return path
    raise FileNotFoundError(f"no {name}; set BENCH_DATA to the directory that holds btrplace/{name}")


@cache
def _texts(name: str) -> dict[str, str]:
    with tarfile.open(archive(name)) as tar:
        files = ((member.name, tar.extractfile(member)) for member in tar.getmembers() if member.isfile())
        return {path: file.read().decode() for path, file in files if file is not None}


def plans() -> Iterator[Instance]:
    """Yield the 50 scenarios with mVM's published plans; mVM's durations are found again in each of them."""
    texts = _texts(ACCURACY)
    for number in range(1, 51):
        document = json.loads(texts[f"accuracy/input/random.{number}.json"])
        guests, actions = _guests(document["origin"]), document["actions"]
        for action in actions:
            told, ours = action["end"] - action["start"], guests[str(action["vm"])].seconds(action["bw"])
            if told != ours:
                raise ValueError(f"random.{number}: mVM says {told} s, its formula {ours} s: {action}")
        moves = [(str(a["vm"]), str(a["from"]), str(a["to"])) for a in actions]
        nics = {str(node): mbit_s for node, mbit_s in _ACCURACY_MBIT_S.items()}
        request = _request(document["origin"], moves, nics, (), guests)
        ends = [action["end"] for action in actions]
        yield Instance(f"random.{number}", request, guests, (max(ends), sum(ends)))


def measured() -> Iterator[Measured]:
    """Yield the real migrations: four executions of each scenario on Grid'5000."""
    texts = _texts(ACCURACY)
    for number in range(1, 51):
        document = json.loads(texts[f"accuracy/input/random.{number}.json"])
        guests = _guests(document["origin"])
        planned = {action["vm"]: action["end"] - action["start"] for action in document["actions"]}
        for run in range(1, 5):
            for found in _LINE.finditer(texts[f"accuracy/real_executions_output/{run}/micro_random.{number}.csv"]):
                vm, _, _, mbit_s, start, end = map(int, found.groups())
                yield Measured(number, run, guests[str(vm)], mbit_s, end - start, planned[vm])


def scale() -> Iterator[Instance]:
    """Yield the scalability instances: racks of 24 servers with 1 Gb/s each, behind uplinks of 10 Gb/s and more."""
    texts = _texts(SCALE)
    for path in sorted(texts, key=lambda path: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", path)]):
        document = json.loads(texts[path])
        model = document["model"]
        at = {str(vm): node for node, there in model["mapping"]["onlineNodes"].items() for vm in there["runningVMs"]}
        fenced = {str(c["vm"]): str(c["nodes"][0]) for c in document["constraints"] if c["id"] == "fence"}
        moves = [(vm, at[vm], dest) for vm, dest in fenced.items() if at[vm] != dest]
        nics, trunks = _network(model)
        guests = _guests(model)
        yield Instance(
            path.removeprefix("scale/").removesuffix(".json"), _request(model, moves, nics, trunks, guests), guests
        )


def _network(model: dict[str, Any]) -> tuple[dict[str, int], tuple[Trunk, ...]]:
    """Return Mb/s per server, and the uplinks of the racks, in both directions."""
    links = next(view for view in model["views"] if view["id"] == "net")["links"]
    nics = {str(link["physicalElement"]["id"]): link for link in links if link["physicalElement"]["type"] == "node"}
    racks: dict[int, list[str]] = {}
    for server, link in nics.items():
        racks.setdefault(link["switch"], []).append(server)
    trunks: list[Trunk] = []
    for link in links:
        if link["physicalElement"]["type"] != "switch":
            continue
        rack = link["physicalElement"]["id"]
        inside = tuple(racks.get(rack, ()))
        outside = tuple(server for other, servers in racks.items() if other != rack for server in servers)
        if inside and outside:
            trunks.append(Trunk(name=f"uplink of rack {rack}", mib_s=link["capacity"], sources=inside, dests=outside))
            trunks.append(Trunk(name=f"downlink of rack {rack}", mib_s=link["capacity"], sources=outside, dests=inside))
    return {server: link["capacity"] for server, link in nics.items()}, tuple(trunks)


def _guests(model: dict[str, Any]) -> dict[str, Guest]:
    found = {}
    for vm, told in model["attributes"]["vms"].items():
        hot = told.get("hotDirtySize", told.get("maxDirtySize"))
        every = told.get("hotDirtyDuration", told.get("maxDirtyDuration"))
        found[vm] = Guest(told["memUsed"], hot, every, told.get("coldDirtyRate", told.get("dirtyRate")))
    return found


def _request(
    model: dict[str, Any],
    moves: list[tuple[str, str, str]],
    nics: dict[str, int],
    trunks: tuple[Trunk, ...],
    guests: dict[str, Guest],
) -> TimetableRequest:
    """Return the request; a move may use the whole of its way, or half of a way of 1 Gb/s, as mVM's plans do."""
    views = {view["rcId"]: view for view in model["views"] if view["id"] == "shareableResource"}
    hosts = list(nics)
    room = {host: {kind: view["nodes"][host] for kind, view in views.items()} for host in hosts}
    for host, there in model["mapping"]["onlineNodes"].items():
        for vm in there["runningVMs"] if host in room else ():
            for kind, view in views.items():
                room[host][kind] -= view["vms"].get(str(vm), view["defConsumption"])
    sites = tuple(
        Site(host=h, room=room[h], outgoing=999, incoming=999, out_mib_s=nics[h], in_mib_s=nics[h]) for h in hosts
    )
    jobs = []
    for vm, source, dest in moves:
        whole = min(nics[source], nics[dest])
        rates = (whole, 500) if whole == 1000 and min(nics.values()) < whole else (whole,)
        paces = tuple(Pace(seconds=guests[vm].seconds(rate), mib_s=rate) for rate in rates)
        takes = {kind: view["vms"].get(vm, view["defConsumption"]) for kind, view in views.items()}
        jobs.append(Job(uuid=vm, vm=f"vm{vm}", source=source, dest=dest, paces=paces, takes=takes, gives=takes))
    return TimetableRequest(jobs=tuple(jobs), sites=sites, trunks=trunks, max_parallel=99_999)
