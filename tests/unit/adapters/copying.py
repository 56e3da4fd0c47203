"""Pairs of hosts on this machine for tests of copies: files to copy, and a look at what still runs."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.unit.adapters.sshd import Sshd, make_key, write_client_config
from vmferry.adapters.ssh_tools import SshTools
from vmferry.model.disks import CopyDone, CopyOptions, CopyStats
from vmferry.model.host import Host
from vmferry.settings import Settings

# The program looks for the system's own Python by its path, which a test cannot hide.
_SH_WITHOUT_PYTHON = """#!/bin/sh
case "$2" in *platform-python*) echo 'there is no python3' >&2; exit 127 ;; esac
exec /bin/sh "$@"
"""
_PLACES = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin")


@dataclass
class Hosts:
    """Hosts by name, with one client configuration for all."""

    sshds: dict[str, Sshd]
    config: Path
    settings: Settings

    def entry(self, name: str) -> Host:
        return self.sshds[name].entry(name)

    def copy(
        self,
        path: Path,
        staging: Path,
        options: CopyOptions | None = None,
        on_copy: Callable[[CopyStats], None] | None = None,
        *,
        source: str = "one",
        dest: str = "two",
        settings: Settings | None = None,
    ) -> CopyDone:
        """Copy a file from host to host."""
        tools = SshTools(self.entry(source), settings or self.settings, ssh_config=str(self.config))
        try:
            return tools.copy_file(str(path), self.entry(dest), str(staging), options or CopyOptions(), on_copy)
        finally:
            tools.close()


@contextmanager
def open_hosts(root: Path) -> Iterator[Hosts]:
    """Start hosts: `one` and `two` are complete, `bare` has no Python, `mute` reaches nobody over ssh."""
    key = make_key(root / "id")
    config = write_client_config(root / "config", key, root / "known_hosts")
    whole = _programs(root / "whole", config)
    bare = _programs(root / "bare-bin", config)
    (bare / "sh").unlink()
    _write(bare / "sh", _SH_WITHOUT_PYTHON)
    mute = _programs(root / "mute-bin", config)
    (mute / "ssh").unlink()
    _write(mute / "ssh", "#!/bin/sh\n[ \"$1\" = -V ] || echo 'ssh: connect to host: No route to host' >&2\nexit 255\n")
    paths = {"one": whole, "two": whole, "bare": bare, "mute": mute}
    sshds = {name: Sshd(root / name, key, path=str(path)).start() for name, path in paths.items()}
    (root / "known_hosts").write_text("".join(sshd.known_as() for sshd in sshds.values()))
    settings = Settings(connect_timeout_s=5, call_timeout_s=20, copy_patience_s=10)
    try:
        yield Hosts(sshds, config, settings)
    finally:
        for sshd in sshds.values():
            sshd.stop()


def _programs(directory: Path, config: Path) -> Path:
    """Make a directory of all programs; ssh and scp read our configuration."""
    directory.mkdir()
    for place in map(Path, _PLACES):
        for program in place.iterdir() if place.is_dir() else ():
            link = directory / program.name
            if not link.is_symlink():
                link.symlink_to(program)
    for name in ("ssh", "scp"):
        (directory / name).unlink(missing_ok=True)
        _write(directory / name, f'#!/bin/sh\nexec {shutil.which(name)} -F {config} "$@"\n')
    return directory


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def make_image(path: Path, *, size: int, data: int, seed: int = 1) -> bytes:
    """Make a sparse file with some runs of data; return its content."""
    draw = random.Random(seed)
    content = bytearray(size)
    runs = 4
    for run in range(runs):
        begin = run * (size // runs)
        content[begin : begin + data // runs] = draw.randbytes(data // runs)
    with path.open("wb") as file:
        file.truncate(size)
        for run in range(runs):
            begin = run * (size // runs)
            file.seek(begin)
            file.write(content[begin : begin + data // runs])
    return bytes(content)


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def processes_about(*words: str) -> list[int]:
    """Return the processes with all of these words among their arguments, but for this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if all(word.encode() in arguments for word in words):
            found.append(int(entry.name))
    return found


def wait_until_nothing_runs(*words: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while left := processes_about(*words):
        assert time.monotonic() < deadline, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
        time.sleep(0.05)
