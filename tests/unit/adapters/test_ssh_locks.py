"""The lock scripts on this machine: odd paths, hosts without qemu-io, and nothing that outlives its marker."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from vmferry.adapters.ssh_locks import FIND_LOCKS, HOLD_LOCKS
from vmferry.adapters.ssh_shell import Script

MARKER = ".vmferry-marker-unit"
HOLD_S = 600  # the pipes of a holder that kept them open would make a run time out


def run(script: Script, *argv: str, path: str | None = None) -> str:
    """Run as sshd would: what is left behind must not keep the command's output open."""
    command: Sequence[str] = ["bash", "-c", script.text, script.name, *argv]
    env = {**os.environ, "LC_ALL": "C"} | ({"PATH": path} if path else {})
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def holders(directory: Path) -> list[int]:
    """Return the processes that have the marker open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.readlink() == directory / MARKER:
                found.append(int(link.parts[2]))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("name", ["plain", "with, comma", "with 'quotes' and $(blanks)"])
def test_a_held_marker_is_found_whatever_its_path_and_the_holder_ends_with_it(tmp_path: Path, name: str) -> None:
    held, free = tmp_path / name, tmp_path / "free"
    for directory in (held, free):
        directory.mkdir()
        (directory / MARKER).touch()
    markers = [str(directory / MARKER) for directory in (held, free)]
    assert run(FIND_LOCKS, *markers) == ""
    run(HOLD_LOCKS, MARKER, str(HOLD_S), str(held))
    assert run(FIND_LOCKS, *markers) == f"{markers[0]}\0"
    (holder,) = holders(held)
    (held / MARKER).unlink()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{holder}").exists():
        assert time.monotonic() < deadline, "it holds on"
        time.sleep(0.1)


def test_a_host_without_qemu_io_holds_nothing_and_finds_nothing(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "sleep", "timeout", "env", "wc"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}")
    (tmp_path / MARKER).touch()
    run(HOLD_LOCKS, MARKER, "5", str(tmp_path), path=str(tools))
    assert run(FIND_LOCKS, str(tmp_path / MARKER), path=str(tools)) == ""
    run(HOLD_LOCKS, MARKER, "5", str(tmp_path))
    assert run(FIND_LOCKS, str(tmp_path / MARKER), path=str(tools)) == ""
    (tmp_path / MARKER).unlink()
