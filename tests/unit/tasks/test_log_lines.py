"""A run's own log: vmferry's lines pass where Prefect gave them a handler, and only there."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tasks.events import telling


class Kept(logging.Handler):
    """Keeps what it is handed, as Prefect's handler for a server would."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def ours() -> Iterator[logging.Logger]:
    logger = logging.getLogger("vmferry")
    level, handlers = logger.level, list(logger.handlers)
    logger.setLevel(logging.NOTSET)
    yield logger
    logger.setLevel(level)
    logger.handlers = handlers


def test_a_line_per_step_reaches_the_log_that_names_us(ours: logging.Logger) -> None:
    kept = Kept()
    ours.addHandler(kept)
    with telling():
        logging.getLogger("vmferry.steps").info("run 1 vm web1: move done")
    assert kept.lines == ["run 1 vm web1: move done"]


def test_a_level_that_somebody_chose_stays_and_without_a_log_nothing_changes(ours: logging.Logger) -> None:
    ours.handlers = []
    with telling():
        assert ours.level == logging.NOTSET
    ours.addHandler(Kept())
    ours.setLevel(logging.ERROR)
    with telling():
        assert ours.level == logging.ERROR
