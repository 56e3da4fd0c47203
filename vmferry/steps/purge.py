"""Remove what moves left on hosts: read everything → judge → look once more → remove, each removal in the journal.

The rows stand at the closed run that left the file: INTENDED before, DONE after it. A removal that was broken off needs
no settling: the next purge finds the file, or does not.
"""

from __future__ import annotations

import logging
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from vmferry.errors import InvalidInput, VmferryError
from vmferry.model.audit import Listing
from vmferry.model.effects import FileSetAside, VolumeKept
from vmferry.model.facts import FileFacts
from vmferry.model.host import FleetSnapshot
from vmferry.model.journal import Mark, RunRecord
from vmferry.model.purge import Fate, KnownRun, LeftFile, PurgeEvidence, PurgeReport
from vmferry.model.vm import DomainState
from vmferry.planning.orphans import left_by_run
from vmferry.planning.places import named_paths
from vmferry.planning.purge import judge_files
from vmferry.ports import World
from vmferry.steps.read import read_fleet

logger = logging.getLogger("vmferry.steps")
T = TypeVar("T")

PURGE = "purge"  # the step name of the rows; stable
_ALL = 1_000_000  # runs of a journal
_PARALLEL = 32


def list_left(world: World, hosts: Sequence[str], older_than_days: float) -> PurgeReport:
    """Judge what moves left on these hosts, on all when none is named; reads only. Raises InvalidInput."""
    names = world.inventory.names()
    if unknown := [host for host in hosts if host not in names]:
        raise InvalidInput(f"not in the inventory: {', '.join(unknown)}; `vmferry hosts` shows the hosts")
    evidence = read_evidence(world)
    problems = [f"host {lost.host}: not read: {lost.reason}" for lost in evidence.snapshot.unreachable]
    problems += [f"host {host}: files: {why}" for host, why in evidence.blind.items()]
    return PurgeReport(
        taken_at=evidence.snapshot.taken_at,
        older_than_days=older_than_days,
        files=judge_files(evidence, hosts or names, older_than_days * 86400),
        problems=tuple(problems),
    )


def read_evidence(world: World) -> PurgeEvidence:
    """Read all hosts, the journal, and the files that runs left; a host that fails is `blind` and hides no other."""
    snapshot = read_fleet(world)
    records = {record.run: record for record in world.journal.recent(_ALL)}
    look = _Look(world, snapshot)
    listings = look.at_all(lambda host: look.list_files(host, records.values()))
    named = {left[1] for one in listings.values() for file in one.files if (left := left_by_run(file.path))}
    named |= {run for run, record in records.items() if any(copy.is_device for copy in record.plan.files)}
    runs = {r: KnownRun(record=records[r], rows=world.journal.rows(r)) for r in sorted(named) if r in records}
    asked = _paths_to_stat(listings, runs)
    stats: dict[str, dict[str, FileFacts]] = {}
    backing: dict[str, dict[str, str]] = {}
    if named:
        stats = look.at_all(lambda host: world.tools(host).stat_files(sorted({*asked[host], *look.named(host)})))
        backing = look.at_all(lambda host: world.tools(host).backing_files(look.images(host, listings.get(host))))
    return PurgeEvidence(
        snapshot=snapshot,
        listings=tuple(listings.values()),
        runs=runs,
        stats=stats,
        backing=backing,
        blind=look.blind,
    )


@dataclass(frozen=True)
class _Look:
    """The hosts that were read, asked all at once; `blind` collects those that failed."""

    world: World
    snapshot: FleetSnapshot
    blind: dict[str, str] = field(default_factory=dict)

    def at_all(self, ask: Callable[[str], T]) -> dict[str, T]:
        """Return the answers by host, without those that failed."""
        with ThreadPoolExecutor(max_workers=_PARALLEL, thread_name_prefix="purge") as pool:
            pending = {facts.name: pool.submit(ask, facts.name) for facts in self.snapshot.hosts}
        found: dict[str, T] = {}
        for host, future in pending.items():
            try:
                found[host] = future.result()
            except VmferryError as error:
                self.blind.setdefault(host, str(error))
        return found

    def list_files(self, host: str, records: Iterable[RunRecord]) -> Listing:
        """List the inventory's directories and those that runs of the journal have used."""
        entry = self.world.inventory.find(host)
        directories = [storage.path for storage in (entry.storage if entry else ())]
        for directory in sorted(set(_directories(host, records))):
            if not any(_is_below(directory, known) for known in directories):
                directories.append(directory)
        files = self.world.tools(host).list_files(directories)
        return Listing(host=host, directories=tuple(directories), files=files)

    def named(self, host: str) -> set[str]:
        """Return the paths that the host's domains name."""
        facts = self.snapshot.facts(host)
        return {path for vm in facts.vms for path in named_paths(vm, facts)} if facts is not None else set()

    def images(self, host: str, listing: Listing | None) -> list[str]:
        """Return every file that may be an image: what lies about, and what domains name wherever it lies."""
        return sorted(self.named(host) | {file.path for file in (listing.files if listing else ())})


