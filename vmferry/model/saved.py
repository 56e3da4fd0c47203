"""What is written down of an evacuation while it runs, so that another window, on any machine, goes on with it."""

from __future__ import annotations

from vmferry.model.base import Model
from vmferry.model.evacuation import EvacuationRequest, Move


class SavedEvacuation(Model):
    """The request and the plan's moves; the snapshot is not kept: it is read anew."""

    request: EvacuationRequest
    moves: tuple[Move, ...]
    runs: int = 1  # how many runs have worked on it
