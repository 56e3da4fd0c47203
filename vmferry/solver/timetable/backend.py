"""Compiled kernels for large problems, the same functions interpreted for small ones and where numba is missing.

Both give equal results. A small plan does not pay for importing numba. numba's cache looks at the file of the compiled
function alone, so the directory of the machine code is named by a hash of all sources that have a part in it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vmferry.solver.timetable import decode, search

# Jobs times tries that are interpreted sooner than numba is imported and its code is loaded.
INTERPRETED = 3_000


def kernels_for(work: int) -> Any:
    """Return `decode` and `improve` for so many jobs times tries."""
    return interpreted() if work <= INTERPRETED else compiled() or interpreted()


@cache
def interpreted() -> Any:
    """Return the kernels as they are written."""
    return SimpleNamespace(decode=decode.decode, improve=search.improve)


@cache
def compiled() -> Any:
    """Return the kernels compiled at their first call; None where numba cannot be imported."""
    try:
        import numba
        from numba.extending import register_jitable
    except ImportError:
        return None
    for function in (*decode.INNER, decode.decode, decode.empty_times, *search.INNER):
        register_jitable(function)
    config: Any = numba.config
    before = config.CACHE_DIR
    config.CACHE_DIR = str(_room(numba.__version__))
    try:
        return SimpleNamespace(decode=_compile(numba.njit, decode.decode), improve=_compile(numba.njit, search.improve))
    finally:
        config.CACHE_DIR = before


def _compile(njit: Callable[..., Any], function: Callable[..., Any]) -> Any:
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba: "no locator available": the directory cannot be written
        return njit(nogil=True)(function)


def _room(version: str) -> Path:
    """Return the directory for the machine code of these very sources."""
    texts = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    stamp = hashlib.sha256(b"".join(texts)).hexdigest()[:16]
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / f"vmferry-timetable-{version}-{stamp}"
