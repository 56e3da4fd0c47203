"""A real sshd on loopback with keys, configuration and commands of its own; ended by its pid."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vmferry.adapters.ssh_tools import SshTools
from vmferry.model.host import Host, SshAddress
from vmferry.settings import Settings

USER = pwd.getpwuid(os.geteuid()).pw_name


def make_key(path: Path) -> Path:
    """Make a key pair."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Sshd:
    """One sshd; `directory` holds its host key and the one key that may log in as this user."""

    directory: Path
    client_key: Path
    port: int = field(default_factory=free_port)
    path: str = os.environ["PATH"]  # what its sessions have as PATH
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> Sshd:
        """Start it and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / "host_key").exists():
            make_key(self.directory / "host_key")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd's privilege separation wants it; systemd makes it
        self._process = subprocess.Popen(
            [str(shutil.which("sshd") or "/usr/sbin/sshd"), "-D", "-e", "-f", str(self._write_config())],
            stdout=subprocess.DEVNULL,
            stderr=(self.directory / "log").open("wb"),
        )
        self._wait()
        return self

    def stop(self) -> None:
        """End it; sessions that are open end with their connections."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    @property
    def host_key(self) -> str:
        """The public host key: type and base64."""
        return " ".join((self.directory / "host_key.pub").read_text().split()[:2])

    def known_as(self, key: str | None = None) -> str:
        """Return a line for known_hosts."""
        return f"[127.0.0.1]:{self.port} {key or self.host_key}\n"

    def entry(self, name: str, **ssh: object) -> Host:
        """Return this sshd as an inventory entry."""
        address = SshAddress.model_validate({"address": "127.0.0.1", "user": USER, "port": self.port, **ssh})
        uri = "test:///default"
        return Host(name=name, uri=uri, peer_uri=uri, ssh=address, migration_address="127.0.0.1")

    def _write_config(self) -> Path:
        config = self.directory / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.directory}/host_key\n"
            f"AuthorizedKeysFile {self.client_key}.pub\nStrictModes no\nPidFile none\nUsePAM no\n"
            f"PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f'PermitUserRC no\nPrintMotd no\nSubsystem sftp internal-sftp\nSetEnv "PATH={self.path}"\n'
        )
        return config

    def _wait(self) -> None:
        for _ in range(500):
            assert self._process is not None
            assert self._process.poll() is None, (self.directory / "log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise AssertionError("sshd does not answer")


def write_client_config(path: Path, key: Path, known_hosts: Path) -> Path:
    """Write an ssh_config that knows nothing of this machine's own keys and hosts."""
    path.write_text(
        f"Host *\n  IdentityFile {key}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
        f"  UserKnownHostsFile {known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
    )
    return path


@contextmanager
def open_tools(root: Path) -> Iterator[SshTools]:
    """Start an sshd that nobody else knows and give the tools of its host."""
    key = make_key(root / "id")
    config = write_client_config(root / "config", key, root / "known_hosts")
    sshd = Sshd(root / "one", key).start()
    (root / "known_hosts").write_text(sshd.known_as())
    opened = SshTools(sshd.entry("one"), Settings(connect_timeout_s=5, call_timeout_s=20), ssh_config=str(config))
    try:
        yield opened
    finally:
        opened.close()
        sshd.stop()


def write_ssh_command(directory: Path, config: Path) -> str:
    """Make an `ssh` that reads our configuration, for commands on the hosts; return a PATH that finds it."""
    directory.mkdir(parents=True, exist_ok=True)
    command = directory / "ssh"
    command.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    command.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"
