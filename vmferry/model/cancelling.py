"""What becomes of moves that run when their operation is cancelled."""

from __future__ import annotations

from enum import StrEnum


class OnCancel(StrEnum):
    """What an operator picks; in post-copy there is no way back, so such a move is finished in any case."""

    FINISH = "finish"
    ABORT = "abort"
