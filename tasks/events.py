"""Tell events to Prefect, for its automations, and to a file, for whoever has no Prefect server.

Never blocks a move and never fails one: a thread of its own tells, and an event that cannot be told is logged.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.events import Event as PrefectEvent
from prefect.events import RelatedResource, emit_event

from tasks._wiring import settings
from tasks.telling import Teller, Told
from vmferry.errors import InvalidInput
from vmferry.progress import Event, listening

logger = logging.getLogger("vmferry.events")
Sink = Callable[[Told], None]


class PrefectSink:
    """Prefect's event feed; it adds the flow run, its deployment and its tags by itself."""

    def __init__(self) -> None:
        self._last: dict[str, PrefectEvent] = {}  # subject → event: automations know the order although clocks jump

    def __call__(self, told: Told) -> None:
        """Hand an event to Prefect's own thread."""
        labels = {
            f"vmferry.{key}": told.payload[key]
            for key in ("run", "policy", "mode", "has_stranded")
            if key in told.payload
        }
        labels |= {f"vmferry.{role}": host for role, host in told.hosts.items()}
        related = [
            RelatedResource({"prefect.resource.id": f"vmferry.host.{host}", "prefect.resource.role": role})
            for role, host in told.hosts.items()
            if f"host.{host}" != told.subject
        ]
        emitted = emit_event(
            told.name,
            resource={"prefect.resource.id": f"vmferry.{told.subject}", "prefect.resource.name": told.title, **labels},
            occurred=told.at,
            related=related,
            payload=told.payload,
            follows=self._last.get(told.subject),
        )
        if emitted is not None:
            self._last[told.subject] = emitted


class FileSink:
    """A file that gets a line of JSON per event; opened anew for each, so that it may be rotated."""

    def __init__(self, path: Path) -> None:
        self._path = path.expanduser().absolute()
        try:
            self._append("")
        except OSError as error:
            raise InvalidInput(
                f"VMFERRY_EVENTS_FILE={self._path}: cannot be written: {error.strerror}; nothing was touched; make its "
                "directory, or name another file"
            ) from error

    def __call__(self, told: Told) -> None:
        """Write one line."""
        line = {"time": told.at.isoformat(), "event": told.name, "resource": f"vmferry.{told.subject}"}
        self._append(json.dumps(line | {"payload": told.payload}, ensure_ascii=False) + "\n")

    def _append(self, text: str) -> None:
        # One write to a file opened for appending: lines of several processes do not mix.
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.write(file, text.encode())
        finally:
            os.close(file)


@contextmanager
def telling() -> Iterator[None]:
    """Tell the block's events, and its log lines where the run has a log on a server.

    Raises InvalidInput, before anything is touched, when the file cannot be written.
    """
    _let_our_lines_through()
    teller = Teller()
    path = settings().events_file
    sinks: list[Sink] = [PrefectSink(), *([FileSink(path)] if path is not None else [])]

    def listen(event: Event) -> None:
        told = teller.tell(event)
        for sink in sinks if told is not None else ():
            assert told is not None
            try:
                sink(told)
            except Exception as error:
                logger.warning("event %s of %s was not told: %s", told.name, told.title, error)

    with listening(listen):
        yield


def _let_our_lines_through() -> None:
    """Let a line per step pass where PREFECT_LOGGING_EXTRA_LOGGERS names us.

    Prefect gives such a logger a handler and no level (3.8.8): only warnings would pass.
    """
    ours = logging.getLogger("vmferry")
    if ours.handlers and ours.level == logging.NOTSET:
        ours.setLevel(logging.INFO)
