"""Run a command and measure it: seconds to its end, and CPU seconds of every process it started.

`python -m tests.bench.meter PARENT OUT TIMEOUT_S ARGV…` is the meter itself, a process between the benchmark and the
command: the kernel gives it all orphans (PR_SET_CHILD_SUBREAPER), so that getrusage(RUSAGE_CHILDREN) at the end
holds everything, daemons that the command left behind included. The embedded Prefect server's share is its
process's last line in /proc, read four times a second; the rest counts as the client's. When the benchmark dies,
the meter gets SIGTERM from the kernel and ends what it started.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_SAMPLE_S = 0.25
_GRACE_S = 10.0  # for what the command left running
_TICKS_S = os.sysconf("SC_CLK_TCK")
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_SERVER_WORDS = (b"uvicorn", b"prefect.server")


@dataclass(frozen=True)
class Metered:
    """How a command ran; times in seconds since the epoch."""

    exit_code: int
    began_at_s: float
    ended_at_s: float
    cpu_s: float
    server_cpu_s: float  # the embedded Prefect server's part of cpu_s, to about 0.25 s
    strays: int  # processes that had to be killed after the end
    output: str = ""

    @property
    def seconds(self) -> float:
        """Wall time of the command itself."""
        return self.ended_at_s - self.began_at_s


def run_metered(argv: Sequence[str], *, env: Mapping[str, str], room: Path, timeout_s: float) -> tuple[Metered, str]:
    """Run a command under the meter; return the figures and the command's standard output."""
    out, stdout, stderr = room / "meter.json", room / "stdout", room / "stderr"
    out.unlink(missing_ok=True)
    words = [sys.executable, "-m", "tests.bench.meter", str(os.getpid()), str(out), str(timeout_s), *argv]
    with stdout.open("wb") as standard, stderr.open("wb") as errors:
        meter = subprocess.Popen(words, env=dict(env), stdin=subprocess.DEVNULL, stdout=standard, stderr=errors)
        try:
            meter.wait()
        finally:
            if meter.poll() is None:
                meter.terminate()
                meter.wait()
    complaint = stderr.read_text(errors="replace")[-1500:]
    if not out.exists():
        raise RuntimeError(f"the meter of `{argv[0]}` ended with {meter.returncode}: {complaint}")
    return Metered(**json.loads(out.read_text()), output=complaint), stdout.read_text(errors="replace")


def main(parent: str, out: str, timeout_s: str, *argv: str) -> int:
    """Be the meter."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, _stop)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # it died before the kernel knew that we care
        return 1
    try:
        metered = _measure(list(argv), float(timeout_s))
    finally:
        _kill_all()
    Path(out).write_text(json.dumps({k: v for k, v in asdict(metered).items() if k != "output"}))
    return 0


def _stop(_number: int, _frame: object) -> None:
    # One is enough: the kernel sends one for every thread of a benchmark that is killed.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(143)


def _measure(argv: list[str], timeout_s: float) -> Metered:
    server: dict[int, float] = {}
    began = time.time()
    child = subprocess.Popen(argv)
    code = _wait(child, timeout_s, server)
    ended = time.time()
    strays = _end_strays()
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Metered(code, began, ended, spent.ru_utime + spent.ru_stime, sum(server.values()), strays)


def _wait(child: subprocess.Popen[bytes], timeout_s: float, server: dict[int, float]) -> int:
    """Wait for the command, sampling the server meanwhile; kill it after timeout_s (then the code is negative)."""
    handle = os.pidfd_open(child.pid)
    try:
        deadline = time.monotonic() + timeout_s
        while not select.select([handle], [], [], _SAMPLE_S)[0]:
            _sample_server(server)
            if time.monotonic() > deadline:
                print(f"no end after {timeout_s:.0f} s: killed", file=sys.stderr, flush=True)
                _kill_all(keep=child.pid)
                child.kill()
        return child.wait()
    finally:
        os.close(handle)


def _sample_server(server: dict[int, float]) -> None:
    for pid in _descendants():
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if any(word in words for word in _SERVER_WORDS):
                server[pid] = _cpu_s(pid)


def _cpu_s(pid: int) -> float:
    """Read a process's user and system time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


def _descendants() -> set[int]:
    """Return all living descendants of this process."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        fresh = [pid for pid in children.get(waiting.pop(), []) if pid not in found]
        found.update(fresh)
        waiting += fresh
    return found


def _end_strays() -> int:
    """Wait for what the command left running, then kill it; return how many had to be killed."""
    deadline = time.monotonic() + _GRACE_S
    while _reap() and time.monotonic() < deadline:
        time.sleep(0.05)
    return _kill_all() if _reap() else 0


def _reap() -> bool:
    """Collect ended children; return whether any lives."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def _kill_all(*, keep: int | None = None) -> int:
    """Kill all descendants, until none is left; return how many there were."""
    killed: set[int] = set()
    while fresh := _descendants() - {keep}:
        for pid in fresh:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= fresh
        if keep is not None:
            break
        _reap()
        time.sleep(0.02)
    return len(killed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
