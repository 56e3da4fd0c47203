"""Run programs, and find and end the processes a lab started, and no others."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TOKEN_ENV = "VMFERRY_LAB_TOKEN"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Children that outlive the call that made them; kept so that they are reaped and no warning is given.
_children: list[subprocess.Popen[bytes]] = []


class LabError(Exception):
    """Something the lab could not do, with what to do about it."""


def lab_env(token: str) -> dict[str, str]:
    """Give the environment of everything a lab starts: the token is how `down` finds it, whatever happened."""
    keep = {key: os.environ[key] for key in ("HOME", "TERM", "TMPDIR") if key in os.environ}
    return {**keep, "PATH": PATH, "LC_ALL": "C", TOKEN_ENV: token}


def run(
    argv: Sequence[str | Path],
    *,
    check: bool = True,
    input: str | None = None,
    timeout: float | None = 60,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; raise LabError when it fails (unless check is False) or takes too long."""
    try:
        done = subprocess.run(
            [str(arg) for arg in argv],
            check=False,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=env,
        )
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed; see infra/lab/packages.txt") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"no end after {timeout} s: {' '.join(map(str, argv))}") from error
    if check and done.returncode:
        text = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"{' '.join(map(str, argv))}: exit {done.returncode}: {text}")
    return done


def start(argv: Sequence[str | Path], *, log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a program that outlives us, its output in a file."""
    reap()
    with log.open("ab") as out:
        child = subprocess.Popen(
            [str(arg) for arg in argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=env,
            start_new_session=True,
            cwd="/",
        )
    _children.append(child)
    return child


def reap() -> None:
    """Collect our children that have ended."""
    _children[:] = [child for child in _children if child.poll() is None]


def start_time(pid: int) -> int | None:
    """Give the start time of a process in clock ticks since boot; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def kill(pid: int, started: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal a process if it is still the one that started then."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if start_time(pid) == started:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def wait_gone(pid: int, started: int, *, timeout_s: float = 20) -> None:
    """Wait until a process has ended; for a namespace's pid 1 that means everything in it has."""
    deadline = time.monotonic() + timeout_s
    while start_time(pid) == started:
        reap()
        if time.monotonic() > deadline:
            raise LabError(f"process {pid} does not end; look at /proc/{pid}/stack")
        time.sleep(0.005)
    reap()


def find_by_token(token: str) -> list[tuple[int, int]]:
    """List (pid, start time) of the live processes that carry a lab's token in their environment."""
    needle = f"{TOKEN_ENV}={token}".encode()
    found: list[tuple[int, int]] = []
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if pid == os.getpid():
            continue
        try:
            environ = (entry / "environ").read_bytes()
        except OSError:
            continue
        if needle in environ.split(b"\0") and (started := start_time(pid)) is not None:
            found.append((pid, started))
    return found


def kill_by_token(token: str, *, timeout_s: float = 20) -> int:
    """End every process of a lab, until two looks in a row find none; give how many there were."""
    deadline = time.monotonic() + timeout_s
    ended: set[tuple[int, int]] = set()
    quiet = 0
    while quiet < 2:
        # The parent of a host's pid 1 ends by itself once it has reaped it: give it the moment.
        time.sleep(0.02)
        found = find_by_token(token)
        quiet = 0 if found else quiet + 1
        for pid, started in found:
            kill(pid, started)
        ended.update(found)
        reap()
        if time.monotonic() > deadline:
            raise LabError(f"processes do not end: {sorted(pid for pid, _ in found)}")
    return len(ended)
