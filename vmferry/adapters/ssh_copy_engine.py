"""The copy by extents: runs the copy program on the source, which connects to the destination by itself."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from paramiko import Channel

from vmferry.adapters.ferry import program
from vmferry.adapters.ferry.wire import BEAT_S, SILENCE_S
from vmferry.adapters.ssh_pairs import new_pair
from vmferry.adapters.ssh_program import SSH_OPTIONS, program_payload, ssh_target
from vmferry.adapters.ssh_shell import SshShell
from vmferry.errors import CopyFailed, HostUnreachable, PermanentError, TransientError
from vmferry.model.disks import CopyDone, CopyMethod, CopyOptions, CopyStats
from vmferry.model.host import Host
from vmferry.ports import OnCopy
from vmferry.settings import Settings

_POLL_S = 0.2
_END_S = 5.0
_STDERR_CHARS = 4000
# Less has arrived by ssh before a closed port is known to be one.
_TLS_BYTES = 64 * 2**20
# Sooner than ssh would: a network that loses large packets is left for ssh within the copy's patience.
_TLS_STALL_S = 4 * BEAT_S


class NoPython(PermanentError):
    """A host has no Python that runs the copy program."""


class NoWay(TransientError):
    """The source cannot reach the destination over ssh."""


@dataclass(frozen=True)
class Job:
    """One file on its way: what every method needs to know."""

    source: str
    dest: Host
    path: str
    staging: str
    options: CopyOptions
    settings: Settings
    on_copy: OnCopy

    def say(self, text: str) -> str:
        """Return an error's text: who, what, and that nothing happened to the original."""
        return (
            f"file {self.path}: copy from {self.source} to {self.dest.name}:{self.staging}: {text}; "
            f"the source is unchanged"
        )

    @property
    def deadline_s(self) -> float:
        """The copy's end at the latest, as time.monotonic() counts; a week where the settings do not limit it."""
        return time.monotonic() + (self.settings.copy_timeout_s or 7 * 86400.0)


def new_session() -> str:
    """Return the name of an attempt; a later one is greater."""
    return f"{time.time_ns():020d}-{secrets.token_hex(4)}"


def order_of(job: Job, session: str, *, is_relayed: bool = False) -> dict[str, object]:
    """Return what the program on the source is told."""
    return {
        "path": job.path,
        "staging": job.staging,
        "ssh": None if is_relayed else ["ssh", *SSH_OPTIONS, *ssh_target(job.dest)],
        "session": session,
        "streams": job.settings.copy_streams,
        "bytes_s": (job.options.bandwidth_mib_s or 0) * 2**20,
        "digest": job.settings.copy_digest,
        "patience_s": job.settings.copy_patience_s,
        "is_device": job.options.is_device,
        "keeps_owner": job.options.keeps_owner,
        "tls": None if is_relayed else _tls_of(job),
    }


def _tls_of(job: Job) -> dict[str, object] | None:
    """Return what the streams need to go by TLS: keys and certificates for this one copy."""
    if job.settings.copy_tls == "never":
        return None
    source, dest = new_pair("source"), new_pair("dest")
    return {
        "address": job.dest.migration_address,
        "least_bytes": _TLS_BYTES if job.settings.copy_tls == "auto" else 0,
        "source": {"mine": source.key + source.certificate, "peer": dest.certificate},
        "dest": {"mine": dest.key + dest.certificate, "peer": source.certificate, "stall_s": _TLS_STALL_S},
    }


def copy_by_extents(job: Job, shell: SshShell, reason: str) -> CopyDone:
    """Run the program; raises NoPython, NoWay, TransientError, CopyFailed."""
    session = new_session()
    payload = program_payload(("send", "main"), order_of(job, session))
    channel = start(shell, payload, ["vmferry-send", session, job.path])
    try:
        channel.settimeout(_POLL_S)
        heard = Hearing(job, channel, channel.recv)
        for _ in heard.lines(beats=True):
            pass
        return heard.done(CopyMethod.EXTENTS, f"{reason}; {heard.way}")
    finally:
        channel.close()


def start(shell: SshShell, payload: bytes, words: list[str]) -> Channel:
    """Start the program on a host and send it its text; raises HostUnreachable."""
    channel = shell.stream(program.command(len(payload), words))
    try:
        channel.settimeout(SILENCE_S)
        channel.sendall(payload)
    except OSError:
        # It ended at once (no Python): its exit code tells. A lost connection shows there too.
        pass
    return channel


