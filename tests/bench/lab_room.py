"""Fresh lab hosts and guests for one measurement, and what is left of benches that were killed."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from infra.lab.lab import Lab, take_down
from infra.lab.spec import DiskKind, GuestSpec, HostSpec, LabSpec, pages_per_tick
from infra.lab.watch import Watch

SOURCE = "kvm1"
DESTS = ("kvm2", "kvm3")
ROOMS = Path("/var/tmp")  # a lab cannot lie under /tmp
_PREFIX = "vmferry-bench-"
_FILL_MIB_S = 40.0  # while a guest touches its memory for the first time
_PATIENCE_S = 60.0


def room_path() -> Path:
    """Return this process's own directory for everything a bench writes."""
    return ROOMS / f"{_PREFIX}{os.getpid()}"


def lab_name() -> str:
    """Return the name of this process's lab."""
    return f"bench-{os.getpid()}"


def sweep() -> None:
    """Remove labs and directories of benches that no longer run."""
    for name in Lab.names():
        if (found := re.fullmatch(r"bench-(\d+)", name)) and not _is_bench(int(found[1])):
            take_down(name)
    for path in ROOMS.glob(f"{_PREFIX}*"):
        if not _is_bench(int(path.name.removeprefix(_PREFIX))):
            shutil.rmtree(path, ignore_errors=True)


def _is_bench(pid: int) -> bool:
    try:
        return b"tests.bench" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@contextmanager
def fresh_lab(guests: Sequence[GuestSpec], link_mib_s: float) -> Iterator[Lab]:
    """Give a new lab whose guests have touched their working sets and dirty at their own rates; take it down after."""
    hosts = tuple(HostSpec(name=name, link_mib_s=link_mib_s) for name in (SOURCE, *DESTS))
    filling = tuple(guest.model_copy(update={"dirty_mib_s": _FILL_MIB_S}) for guest in guests)
    try:
        lab = Lab.up(LabSpec(name=lab_name(), hosts=hosts, guests=filling))
        _warm(lab, guests)
        yield lab
    finally:
        take_down(lab_name())


def shared_guest(name: str, *, working_set_mib: int, dirty_mib_s: float) -> GuestSpec:
    """Return a running guest with its disk on shared storage and memory for twice its working set."""
    return GuestSpec(
        name=name,
        host=SOURCE,
        memory_mib=2 * working_set_mib,
        working_set_mib=working_set_mib,
        dirty_mib_s=dirty_mib_s,
        disk=DiskKind.SHARED,
    )


def _warm(lab: Lab, guests: Sequence[GuestSpec]) -> None:
    """Wait until each guest is in its second pass, then give it its rate; the keyboard may lose a key, so look."""
    deadline = time.monotonic() + _PATIENCE_S
    waiting = list(guests)
    while waiting:
        beats = {guest.name: lab.heartbeats(guest.name).get(SOURCE) for guest in waiting}
        for guest in list(waiting):
            beat = beats[guest.name]
            if beat is None or beat.passes < 2:
                continue
            if beat.rate_pages == pages_per_tick(guest.dirty_mib_s, guest.hz):
                waiting.remove(guest)
            else:
                lab.set_rate(guest.name, guest.dirty_mib_s, host=SOURCE)
        if time.monotonic() > deadline:
            raise TimeoutError(f"guests not ready after {_PATIENCE_S:.0f} s: {', '.join(g.name for g in waiting)}")
        time.sleep(0.3)


@contextmanager
def watching(lab: Lab, names: Sequence[str]) -> Iterator[dict[str, Watch]]:
    """Watch the heartbeats of guests on all hosts, to about 10 ms each."""
    watches = {name: lab.watch(name, interval_s=0.01) for name in names}
    try:
        for watch in watches.values():
            watch.__enter__()
        yield watches
    finally:
        for watch in watches.values():
            watch.stop()
