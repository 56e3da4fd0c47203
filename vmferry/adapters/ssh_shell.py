"""One ssh connection to one host through fabric: known host keys only, arguments quoted, calls bounded in time."""

from __future__ import annotations

import logging
import shlex
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fabric import Config, Connection
from invoke.exceptions import CommandTimedOut
from paramiko import Channel, HostKeys, MissingHostKeyPolicy, PKey, RejectPolicy, SSHClient
from paramiko.ssh_exception import AuthenticationException, BadHostKeyException, SSHException

from vmferry.errors import HostUnreachable, OutcomeUnknown, VmferryError
from vmferry.model.base import Model
from vmferry.model.host import Host

logger = logging.getLogger("vmferry.ssh")


class Completed(Model):
    """A command that ended on the host; our clock just before it was sent and just after its end was known."""

    exit_code: int
    stdout: str
    stderr: str
    began_s: float = 0.0  # seconds since 1970, UTC
    ended_s: float = 0.0

    @property
    def is_ok(self) -> bool:
        """Whether the command ended with 0."""
        return self.exit_code == 0

    @property
    def complaint(self) -> str:
        """What the command said of its failure, in one line."""
        return " ".join((self.stderr or self.stdout).split()) or f"exit code {self.exit_code}"


@dataclass(frozen=True)
class Script:
    """A constant bash program for hosts; it sees data as arguments only."""

    name: str
    text: str
    is_write: bool = False


# sshd's default MaxSessions is 10 per connection.
_SESSIONS = 8
# Keepalives that are not acknowledged for so long end the connection.
_DEAD_AFTER_MS = 20_000


class _OnlyKnown(MissingHostKeyPolicy):
    """Trust no new key; but one that is known under ssh_config's HostKeyAlias, which paramiko does not read."""

    def __init__(self, alias: str | None, files: Sequence[Path]) -> None:
        self._alias = alias
        self._files = files

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        """Return when the key is the alias's; raises SSHException otherwise."""
        known = HostKeys()
        for path in self._files:
            known.load(str(path))
        if self._alias is None or not known.check(self._alias, key):
            RejectPolicy().missing_host_key(client, hostname, key)


class SshShell:
    """Runs commands on a host; the connection is opened late, kept, and opened again when it is lost."""

    def __init__(self, host: Host, *, ssh_config: str | None, connect_timeout_s: float) -> None:
        self.host = host.name
        self._entry = host
        self._ssh_config = ssh_config
        self._connect_timeout_s = connect_timeout_s
        self._lock = threading.Lock()
        self._sessions = threading.BoundedSemaphore(_SESSIONS)
        self._connection: Connection | None = None

    def run(
        self, argv: Sequence[str], *, timeout_s: float, is_write: bool = False, name: str | None = None
    ) -> Completed:
        """Run `argv` on the host; the arguments are data: each one is quoted for the remote shell.

        `name` is what errors call the command, its first word where there is none.
        Raises HostUnreachable when the host does not answer, OutcomeUnknown when that happens to a write.
        """
        command = shlex.join(["env", "LC_ALL=C.UTF-8", *argv]) + " </dev/null"
        connection = self._open()
        try:
            with self._sessions:
                began_s = time.time()
                result = connection.run(command, hide=True, warn=True, in_stream=False, timeout=timeout_s)
                ended_s = time.time()
        except CommandTimedOut as error:
            raise self._lost(name or argv[0], f"no end within {timeout_s:.0f} s", is_write) from error
        except (SSHException, OSError, EOFError) as error:
            self.close()
            raise self._lost(name or argv[0], str(error) or type(error).__name__, is_write) from error
        return Completed(
            exit_code=result.exited, stdout=result.stdout, stderr=result.stderr, began_s=began_s, ended_s=ended_s
        )

    def run_script(self, script: Script, argv: Sequence[str], *, timeout_s: float) -> Completed:
        """Run a script with `argv` as its $1, $2 …; raises as `run` does."""
        command = ["bash", "-c", script.text, script.name, *argv]
        return self.run(command, timeout_s=timeout_s, is_write=script.is_write, name=script.name)

    def stream(self, command: str) -> Channel:
        """Start `command`, which must be quoted, with its standard input open; the caller closes the channel.

        For what lasts long: use a shell of its own, for the connection is shared with all that `run` does.
        Raises HostUnreachable.
        """
        connection = self._open()
        try:
            channel: Channel = connection.transport.open_session(timeout=self._connect_timeout_s)
            channel.exec_command(f"env LC_ALL=C.UTF-8 {command}")
        except (SSHException, OSError, EOFError) as error:
            self.close()
            raise HostUnreachable(f"host {self.host}: ssh: {error or type(error).__name__}", host=self.host) from error
        return channel

    def _lost(self, name: str, detail: str, is_write: bool) -> VmferryError:
        kind: type[VmferryError] = OutcomeUnknown if is_write else HostUnreachable
        return kind(f"host {self.host}: ssh: `{name}`: {detail}", host=self.host)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> Connection:
        with self._lock:
            if self._connection is not None and self._connection.is_connected:
                return self._connection
            self._connection = self._connect()
            return self._connection

    def _connect(self) -> Connection:
        """Open a connection; fabric would trust any new host key, we trust none."""
        ssh = self._entry.ssh
        config = Config(runtime_ssh_path=self._ssh_config) if self._ssh_config else Config()
        connection = Connection(
            ssh.address,
            user=ssh.user,
            port=ssh.port if ssh.port != 22 else None,
            config=config,
            connect_timeout=max(1, round(self._connect_timeout_s)),
        )
        client = connection.client
        known_hosts = _known_hosts_files(connection)
        client.set_missing_host_key_policy(_OnlyKnown(connection.ssh_config.get("hostkeyalias"), known_hosts))
        for path in known_hosts:
            client.load_system_host_keys(str(path))
        try:
            connection.open()
        except (BadHostKeyException, AuthenticationException, SSHException, OSError, EOFError) as error:
            connection.close()
            raise HostUnreachable(
                f"host {self.host}: ssh to {ssh.user}@{ssh.address}: {error or type(error).__name__}; "
                f"try `ssh {ssh.user}@{ssh.address} true` (the host key must be known)",
                host=self.host,
            ) from error
        self._bound(connection)
        return connection

    def _bound(self, connection: Connection) -> None:
        """Let a dead connection be noticed: paramiko alone waits for ever for a new channel on it."""
        transport = connection.transport
        transport.set_keepalive(5)
        transport.channel_timeout = self._connect_timeout_s
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_MS)


def _known_hosts_files(connection: Connection) -> list[Path]:
    """Return the existing known_hosts files that OpenSSH would read for this host."""
    named = connection.ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2").split()
    named += connection.ssh_config.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts").split()
    paths = (Path(name).expanduser() for name in named)
    return [path for path in paths if path.is_file()]
