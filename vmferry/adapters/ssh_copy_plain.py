"""Copies without a program of ours: sparse tar, or scp as the reference chapter does it; both verified afterwards."""

from __future__ import annotations

import posixpath
import re
import shlex
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from vmferry.adapters.ssh_copy_engine import Job, NoWay
from vmferry.adapters.ssh_program import SSH_OPTIONS, ssh_target
from vmferry.adapters.ssh_shell import Completed, Script, SshShell
from vmferry.errors import CopyFailed, TransientError
from vmferry.model.disks import CopyDone, CopyMethod, CopyStats

# Ends what it started when vmferry's connection, its standard input, is gone; in a process group of its own.
_WATCHED = """exec 3<&0
setsid "$@" </dev/null &
job=$!
setsid sh -c 'cat >/dev/null; kill -TERM -- "-$0"' "$job" <&3 >/dev/null 2>&1 &
watch=$!
wait "$job"
code=$?
kill -TERM -- "-$watch" 2>/dev/null
exit "$code"
"""
# `pipefail`: a reader that dies is a failure too. tar -S reads only the allocated extents (SEEK_DATA) and leaves holes
# at the destination; scp does neither.
_TAR = """set -eu -o pipefail
cd -- "$1"
tar --create --sparse --hole-detection=seek --file - -- "./$2" | ssh "${@:4}" "$3"
"""
PACK = 'cd -- "$1" && exec tar --create --sparse --hole-detection=seek --file - -- "./$2"'
# Unpacked beside the staged name: the original may be called otherwise.
UNPACK = """set -eu
cd -- "$1"
rm -rf -- "./$2.tar"
mkdir -m 700 -- "./$2.tar"
tar --extract --sparse --no-same-owner --directory "./$2.tar" --file -
mv -fT -- "./$2.tar/$3" "./$2"
rmdir -- "./$2.tar"
"""
# The staging directory is ours alone, and holds no file that is known by another name too.
_PREPARE = Script(
    "prepare-copy",
    """set -eu
mkdir -p -m 755 -- "$(dirname -- "$1")"
mkdir -p -m 700 -- "$1"
[ ! -L "$1" ] || { echo "$1 is a symbolic link" >&2; exit 1; }
[ "$(stat -c '%u %a' -- "$1")" = "$(id -u) 700" ] || { echo "$1 is not ours alone" >&2; exit 1; }
[ ! -L "$1/$2" ] || { echo "$1/$2 is a symbolic link" >&2; exit 1; }
[ ! -e "$1/$2" ] || [ "$(stat -c '%F %h' -- "$1/$2" | sed 's/ empty//')" = "regular file 1" ] \
  || { echo "$1/$2 is not a file of its own" >&2; exit 1; }
rm -f -- "$1/$2"
""",
    is_write=True,
)
# Durable, and read from the disk afterwards, not from memory.
_SETTLE = Script(
    "settle-copy",
    """set -eu
chmod -- "$2" "$1"
if [ -n "$3" ]; then chown -- "$3" "$1" 2>/dev/null || chown -- "$4" "$1"; fi
sync -- "$1"
dd if="$1" iflag=nocache count=0 status=none
""",
    is_write=True,
)
_POLL_S = 0.5
_UNREACHABLE = re.compile(
    r"Host key verification failed|Permission denied \(|Could not resolve|Connection (refused|timed out)|"
    r"No route to host"
)


class NoTool(CopyFailed):
    """A host lacks the program that this method needs."""


def copy_by_tar(job: Job, here: SshShell, there: SshShell, reason: str) -> CopyDone:
    """Stream a sparse tar from host to host; raises NoWay, NoTool, CopyFailed, TransientError."""
    into, name = posixpath.split(job.staging)
    directory, original = posixpath.split(job.path)
    unpack = shlex.join(["sh", "-c", UNPACK, "unpack", into, name, original])
    argv = ["bash", "-c", _TAR, "copy", directory, original, unpack, *SSH_OPTIONS, *ssh_target(job.dest)]
    return copy_plainly(job, here, there, CopyMethod.TAR, reason, partial(run_watched, job, here, argv))


def copy_by_scp(job: Job, here: SshShell, there: SshShell, reason: str) -> CopyDone:
    """Run scp on the source, as the reference does; every byte travels. Raises as `copy_by_tar`."""
    version = here.run(["ssh", "-V"], timeout_s=job.settings.call_timeout_s)
    found = re.search(r"OpenSSH_(\d+)", version.stderr + version.stdout)
    is_sftp = bool(found and int(found[1]) >= 9)

    def send() -> Completed:
        done = run_watched(job, here, _scp(job, is_sftp=is_sftp, is_forced=False))
        if is_sftp and done.exit_code == 255 and "Connection closed" in done.stderr:  # no sftp on that host
            return run_watched(job, here, _scp(job, is_sftp=False, is_forced=True))
        return done

    return copy_plainly(job, here, there, CopyMethod.SCP, reason, send)


def _scp(job: Job, *, is_sftp: bool, is_forced: bool) -> list[str]:
    """Return the command; without sftp (until release 9, or `scp -O`) the remote shell takes the path apart."""
    remote = job.staging if is_sftp else shlex.quote(job.staging)
    address = f"[{job.dest.ssh.address}]" if ":" in job.dest.ssh.address else job.dest.ssh.address
    more = ["-O"] if is_forced else []
    if job.options.bandwidth_mib_s:
        more += ["-l", str(job.options.bandwidth_mib_s * 8 * 1024)]
    port = ["-P", str(job.dest.ssh.port)]
    return ["scp", "-q", *more, *SSH_OPTIONS, *port, "--", job.path, f"{job.dest.ssh.user}@{address}:{remote}"]


