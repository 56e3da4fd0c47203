"""A journal that stops its writer at a row: so that a fault strikes where it is said to strike."""

from __future__ import annotations

import threading
from typing import Any

from vmferry.model.effects import Effect
from vmferry.model.journal import Mark
from vmferry.steps.names import RESUME_INTENT, StepName

_HELD_S = 90.0


class Gate:
    """Wraps a journal: the writer of the row that `at` names waits behind it, until `open`."""

    def __init__(self, journal: Any, *, at: str = "") -> None:
        self._journal = journal
        self.at = at
        self.reached = threading.Event()
        self._opened = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def write(self, run: str, step: str, mark: Mark, effect: Effect | None = None, note: str = "") -> None:
        self._journal.write(run, step, mark, effect, note)
        if self.at and not self.reached.is_set() and is_at(self.at, step, mark, note):
            self.reached.set()
            self._opened.wait(_HELD_S)

    def open(self) -> None:
        self._opened.set()


HANDOVER, FINISH = "hand-over", "finish"


def is_at(name: str, step: str, mark: Mark, note: str) -> bool:
    """Whether a row begins the phase: the intent to let the copy run, or the intent to verify."""
    if name == HANDOVER:
        return mark is Mark.NOTE and note == RESUME_INTENT
    return step == StepName.VERIFY and mark is Mark.INTENDED
