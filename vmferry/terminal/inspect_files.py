"""Read domain XML from files that somebody else wrote: regular files of a bounded size, nothing that blocks."""

from __future__ import annotations

import os
import stat
import sys

from vmferry.domxml.parse import MAX_BYTES
from vmferry.errors import InvalidInput

STDIN = "-"
_HOW = "give the file's path, or - and the XML on stdin"


def read_xml(file: str) -> bytes:
    """Return the content of a file, of stdin for `-`; never more than `MAX_BYTES`. Raises InvalidInput: why not."""
    try:
        content = _read_stdin() if file == STDIN else _read_file(file)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        raise InvalidInput(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > MAX_BYTES:
        raise _too_large(f"more than {MAX_BYTES}")
    return content


def shown_name(file: str) -> str:
    """Return a path as text that can be written anywhere: bytes that are no UTF-8 as `\\xff`."""
    return os.fsencode(file).decode("utf-8", errors="backslashreplace")


def _read_stdin() -> bytes:
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def _read_file(file: str) -> bytes:
    # Non-blocking: opening a pipe that nobody writes to would wait for ever.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        facts = os.fstat(descriptor)
        if stat.S_ISDIR(facts.st_mode):
            raise InvalidInput(f"is a directory; name the files in it: {shown_name(file).rstrip('/')}/*.xml")
        if not stat.S_ISREG(facts.st_mode):
            raise InvalidInput(f"is no regular file; {_HOW}")
        if facts.st_size > MAX_BYTES:
            raise _too_large(str(facts.st_size))
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def _too_large(size: str) -> InvalidInput:
    return InvalidInput(f"has {size} bytes; domain XML of more than {MAX_BYTES} bytes is not read")