class Hearing:
    """What the program on the source says, until it ends."""

    def __init__(self, job: Job, channel: Channel, read: Callable[[int], bytes]) -> None:
        """`read` gives what comes, nothing at the end, and raises TimeoutError where nothing comes for a moment."""
        self._job = job
        self._channel = channel
        self._read = read
        self._began_s = time.monotonic()
        self._deadline_s = job.deadline_s
        self._rest = b""
        self._errors = ""
        self._done: dict[str, Any] | None = None
        self._failed: dict[str, Any] | None = None

    def lines(self, *, beats: bool) -> Iterator[None]:
        """Take lines until the end, yielding in between; raises TransientError when nothing comes any more."""
        heard_s = beaten_s = time.monotonic()
        while True:
            with suppress(TimeoutError):
                data = self._read(65536)
                if not data:
                    self._finish()
                    return
                self._take(data)
                heard_s = time.monotonic()
            now = time.monotonic()
            if now - heard_s > SILENCE_S:
                raise TransientError(self._job.say(f"no word for {SILENCE_S:.0f} s"), host=self._job.source)
            if now > self._deadline_s:
                raise TransientError(self._job.say("no end within VMFERRY_COPY_TIMEOUT_S"), host=self._job.source)
            if beats and now - beaten_s > BEAT_S:
                beaten_s = now
                with suppress(OSError):
                    self._channel.sendall(b"\n")
            yield

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._hear(line)

    def _hear(self, line: bytes) -> None:
        try:
            told = json.loads(line)
            known = told.get("done"), told.get("failed"), told.get("progress")
        except (ValueError, AttributeError):
            self._errors = (self._errors + line.decode("utf-8", "replace") + " ")[-_STDERR_CHARS:]
            return
        self._done, self._failed = known[0] or self._done, known[1] or self._failed
        if known[2]:
            done, total, sent = known[2]
            self._tell(done, total, sent)

    def _tell(self, done: int, total: int, sent: int) -> None:
        elapsed_s = time.monotonic() - self._began_s
        self._job.on_copy(
            CopyStats(path=self._job.path, total_bytes=total, done_bytes=done, sent_bytes=sent, elapsed_s=elapsed_s)
        )

    def _finish(self) -> None:
        """Find out how it ended; raises unless it is done."""
        self._channel.status_event.wait(_END_S)
        while self._channel.recv_stderr_ready():
            self._errors = (self._errors + self._channel.recv_stderr(4096).decode("utf-8", "replace"))[-_STDERR_CHARS:]
        if self._failed is not None:
            raise failure(self._job, self._failed["kind"], self._failed["text"])
        if self._done is not None:
            return
        code = self._channel.recv_exit_status() if self._channel.exit_status_ready() else -1
        said = " ".join(self._errors.split())
        if code == 127:
            raise NoPython(f"host {self._job.source}: no Python 3.6 or newer: {said}", host=self._job.source)
        text = f"the copy program ended with {code} {said}" if code >= 0 else "the connection to the source was lost"
        raise TransientError(self._job.say(text.strip()), host=self._job.source)

    @property
    def way(self) -> str:
        """How the bytes travelled: `through TLS to port N`, or `through ssh` and why."""
        assert self._done is not None
        return str(self._done["way"])

    def done(self, method: CopyMethod, reason: str) -> CopyDone:
        """Return what was done."""
        assert self._done is not None
        return CopyDone(
            method=method,
            reason=reason,
            sent_bytes=self._done["sent"],
            resumed_bytes=self._done["resumed"],
            seconds=time.monotonic() - self._began_s,
            streams=self._done["streams"],
        )


def failure(job: Job, kind: str, text: str) -> Exception:
    """Return the error of a kind of failure that the program tells."""
    match kind:
        case "no-python":
            return NoPython(f"host {job.dest.name}: no Python 3.6 or newer: {text}", host=job.dest.name)
        case "unreachable":
            return NoWay(job.say(f"{job.source} cannot reach {job.dest.name} over ssh: {text}"), host=job.dest.name)
        case "broken":
            return HostUnreachable(job.say(f"{text}; what arrived is kept for the next attempt"), host=job.dest.name)
        case "changed":
            return CopyFailed(job.say(f"{text}; look for who writes to it with `fuser {job.path}`"), host=job.source)
        case "full":
            return CopyFailed(job.say(f"{text}; see `df {job.staging}` there"), host=job.dest.name)
        case "source":
            return CopyFailed(job.say(text), host=job.source)
        case _:
            return CopyFailed(job.say(text), host=job.dest.name)
