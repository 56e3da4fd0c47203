"""Compile kernels once per version of their sources, and keep the machine code where it may be written.

numba's own cache looks at the file of the compiled function only, not at the functions it calls from other files, and
fails
at import where neither the package nor the user's cache directory can be written. So the directory's name holds a
hash of the
kernels' sources, it is never inside the package, and without a writable one the kernels are compiled in every process.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])

# Every sum is of whole numbers that a double holds exactly, so that their order may change and nothing else does.
_FAST = {"reassoc", "contract", "nsz"}
# `_nrt`: no counting of references to arrays, half of the time of a step. So no kernel may make an array.
_HOW: dict[str, Any] = {"nogil": True, "fastmath": _FAST, "_nrt": False}


def kernel(function: _Kernel) -> _Kernel:
    """Compile a function at its first call, without Python's lock, and keep the machine code if that is possible."""
    room = cache_room()
    if room is None:
        return numba.njit(**_HOW)(function)  # type: ignore[no-any-return]
    config: Any = numba.config
    before, config.CACHE_DIR = config.CACHE_DIR, str(room)
    try:
        return numba.njit(**_HOW, cache=True)(function)  # type: ignore[no-any-return]
    finally:
        config.CACHE_DIR = before


def inlined(function: _Kernel) -> _Kernel:
    """Compile a function into its callers: a call would put every array of tables and state on the stack."""
    return numba.njit(**_HOW, forceinline=True)(function)  # type: ignore[no-any-return]


@cache
def cache_room() -> Path | None:
    """Return the directory for machine code of these very sources, made if need be; None if none can be written.

    In order: NUMBA_CACHE_DIR, XDG_CACHE_HOME or ~/.cache, the directory of temporary files. Machine code is executed,
    so a directory that somebody else owns or may write is not used.
    """
    for base in _bases():
        room = base / f"vmferry-kernels-{numba.__version__}-{_sources()}"
        try:
            room.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_ours(room):
                with tempfile.TemporaryFile(dir=room):
                    return room
        except OSError:
            continue
    return None


def _bases() -> list[Path]:
    bases = [Path(given) for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME") if (given := os.environ.get(name))]
    with suppress(RuntimeError):  # no home directory
        bases.append(Path.home() / ".cache")
    return [*bases, Path(tempfile.gettempdir()) / f"vmferry-{os.getuid()}"]


def _is_ours(room: Path) -> bool:
    found = room.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _sources() -> str:
    """Return a hash of every source that has a part in the machine code: the kernels, and the layout they read."""
    texts = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    parts = [text for text in texts if b"@kernel" in text or b"NamedTuple" in text]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]