def _directories(host: str, records: Iterable[RunRecord]) -> Iterator[str]:
    for record in records:
        for copy in record.plan.files:
            if record.plan.source == host:
                yield posixpath.dirname(copy.source_path)
            if record.plan.dest == host:
                yield posixpath.dirname(copy.dest_path)


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _paths_to_stat(listings: Mapping[str, Listing], runs: Mapping[str, KnownRun]) -> Mapping[str, set[str]]:
    """Return host → the files themselves, their former names, and the copies at the destinations."""
    asked: defaultdict[str, set[str]] = defaultdict(set)
    for host, listing in listings.items():
        asked[host] |= {file.path for file in listing.files if left_by_run(file.path) is not None}
    for known in runs.values():
        plan = known.record.plan
        asked[plan.dest] |= {copy.dest_path for copy in plan.files}
        effects = (row.effect for row in known.rows)
        for effect in (e for e in effects if isinstance(e, FileSetAside | VolumeKept)):
            asked[effect.host].add(effect.path)
    return asked


def remove_left(file: LeftFile, world: World) -> LeftFile:
    """Look once more at a file that was judged removable, and remove it; return what became of it.

    What a host does wrong is told in the result. Raises only when the journal fails: without a record nothing goes.
    """
    if any(str(record.plan.uuid) == file.uuid for record in world.journal.unsettled()):
        return _ended(file, Fate.KEPT, f"a run of vm {file.vm} was opened meanwhile")
    try:
        changed = _changed(file, world, world.journal.find(file.run))
    except VmferryError as error:
        return _ended(file, Fate.FAILED, f"it could not be looked at again: {error}")
    if changed:
        return _ended(file, Fate.KEPT, changed)
    world.journal.write(file.run, PURGE, Mark.INTENDED, note=f"remove {_words(file)}")
    try:
        world.tools(file.host).remove_file(file.path)
    except VmferryError as error:
        world.journal.write(file.run, PURGE, Mark.NOTE, note=f"not removed, {_words(file)}: {error}")
        return _ended(file, Fate.FAILED, str(error))
    world.journal.write(file.run, PURGE, Mark.DONE, note=f"removed {_words(file)}")
    return _ended(file, Fate.REMOVED, "")


def _ended(file: LeftFile, fate: Fate, reason: str) -> LeftFile:
    level = logging.ERROR if fate is Fate.FAILED else logging.INFO
    logger.log(level, "run %s vm %s: %s: %s %s", file.run, file.vm, _words(file), fate, reason)
    return file.model_copy(update={"fate": fate, "reason": reason})


def _words(file: LeftFile) -> str:
    return f"{file.host}:{file.path} ({file.size_bytes} bytes, {file.allocated_bytes} on disk)"


def _changed(file: LeftFile, world: World, record: RunRecord) -> str:
    """Say what is no longer as it was judged: the file, where the VM is, its copy, who names the file."""
    tools, plan = world.tools(file.host), record.plan
    if file.seen is None or tools.stat_files([file.path]).get(file.path) != file.seen:
        return "it changed since it was judged"
    listed = tools.list_files([posixpath.dirname(file.path)])
    if file.path not in {found.path for found in listed}:
        return "it is no regular file any more"  # stat follows symbolic links, this does not
    for host in dict.fromkeys((file.home, plan.source, plan.dest)):
        seen = world.hypervisor(host).look(plan.uuid)
        if not seen.is_reachable or (seen.state is DomainState.ABSENT) is (host == file.home):
            return f"vm {file.vm} is {seen.words()} on {host} now"
    if file.copy_path and file.copy_path not in world.tools(file.home).stat_files([file.copy_path]):
        return f"its copy {file.home}:{file.copy_path} is gone"
    return _named_now(file, file.seen, world)


def _named_now(file: LeftFile, seen: FileFacts, world: World) -> str:
    """Say which domain of the file's host names it now, be it through a link."""
    facts = world.hypervisor(file.host).read_host()
    named = {path: vm.name for vm in facts.vms for path in named_paths(vm, facts)}
    found = world.tools(file.host).stat_files(list(named))
    users = [named[p] for p, other in found.items() if other.model_copy(update={"path": seen.path}) == seen]
    return f"vm {users[0]} on {file.host} names it now" if users else ""
