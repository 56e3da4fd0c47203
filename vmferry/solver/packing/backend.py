"""Compiled kernels for large problems, the same functions interpreted for small ones and where numba is missing.

Both give equal results. A small plan does not pay for importing numba, and none pays twice for compiling: machine code
is kept beside the module, or in the user's own cache directory where that cannot be written, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

from vmferry.solver.packing import ejection, evenness, kernels, relief

# Comparisons that are interpreted sooner than numba is imported and its code is loaded: some 0.2 s.
_INTERPRETED = 60_000
_OUTER: tuple[Callable[..., Any], ...] = (
    kernels.has_room,
    kernels.fits,
    kernels.put,
    kernels.take,
    kernels.best_host,
    kernels.place_all,
    ejection.make_room,
    evenness.best_moves,
    relief.shed,
)
_INNER = (*kernels.INNER, *ejection.INNER, *evenness.INNER, *relief.INNER)


def kernels_for(size: int) -> Any:
    """Return the kernels for a problem of so many comparisons (`Board.size`)."""
    return interpreted() if size <= _INTERPRETED else compiled() or interpreted()


@cache
def interpreted() -> Any:
    """Return the kernels as they are written."""
    return SimpleNamespace(**{function.__name__: function for function in _OUTER})


@cache
def compiled() -> Any:
    """Return the kernels compiled at their first call; None where numba cannot be imported."""
    try:
        from numba import njit
        from numba.extending import register_jitable
    except ImportError:
        return None
    for function in _INNER:
        register_jitable(function)
    return SimpleNamespace(**{function.__name__: _compile(njit, function) for function in _OUTER})


def _compile(njit: Callable[..., Any], function: Callable[..., Any]) -> Any:
    try:
        return njit(cache=True)(function)
    except RuntimeError:  # numba: "no locator available": neither the package nor the user's cache can be written
        return njit(function)
