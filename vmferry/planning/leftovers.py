"""Files that are named after a run, with what the journal has of them; and what an image's header builds on."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from vmferry.model.audit import FileKind
from vmferry.model.disks import FileCopy
from vmferry.model.effects import Effect, FileMade, FileSetAside
from vmferry.model.facts import StoredFile
from vmferry.model.purge import KnownRun, PurgeEvidence
from vmferry.planning.mirroring import mirrored_copies
from vmferry.planning.orphans import left_by_run
from vmferry.planning.places import Key, Places


@dataclass(frozen=True)
class Left:
    """A file found on a host, and what the journal has of it."""

    host: str
    file: StoredFile
    kind: FileKind
    run: str
    known: KnownRun | None

    @cached_property
    def former(self) -> str | None:
        """Its name before it was set aside, by the journal; None where no row tells of it."""
        here = (self.host, self.file.path)
        return next((e.path for e in self._effects if isinstance(e, FileSetAside) and (e.host, e.aside) == here), None)

    @cached_property
    def is_in_journal(self) -> bool:
        """Whether the run wrote down that it would make this very file on this host."""
        if self.kind is FileKind.SET_ASIDE:
            return self.former is not None
        here = (self.host, self.file.path)
        return any(isinstance(e, FileMade) and (e.host, e.path) == here for e in self._effects)

    @property
    def _effects(self) -> Iterator[Effect | None]:
        return (row.effect for row in (self.known.rows if self.known else ()))

    @property
    def copy(self) -> FileCopy | None:
        """The copy that was made of it."""
        if self.known is None or self.former is None:
            return None
        plan = self.known.record.plan
        return next((c for c in (*plan.files, *mirrored_copies(plan)) if c.source_path == self.former), None)


def found_files(evidence: PurgeEvidence, places: Places) -> list[Left]:
    """Return the files once each: under the host of the journal's row where several hosts see one file."""
    found: list[Left] = []
    for listing in evidence.listings:
        for file in listing.files:
            if listing.host in places.fleet.sides and (named := left_by_run(file.path)) is not None:
                found.append(Left(listing.host, file, *named, evidence.runs.get(named[1])))
    found.sort(key=lambda left: not left.is_in_journal)
    seen, once = set[Key](), []
    for left in found:
        keys = places.keys(left.host, left.file.path)
        if seen.isdisjoint(keys):
            once.append(left)
        seen |= keys
    return sorted(once, key=lambda left: (left.host, left.file.path))


def backing_path(image: str, text: str) -> str | None:
    """Return the path that an image's header names; None where it is no path (`json:…`, `nbd://…`).

    As QEMU reads it (block.c, path_has_protocol): a colon before the first slash ends the name of a protocol.
    """
    if text.startswith("file:"):
        text = text.removeprefix("file:")
        text = "/" + text.lstrip("/") if text.startswith("//") else text
    if ":" in text.partition("/")[0]:
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(image), text))
