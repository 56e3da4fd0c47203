"""The real hbal and hsqueeze of Debian's ganeti-htools, on the same fleets: their text format, their answers."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.bench.planner.fleets import Fleet, violations

PACKAGES = Path(__file__).with_name("packages.txt")
_BIN = Path("/usr/lib/ganeti")


def install() -> None:
    """Install the packages of `packages.txt` that are missing; raises CalledProcessError."""
    wanted = [line for line in PACKAGES.read_text().split("\n") if line and not line.startswith("#")]
    status = [subprocess.run(["dpkg", "-s", name], capture_output=True).returncode for name in wanted]
    missing = [name for name, code in zip(wanted, status, strict=True) if code]
    if missing:
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "-qq", "update"], check=True, env=env)
        install_them = ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *missing]
        subprocess.run(install_them, check=True, env=env, stdout=subprocess.DEVNULL)


def tool(name: str) -> str:
    """Return the path of hbal or hsqueeze; raises FileNotFoundError."""
    found = sorted(_BIN.glob(f"*/usr/bin/{name}"))
    if not found:
        raise FileNotFoundError(f"{name} is not below {_BIN}; apt-get install ganeti-htools-3.0")
    return str(found[-1])


def as_text(fleet: Fleet, offline: Iterable[int] = ()) -> str:
    """Return the fleet in the htools' text format: shared storage, exclusion tags for groups that are to be apart."""
    board, away = fleet.board, set(offline)
    load = board.load
    nodes = [
        f"n{h:04d}|{cap[0]}|0|{cap[0] - load[h, 0]}|{cap[2] * 1024}|{cap[2] * 1024}|{cap[1]}|"
        f"{'Y' if h in away else 'N'}|fake-uuid-01|1|htools:standby:auto"
        for h, cap in enumerate(board.capacity.tolist())
    ]
    tag = {vm: f"apart:g{n}" for n, group in enumerate(fleet.groups) for vm in group}
    vms = [
        f"v{v:05d}|{need[0]}|{need[2] * 1024}|{need[1]}|running|Y|n{board.home[v]:04d}||ext|{tag.get(v, '')}|1"
        for v, need in enumerate(board.demand[:, 0, :].tolist())
    ]
    # The policy of the cluster and of its group: sizes of any kind, and no more vCPUs than a node has (theirs is 4).
    policy = f"128,1,1024,1,1,1|128,1,1024,1,1,1;{2**20},256,{2**30},16,8,12|ext|1.0|1000.0"
    parts = ["group-01|fake-uuid-01|preferred||", "\n".join(nodes), "\n".join(vms), "htools:iextags:apart"]
    return "\n\n".join([*parts, f"|{policy}\ngroup-01|{policy}"]) + "\n"


@dataclass(frozen=True)
class Answer:
    """What a tool said, and the CPU seconds it took; `left` are VMs on hosts that are offline."""

    cpu_s: float
    text: str
    moves: int
    hosts_used: int
    left: int
    is_cut: bool
    broken: tuple[str, ...]  # promises that its placement breaks: room, vCPUs, groups apart


def run(name: str, fleet: Fleet, room: Path, offline: Iterable[int] = (), *options: str, limit_s: float) -> Answer:
    """Run a tool on a fleet until it ends or the time is over; reads and writes below `room` only."""
    data, saved = room / "fleet.data", room / "after"
    away = list(offline)
    data.write_text(as_text(fleet, away))
    for old in room.glob("after*"):
        old.unlink()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    command = ["timeout", str(limit_s), tool(name), "-t", str(data), "-S", str(saved), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    cpu_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    node_of = _where(room, data)
    where = np.array([node_of[f"v{v:05d}"] for v in range(len(fleet.board.home))], np.int64)
    return Answer(
        cpu_s=cpu_s,
        text=done.stdout + done.stderr,
        moves=int((where != fleet.board.home).sum()),
        hosts_used=len(set(where.tolist())),
        left=int(np.isin(where, away).sum()),
        is_cut=done.returncode == 124,
        broken=tuple(violations(fleet, where)),
    )


def _where(room: Path, data: Path) -> dict[str, int]:
    """Return VM → number of its node in the state that the tool saved last; the state before where it saved none."""
    saved = [p for p in sorted(room.glob("after*")) if not p.name.endswith(".original")] or [data]
    rows = re.findall(r"^(v\d{5})\|\d+\|\d+\|\d+\|\w+\|\w\|n(\d{4})\|", saved[-1].read_text(), re.MULTILINE)
    return {vm: int(node) for vm, node in rows}
