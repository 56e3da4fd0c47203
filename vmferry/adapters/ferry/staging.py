"""The file or device that a copy is written to: made, opened and sealed so that nothing else is ever written to."""
# Paths go by directory descriptors, which pathlib does not know.
# ruff: noqa: PTH101, PTH102, PTH119, PTH120, PTH123, PTH208

import errno
import fcntl
import grp
import os
import pwd
import signal
import stat
import time
from contextlib import suppress
from typing import Any

from vmferry.adapters.ferry.extents import data_extents

# How long an older receiver of the same file may take to die.
_EXPEL_S = 10.0
MARK = "vmferry-receive"


class Refused(Exception):
    """The place is not one that may be written to."""


class Target:
    """The opened destination."""

    def __init__(self, fd: int, size: int, had: "list[tuple[int, int]]", had_size: int, is_device: bool) -> None:
        self.fd = fd
        self.size = size
        self.had = had
        self.had_size = had_size
        self.is_device = is_device

    @property
    def inode(self) -> int:
        """The file's inode; the device's number."""
        found = os.fstat(self.fd)
        return found.st_rdev if self.is_device else found.st_ino


def open_device(path: str, size: int, is_first: bool) -> Target:
    """Open an existing block device; nobody else may have it open for himself (mounted, part of a volume group)."""
    try:
        if is_first:
            os.close(os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC))
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise Refused(f"{path} is in use: mounted, or part of another device") from None
        raise
    if not stat.S_ISBLK(os.fstat(fd).st_mode):
        raise Refused(f"{path} is not a block device")
    room = os.lseek(fd, 0, os.SEEK_END)
    if room < size:
        raise Refused(f"{path} has {room} bytes, the original {size}")
    return Target(fd, size, [(0, room)], room, True)


def open_file(path: str, order: "dict[str, Any]") -> Target:
    """Make or open the staged file; raises Refused for everything that is not ours alone."""
    directory, name = os.path.split(path)
    if not os.path.basename(directory).startswith(".vmferry-") or name in ("", ".", ".."):
        raise Refused(f"{path} is not in a staging directory (.vmferry-RUN)")
    inode = order.get("inode")
    if inode is None:
        _make_directories(directory, order.get("parents") or [])
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    _need_ours(directory, os.fstat(at))
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if inode is None:
        with suppress(FileExistsError):
            os.close(os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=at))
            os.fsync(at)
    try:
        fd = os.open(name, flags, dir_fd=at)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused(f"{path} is a symbolic link") from None
        if error.errno == errno.ENOENT and inode is not None:
            raise Refused(f"{path} was removed while it was written") from None
        raise
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise Refused(f"{path} is no file of its own: mode {found.st_mode:o}, {found.st_nlink} names")
    if inode is not None and found.st_ino != inode:
        raise Refused(f"{path} is another file than before: somebody else replaced it")
    size = int(order["size"])
    had = list(data_extents(fd, found.st_size)) if inode is None else []
    if found.st_size != size:
        os.ftruncate(fd, size)
    return Target(fd, size, had, size, False)


def _need_ours(directory: str, found: os.stat_result) -> None:
    """Nobody else may be able to plant a link in the directory."""
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Refused(
            f"{directory} belongs to user {found.st_uid} with mode {found.st_mode & 0o7777:o}, "
            f"not to user {os.geteuid()} with mode 700"
        )


def _make_directories(directory: str, parents: "list[list[Any]]") -> None:
    """Make the staging directory, and what is missing above it as the original's directories are."""
    above = os.path.dirname(directory)
    missing = []
    while above and not os.path.lexists(above):
        missing.append(above)
        above = os.path.dirname(above)
    for number in range(len(missing) - 1, -1, -1):
        os.mkdir(missing[number], 0o755)
        if number < len(parents):
            user, group, mode = parents[number][:2], parents[number][2:4], int(parents[number][4])
            os.chown(missing[number], *owner_ids(user, group))
            os.chmod(missing[number], mode)
    with suppress(FileExistsError):
        os.mkdir(directory, 0o700)


def owner_of(found: os.stat_result) -> "list[Any]":
    """Return user and group, each by name and number."""
    with suppress(KeyError):
        return [pwd.getpwuid(found.st_uid).pw_name, found.st_uid, *_group(found.st_gid)]
    return ["", found.st_uid, *_group(found.st_gid)]


def _group(gid: int) -> "list[Any]":
    with suppress(KeyError):
        return [grp.getgrgid(gid).gr_name, gid]
    return ["", gid]


def owner_ids(user: "list[Any]", group: "list[Any]") -> "tuple[int, int]":
    """Return the numbers here: by name, for numbers differ from host to host; by number where the name is unknown."""
    uid, gid = int(user[1]), int(group[1])
    with suppress(KeyError):
        uid = pwd.getpwnam(str(user[0])).pw_uid
    with suppress(KeyError):
        gid = grp.getgrnam(str(group[0])).gr_gid
    return uid, gid


def expel(path: str, session: str, stream: str, generation: int) -> None:
    """End older receivers of this file: what they still have in hand would be written over what comes now.

    Raises Refused when a newer session has the file.
    """
    for pid, theirs in _receivers(path):
        if theirs[0] > session:
            raise Refused(f"{path} is being copied by a newer attempt (process {pid})")
        if theirs[0] < session or (theirs[1] == stream and int(theirs[2]) < generation):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _receivers(path: str) -> "list[tuple[int, list[str]]]":
    """Return pid and (session, stream, generation) of the receivers of a path on this host, but for this one."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as file:
            words = os.fsdecode(file.read()).split("\0")[:-1]
            # The interpreter itself, not a shell that is about to start one.
            if len(words) > 5 and words[-5] == MARK and words[-1] == path and "python" in os.path.basename(words[0]):
                found.append((int(entry), words[-4:-1]))
    return found


def hold(target: Target) -> None:
    """Show others that this file is being written; `seal` waits for all such locks to be gone."""
    fcntl.flock(target.fd, fcntl.LOCK_SH)


def seal(target: Target, path: str, session: str) -> None:
    """Make sure that nobody else writes to the file any more; raises Refused when that cannot be had."""
    deadline = time.monotonic() + _EXPEL_S
    while True:
        try:
            fcntl.flock(target.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        if time.monotonic() > deadline:
            raise Refused(f"{path} is still open in another receiver after {_EXPEL_S:.0f} s")
        if time.monotonic() > deadline - _EXPEL_S / 2:
            for pid, theirs in _receivers(path):
                if theirs[0] <= session:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def finish(target: Target, order: "dict[str, Any]") -> None:
    """Give the file its mode and, where asked, its owner, and make all of it durable."""
    if not target.is_device:
        owner = order.get("owner")
        if isinstance(owner, list):
            os.fchown(target.fd, *owner_ids(owner[:2], owner[2:4]))
        os.fchmod(target.fd, int(order["mode"]))
        if os.fstat(target.fd).st_size != target.size:
            raise Refused("the copy has another size than it was given")
    os.fsync(target.fd)