def copy_plainly(
    job: Job, here: SshShell, there: SshShell, method: CopyMethod, reason: str, send: Callable[[], Completed]
) -> CopyDone:
    """Prepare the place, send, and prove the result by a digest of both files."""
    began_s = time.monotonic()
    before = _stat(job, here)
    size, allocated = int(before[0]), int(before[1]) * 512
    _need(job, there.run_script(_PREPARE, posixpath.split(job.staging), timeout_s=job.settings.call_timeout_s))
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="copy") as pool:
        running = pool.submit(send)
        while not running.done():
            arrived = _arrived(job, there)
            elapsed_s = time.monotonic() - began_s
            job.on_copy(
                CopyStats(
                    path=job.path,
                    total_bytes=allocated,
                    done_bytes=min(arrived, allocated),
                    sent_bytes=arrived,
                    elapsed_s=elapsed_s,
                )
            )
            with suppress(TimeoutError):
                running.exception(_POLL_S)
        _need(job, running.result())
    owner = before[5:9] if job.options.keeps_owner else None
    _settle(job, there, before[4], owner)
    _prove(job, here, there)
    if _stat(job, here)[:4] != before[:4]:
        raise CopyFailed(job.say("the original changed while it was copied: it is in use"), host=job.source)
    sent = size if method is CopyMethod.SCP else allocated
    return CopyDone(method=method, reason=reason, sent_bytes=sent, seconds=time.monotonic() - began_s)


def run_watched(job: Job, shell: SshShell, argv: list[str]) -> Completed:
    """Run a command that ends when our connection does; return how it ended."""
    channel = shell.stream(shlex.join(["bash", "-c", _WATCHED, "watched", *argv]))
    deadline_s = job.deadline_s
    output = b""
    try:
        channel.set_combine_stderr(True)
        channel.settimeout(1.0)
        while True:
            try:
                data = channel.recv(4096)
            except TimeoutError:
                if time.monotonic() > deadline_s:
                    text = job.say("no end within VMFERRY_COPY_TIMEOUT_S")
                    raise TransientError(text, host=job.source) from None
                continue
            if not data:
                break
            output = (output + data)[-4000:]
        code = channel.recv_exit_status()
    finally:
        channel.close()
    if code < 0:
        raise TransientError(job.say("the connection to the source was lost"), host=job.source)
    return Completed(exit_code=code, stdout="", stderr=output.decode("utf-8", "replace"))


def _stat(job: Job, here: SshShell) -> list[str]:
    """Return size, blocks, inode, time, mode, and owner by name and number of the original."""
    argv = ["stat", "-L", "--printf", r"%s\n%b\n%i\n%.9Y\n%a\n%U\n%G\n%u\n%g\n%F", "--", job.path]
    done = here.run(argv, timeout_s=job.settings.call_timeout_s)
    _need(job, done)
    found = done.stdout.split("\n")
    if not found[9].startswith("regular"):
        text = f"it is a {found[9]}, which only the copy program copies; install python3 on both hosts"
        raise CopyFailed(job.say(text), host=job.source)
    return found


def _arrived(job: Job, there: SshShell) -> int:
    """Return the bytes on the destination's disk, under either name; only for showing."""
    argv = ["du", "-s", "-B1", "--", posixpath.dirname(job.staging)]
    with suppress(TransientError, ValueError, IndexError):
        return int(there.run(argv, timeout_s=job.settings.call_timeout_s).stdout.split()[0])
    return 0


def _settle(job: Job, there: SshShell, mode: str, owner: list[str] | None) -> None:
    by_name, by_number = ("", "") if owner is None else (f"{owner[0]}:{owner[1]}", f"{owner[2]}:{owner[3]}")
    bits = f"{int(mode, 8) & 0o777:o}"
    timeout_s = job.settings.copy_timeout_s or 3600.0
    _need(job, there.run_script(_SETTLE, [job.staging, bits, by_name, by_number], timeout_s=timeout_s))


def _prove(job: Job, here: SshShell, there: SshShell) -> None:
    """Compare the digests of both files, each computed on its own host."""
    timeout_s = job.settings.copy_timeout_s or 7 * 86400.0
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="digest") as pool:
        asked = [
            pool.submit(shell.run, ["b2sum", "--", path], timeout_s=timeout_s)
            for shell, path in ((here, job.path), (there, job.staging))
        ]
        ended = [one.result() for one in asked]
    for one in ended:
        _need(job, one)
    if len({one.stdout.lstrip("\\").split()[0] for one in ended}) > 1:
        raise TransientError(job.say("the copy differs from its original; copy again"), host=job.dest.name)


def _need(job: Job, done: Completed) -> None:
    """Raise what a failed command means."""
    if done.is_ok:
        return
    if _UNREACHABLE.search(done.stderr):
        raise NoWay(job.say(done.complaint), host=job.dest.name)
    if done.exit_code in (126, 127):
        raise NoTool(job.say(f"{done.complaint}; install what is missing"), host=job.source)
    if done.exit_code == 255 or re.search(r"Connection (closed|reset)|Broken pipe|lost connection", done.stderr):
        raise TransientError(job.say(done.complaint), host=job.source)
    raise CopyFailed(job.say(done.complaint), host=job.dest.name)
