"""Probes of guests, compared before and after a move. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def went_silent(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Return the probes that were answered before and are not any more, each with what was said.

    Both map a probe's words to what was wrong, empty when it was answered. What was wrong before is not held against
    the move.
    """
    return tuple(f"{probe}: {after[probe]}" for probe, wrong in before.items() if not wrong and after.get(probe))
