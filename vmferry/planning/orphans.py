"""Files below the inventory's storage directories that no domain names, vmferry's own told apart."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from vmferry.model.audit import FileKind, Listing, OrphanFile
from vmferry.model.facts import StoredFile
from vmferry.planning.movability import unread_hosts
from vmferry.planning.places import Key, Places, named_paths, sees, unplaced_volumes
from vmferry.rules.case import Fleet, Side

# As vmferry.steps.forward names them: staging_path, aside_path.
_STAGED = re.compile(r"/\.vmferry-(?P<run>[^/]+)/[^/]+$")
_ASIDE = re.compile(r"\.vmferry-moved-(?P<run>[^/]+)$")
_MEDIA = (".iso", ".vfd", ".flp")
_YOUNG_S = 3600  # an image is made before the domain that names it


def find_orphans(fleet: Fleet, listings: Sequence[Listing]) -> tuple[OrphanFile, ...]:
    """Return the files that no domain names, each once, by kind and then largest first.

    A host that was not read, or a domain that could not be, may name any file that it sees: such files are UNDECIDED,
    never called leftovers.
    """
    places, seen = Places(fleet), set[Key]()
    users = Users(places)
    found: list[OrphanFile] = []
    for listing in listings:
        for file in listing.files:
            keys = places.keys(listing.host, file.path)
            if seen.isdisjoint(keys) and not users.names(listing.host, file.path, keys):
                found.append(_classify(users, listing.host, file))
            seen |= keys
    order = list(FileKind)
    return tuple(sorted(found, key=lambda f: (order.index(f.kind), -f.allocated_bytes, f.host, f.path)))


def left_by_run(path: str) -> tuple[FileKind, str] | None:
    """Return SET_ASIDE or STAGED, and the run, for a file that vmferry names so; None for every other."""
    match = _STAGED.search(path) or _ASIDE.search(path)
    if match is None:
        return None
    return FileKind.SET_ASIDE if match.re is _ASIDE else FileKind.STAGED, match["run"]


@dataclass(frozen=True)
class Users:
    """Who names which place, and who may name one without our knowing."""

    places: Places

    @cached_property
    def named(self) -> frozenset[Key]:
        """Every key of every path that a domain names."""
        fleet, places = self.places.fleet, self.places
        return frozenset(
            key
            for host, side in fleet.sides.items()
            for path in {path for vm in side.facts.vms for path in named_paths(vm, side.facts)}
            for key in places.keys(host, path)
        )

    @cached_property
    def same_path(self) -> dict[str, tuple[str, ...]]:
        """Path → hosts with a domain that names it."""
        found: dict[str, list[str]] = {}
        for host, side in self.places.fleet.sides.items():
            for path in {path for vm in side.facts.vms for path in named_paths(vm, side.facts)}:
                found.setdefault(path, []).append(host)
        return {path: tuple(hosts) for path, hosts in found.items()}

    @cached_property
    def unknown(self) -> dict[str, tuple[str, ...]]:
        """Host → why its domains may name more than is known."""
        return {host: tuple(_unknown(side)) for host, side in self.places.fleet.sides.items()}

    @cached_property
    def volumes(self) -> frozenset[str]:
        """Names of volumes that lie nobody knows where."""
        sides = self.places.fleet.sides.values()
        return frozenset(name for s in sides for vm in s.facts.vms for name in unplaced_volumes(vm, s.facts))

    @cached_property
    def homes(self) -> dict[str, tuple[str, str]]:
        """Name of a VM → (name, host): a file is often named after its VM."""
        return {vm.name: (vm.name, host) for host, side in self.places.fleet.sides.items() for vm in side.facts.vms}

    def names(self, host: str, path: str, keys: frozenset[Key]) -> bool:
        """Whether a domain names the file or a directory above it."""
        if not self.named.isdisjoint(keys):
            return True
        return any(not self.named.isdisjoint(self.places.keys(host, above)) for above in _above(path))

    def why_undecided(self, host: str, path: str) -> str:
        """Say who may name the file without our knowing; empty when nobody."""
        return "; ".join(dict.fromkeys(self._doubts(host, path)))

    def _doubts(self, host: str, path: str) -> Iterator[str]:
        fleet, group = self.places.fleet, self.places.group(host, path)
        is_local = self.places.is_local(host, path)
        for lost in unread_hosts(fleet):
            entry = fleet.snapshot.inventory.find(lost.host)
            is_seen = entry is not None and any(s.shared == group for s in entry.storage) if group else not is_local
            if is_seen:
                yield f"{lost.host} was not read"
        for name, side in fleet.sides.items():
            if name == host or (sees(side, group) if group else not is_local):
                yield from self.unknown[name]
        if posixpath.basename(path) in self.volumes:
            yield "a volume of that name lies in a pool without paths"
        if not is_local and group is None:
            for other in self.same_path.get(path, ()):
                yield f"{other} uses the same path, and nobody proved that it is another file"


def _unknown(side: Side) -> Iterator[str]:
    for vm in side.facts.vms:
        if not vm.is_readable:
            yield f"the XML of vm {vm.name} on {side.name} could not be read"
        elif not all(disk.is_chain_known for disk in vm.disks):
            yield f"what the images of vm {vm.name} on {side.name} build on could not be read"


def _above(path: str) -> Iterator[str]:
    while (path := posixpath.dirname(path)) not in ("/", ""):
        yield path


def _classify(users: Users, host: str, file: StoredFile) -> OrphanFile:
    """Say what a file is that no domain names."""
    snapshot = users.places.fleet.snapshot
    age_s = snapshot.taken_at.timestamp() - file.modified_at_s if file.modified_at_s else None
    kind, run, detail = FileKind.LEFTOVER, None, ""
    if left := left_by_run(file.path):
        kind, run = left
        if run in snapshot.open_runs.values():
            kind, detail = FileKind.IN_WORK, f"run {run} is open or held: `vmferry recover` settles it"
    elif detail := users.why_undecided(host, file.path):
        kind = FileKind.UNDECIDED
    elif file.path.lower().endswith(_MEDIA):
        kind = FileKind.MEDIA
    else:
        detail = _hint(users, file.path, age_s)
    return OrphanFile(
        kind=kind,
        host=host,
        path=file.path,
        group=users.places.group(host, file.path),
        size_bytes=file.size_bytes,
        allocated_bytes=file.allocated_bytes,
        modified_at_s=file.modified_at_s,
        run=run,
        detail=detail,
    )


def _hint(users: Users, path: str, age_s: float | None) -> str:
    """Say what speaks for looking twice: a young file, or one named after a VM."""
    hints = []
    if age_s is not None and age_s < _YOUNG_S:
        hints.append("changed within the last hour: perhaps its domain is not defined yet")
    name = posixpath.basename(path)
    home = users.homes.get(name.partition(".")[0]) or users.homes.get(posixpath.splitext(name)[0])
    if home is not None:
        hints.append(f"named like vm {home[0]} on {home[1]}")
    return "; ".join(hints)
