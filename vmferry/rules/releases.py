"""Moves between releases that a vendor supports, as data: Table 9.2 of the reference; others may stand beside it.

How the table is read (docs/decisions/0012 tells why):

- Its first column, lost in our copy of the chapter, is forward, backward, forward, backward: the table of the same
  title in the RHEL 6 guide (Virtualization Administration Guide, Table 4.1) has it, and the examples agree.
- An example is a rule: `8.1` is release 8.1 alone, `7.6+` any 7.x from 7.6 on, `8.0.1+` any 8.x from 8.0.1 on. What
  no row holds is not supported, 8.2 → 8.1 for one.
- "On supported RHEL 7 systems" cannot mean hosts in the rows of minor releases, where both hosts run RHEL 8, and
  "RHEL 7.6.0" is how machine types are numbered (pc-i440fx-rhel7.6.0). So a note speaks of the system whose machine
  type the VM has; where a row has no note for that system, the note for the source's system counts (8.1 → 7.6+, where
  only machine types of RHEL 7 can go back).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cache, cached_property

from vmferry.model.host import Profile
from vmferry.rules.machines import family, rhel_release

_SPEC = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,4})*)(\+?)")


class Holds(IntEnum):
    """Whether something is true of a release that is known to a point only: 8.0 may be 8.0.0 or 8.0.1."""

    NO = 0
    PERHAPS = 1
    YES = 2


@dataclass(frozen=True)
class Releases:
    """All releases from `first` up to `end`, which is not one of them: 8.1 is (8, 1) to (8, 2)."""

    first: tuple[int, ...]
    end: tuple[int, ...]

    def include(self, other: Releases) -> Holds:
        """Tell whether `other` is one of these: surely, perhaps (a part of it is), or not."""
        if self.first <= other.first and other.end <= self.end:
            return Holds.YES
        return Holds.PERHAPS if max(self.first, other.first) < min(self.end, other.end) else Holds.NO


@cache
def parse_releases(text: str) -> Releases:
    """Read `8.1` (8.1 and its updates) or `8.1+` (from 8.1 on, the same major release).

    Raises: ValueError when it is neither.
    """
    match = _SPEC.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no release like 8.1 or 8.0.1+")
    first = tuple(int(part) for part in match[1].split("."))
    kept = first[:1] if match[2] else first
    return Releases(first, (*kept[:-1], kept[-1] + 1))


class Direction(StrEnum):
    """Column "migration method": to a later or to an earlier release."""

    FORWARD = "forward"
    BACKWARD = "backward"


class ReleaseType(StrEnum):
    """Column "release type"."""

    MAJOR = "major"
    MINOR = "minor"


@dataclass(frozen=True)
class Note:
    """A sentence of the column "support status": machine types of RHEL `system` that are supported, from `since` on."""

    system: int
    families: tuple[str, ...]
    since: str = ""

    def supports(self, machine: str) -> bool:
        """Whether the machine type is one of them; a name that tells no release is judged by its family."""
        release = rhel_release(machine)
        is_late_enough = not self.since or release is None or release >= parse_releases(self.since).first
        return family(machine) in self.families and is_late_enough

    def __str__(self) -> str:
        since = f" from {self.since} on" if self.since else ""
        return f"{' and '.join(self.families)} of RHEL {self.system}{since}"


@dataclass(frozen=True)
class Row:
    """One supported path; `path` as the table writes it: "8.0.1+ → 8.1+"."""

    direction: Direction
    release_type: ReleaseType
    path: str
    notes: tuple[Note, ...]

    @cached_property
    def ends(self) -> tuple[Releases, Releases]:
        """The releases of source and destination."""
        source, _, dest = self.path.partition(" → ")
        return parse_releases(source), parse_releases(dest)

    def holds(self, source: Releases, dest: Releases) -> Holds:
        """Tell whether a move between these releases is this row's."""
        direction = Direction.FORWARD if source.first < dest.first else Direction.BACKWARD
        kind = ReleaseType.MINOR if source.first[0] == dest.first[0] else ReleaseType.MAJOR
        if (direction, kind) != (self.direction, self.release_type):
            return Holds.NO
        return min(self.ends[0].include(source), self.ends[1].include(dest))

    def supports(self, machine: str, source: Releases) -> bool:
        """Whether a VM with this machine type may take the path."""
        release = rhel_release(machine)
        if release is None:
            return any(note.supports(machine) for note in self.notes)
        by_system = {note.system: note for note in self.notes}
        note = by_system.get(release[0]) or by_system.get(source.first[0])
        return note is not None and note.supports(machine)


@dataclass(frozen=True)
class CompatibilityTable:
    """A vendor's table of supported paths between releases of one system (`ID` of os-release), for one profile."""

    name: str
    profile: Profile
    system: str
    rows: tuple[Row, ...]


_BOTH = ("i440fx", "q35")
TABLE_9_2 = CompatibilityTable(
    name="Table 9.2",
    profile=Profile.RHEL8,
    system="rhel",
    rows=(
        Row(Direction.FORWARD, ReleaseType.MAJOR, "7.6+ → 8.1", (Note(7, _BOTH),)),
        Row(Direction.BACKWARD, ReleaseType.MAJOR, "8.1 → 7.6+", (Note(8, _BOTH),)),
        Row(Direction.FORWARD, ReleaseType.MINOR, "8.0.1+ → 8.1+", (Note(7, _BOTH, "7.6.0"), Note(8, ("q35",)))),
        Row(Direction.BACKWARD, ReleaseType.MINOR, "8.1 → 8.0.1", (Note(7, _BOTH), Note(8, ("q35",)))),
    ),
)
# A further table is one entry here.
TABLES: tuple[CompatibilityTable, ...] = (TABLE_9_2,)
