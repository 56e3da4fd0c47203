"""A copy through the machine that runs vmferry, for hosts that cannot reach each other."""

from __future__ import annotations

import posixpath
import shlex
import threading
import time
from contextlib import suppress
from functools import partial

from paramiko import Channel

from vmferry.adapters.ferry.staging import MARK
from vmferry.adapters.ferry.wire import SILENCE_S
from vmferry.adapters.ssh_copy_engine import Hearing, Job, NoPython, new_session, order_of, start
from vmferry.adapters.ssh_copy_plain import PACK, UNPACK, copy_plainly
from vmferry.adapters.ssh_program import program_payload
from vmferry.adapters.ssh_shell import Completed, SshShell
from vmferry.errors import TransientError
from vmferry.model.disks import CopyDone, CopyMethod

_PART_BYTES = 256 * 1024
_POLL_S = 0.05


def copy_by_relay(job: Job, here: SshShell, there: SshShell, reason: str) -> CopyDone:
    """Copy with the program where both hosts have Python, else with tar; raises as the direct methods do."""
    try:
        return _relay_extents(job, here, there, reason)
    except NoPython as error:
        send = partial(_relay_tar, job, here, there)
        return copy_plainly(job, here, there, CopyMethod.RELAY, f"{reason}; by tar: {error}", send)


def _relay_extents(job: Job, here: SshShell, there: SshShell, reason: str) -> CopyDone:
    session = new_session()
    receiver = start(there, program_payload(("receive", "main"), {}), [MARK, session, "0", "0", job.staging])
    sender: Channel | None = None
    try:
        payload = program_payload(("send", "main"), order_of(job, session, is_relayed=True))
        sender = start(here, payload, ["vmferry-send", session, job.path])
        _pump(sender, receiver)
        _pump(receiver, sender)
        heard = Hearing(job, sender, partial(_read_stderr, sender))
        try:
            for _ in heard.lines(beats=False):
                _need_python(job, receiver)
        except TransientError:
            _need_python(job, receiver, 1.0)
            raise
        return heard.done(CopyMethod.RELAY, reason)
    finally:
        for channel in filter(None, (sender, receiver)):
            channel.close()


def _need_python(job: Job, receiver: Channel, wait_s: float = 0.0) -> None:
    if receiver.status_event.wait(wait_s) and receiver.exit_status == 127:
        raise NoPython(f"host {job.dest.name}: no Python 3.6 or newer", host=job.dest.name)


def _pump(source: Channel, sink: Channel) -> threading.Thread:
    """Carry bytes one way until either end closes, in a thread of its own."""

    def carry() -> None:
        with suppress(OSError):
            while data := source.recv(_PART_BYTES):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown_write()

    source.settimeout(None)
    sink.settimeout(SILENCE_S)
    thread = threading.Thread(target=carry, name="relay", daemon=True)
    thread.start()
    return thread


def _read_stderr(channel: Channel, size: int) -> bytes:
    """Return what stands on standard error; nothing at the end; raises TimeoutError when nothing comes."""
    until_s = time.monotonic() + 4 * _POLL_S
    while not channel.recv_stderr_ready():
        if channel.closed or channel.exit_status_ready():
            return b""
        if time.monotonic() > until_s:
            raise TimeoutError
        time.sleep(_POLL_S)
    return channel.recv_stderr(size)


def _relay_tar(job: Job, here: SshShell, there: SshShell) -> Completed:
    """Pipe tar's output from one connection into the other; return how the worse of the two ended."""
    directory, original = posixpath.split(job.path)
    into, name = posixpath.split(job.staging)
    receiver = there.stream(shlex.join(["sh", "-c", UNPACK, "unpack", into, name, original]))
    try:
        sender = here.stream(shlex.join(["sh", "-c", PACK, "pack", directory, original]))
        try:
            _carry_tar(job, sender, receiver)
            receiver.shutdown_write()
            ends = [_end(job, channel, host) for channel, host in ((sender, job.source), (receiver, job.dest.name))]
            return next((end for end in ends if not end.is_ok), ends[0])
        finally:
            sender.close()
    finally:
        receiver.close()


def _carry_tar(job: Job, sender: Channel, receiver: Channel) -> None:
    """Carry all of it, not faster than asked."""
    sender.settimeout(SILENCE_S)
    receiver.settimeout(SILENCE_S)
    bytes_s = (job.options.bandwidth_mib_s or 0) * 2**20
    free_s, deadline_s = time.monotonic(), job.deadline_s
    try:
        while data := sender.recv(_PART_BYTES):
            receiver.sendall(data)
            if bytes_s:
                free_s = max(free_s, time.monotonic() - 0.1) + len(data) / bytes_s
                time.sleep(max(0.0, free_s - time.monotonic()))
            if time.monotonic() > deadline_s:
                raise TransientError(job.say("no end within VMFERRY_COPY_TIMEOUT_S"), host=job.source)
    except TimeoutError:
        raise TransientError(job.say(f"nothing moved for {SILENCE_S:.0f} s"), host=job.source) from None
    except OSError:
        return  # the ends tell why


def _end(job: Job, channel: Channel, host: str) -> Completed:
    if not channel.status_event.wait(SILENCE_S):
        raise TransientError(job.say(f"tar on {host} does not end"), host=host)
    said = b""
    while channel.recv_stderr_ready():
        said += channel.recv_stderr(4096)
    code = channel.recv_exit_status()
    return Completed(exit_code=255 if code < 0 else code, stdout="", stderr=said.decode("utf-8", "replace"))
