"""What moves left behind on hosts, judged file by file, and what became of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from vmferry.model.audit import FileKind, Listing
from vmferry.model.base import Model
from vmferry.model.facts import FileFacts
from vmferry.model.host import FleetSnapshot
from vmferry.model.journal import Row, RunRecord


class KnownRun(Model):
    """What the journal has of one run."""

    record: RunRecord
    rows: tuple[Row, ...] = ()


class PurgeEvidence(Model):
    """Everything that a purge is judged by, read in one phase; all hosts of the inventory, whichever are purged."""

    snapshot: FleetSnapshot
    listings: tuple[Listing, ...]
    runs: dict[str, KnownRun] = Field(default_factory=dict)  # those that files are named after
    # Host → path → facts: the files themselves, their former names, and the copies at the destinations.
    stats: dict[str, dict[str, FileFacts]] = Field(default_factory=dict)
    backing: dict[str, dict[str, str]] = Field(default_factory=dict)  # host → image → what its header builds on
    blind: dict[str, str] = Field(default_factory=dict)  # host → why its files could not be looked at


class Fate(StrEnum):
    """What becomes of a file."""

    KEPT = "kept"
    REMOVABLE = "to remove"
    REMOVED = "removed"
    FAILED = "not removed"


class LeftFile(Model):
    """One file that a run left, or that is named as if; `reason` says why it is kept or could not be removed."""

    kind: FileKind  # SET_ASIDE, STAGED or VOLUME
    host: str
    path: str
    run: str
    vm: str = ""  # empty: the run is not in the journal
    uuid: str = ""
    home: str = ""  # the only host that knows the VM
    copy_path: str = ""  # what the VM uses there instead
    size_bytes: int
    allocated_bytes: int
    seen: FileFacts | None = None  # as it was judged: what is removed must still be that
    fate: Fate = Fate.KEPT
    reason: str = ""


class PurgeReport(Model):
    """All files of the hosts asked for, by host and path; `problems` are hosts that could not be looked at."""

    taken_at: datetime
    older_than_days: float
    files: tuple[LeftFile, ...] = ()
    problems: tuple[str, ...] = ()

    def of(self, *fates: Fate) -> tuple[LeftFile, ...]:
        """Return the files with one of these fates."""
        return tuple(file for file in self.files if file.fate in fates)
