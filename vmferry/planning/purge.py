"""Which files that moves left may go: judged on what was read, and kept whenever anything is in doubt.

A purge that removes the only copy is the worst that can happen, so a file goes only when everything speaks for it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from vmferry.model.audit import FileKind
from vmferry.model.facts import FileFacts
from vmferry.model.journal import RunRecord, RunState
from vmferry.model.migration import OutcomeKind
from vmferry.model.purge import Fate, LeftFile, PurgeEvidence
from vmferry.model.vm import Vm
from vmferry.planning.kept_volumes import judge_volumes
from vmferry.planning.leftovers import Left, backing_path, found_files
from vmferry.planning.movability import unread_hosts
from vmferry.planning.orphans import Users
from vmferry.planning.places import Key, Places, named_paths
from vmferry.rules.case import Fleet

# Clocks of hosts and of the journal may differ by so much.
_CLOCKS_S = 300.0


def judge_files(evidence: PurgeEvidence, hosts: Iterable[str], older_than_s: float) -> tuple[LeftFile, ...]:
    """Return every file of these hosts that vmferry named after a run, each once, by host and path. Pure.

    With them the devices that VMs left. REMOVABLE, or KEPT with all reasons. A file on shared storage stands under the
    host whose run left it.
    """
    judge = _Judge(evidence, older_than_s)
    wanted = set(hosts)
    files = [judge.judged(left) for left in found_files(evidence, judge.places)]
    files += judge_volumes(evidence, judge.places, judge.named)
    return tuple(sorted((file for file in files if file.host in wanted), key=lambda file: (file.host, file.path)))


@dataclass(frozen=True)
class _Judge:
    evidence: PurgeEvidence
    older_than_s: float

    @cached_property
    def places(self) -> Places:
        return Places(Fleet(self.evidence.snapshot))

    @cached_property
    def users(self) -> Users:
        return Users(self.places)

    @cached_property
    def named(self) -> dict[Key, str]:
        """Place → the first domain that names it, in words."""
        found: dict[Key, str] = {}
        for host, side in self.places.fleet.sides.items():
            for vm in side.facts.vms:
                for path in set(named_paths(vm, side.facts)):
                    for key in self.places.keys(host, path):
                        found.setdefault(key, f"vm {vm.name} on {host}")
        return found

    @cached_property
    def opened(self) -> dict[tuple[str, tuple[int, int, int]], str]:
        """Host and identity of a file → the first domain whose paths lead there, through links and mounts too."""
        found: dict[tuple[str, tuple[int, int, int]], str] = {}
        for host, side in self.places.fleet.sides.items():
            for vm in side.facts.vms:
                for path in dict.fromkeys(named_paths(vm, side.facts)):
                    if (facts := self._stat(host, path)) is not None:
                        found.setdefault((host, _identity(facts)), f"vm {vm.name} on {host} ({path})")
        return found

    @cached_property
    def built_on(self) -> dict[Key, str]:
        """Place → the first image that builds on it, in words."""
        found: dict[Key, str] = {}
        for host, images in self.evidence.backing.items():
            for image, text in images.items():
                if host in self.places.fleet.sides and (path := backing_path(image, text)) is not None:
                    for key in self.places.keys(host, path):
                        found.setdefault(key, f"{image} on {host}")
        return found

    @cached_property
    def homes(self) -> dict[str, dict[str, Vm]]:
        """UUID → host → the domain there."""
        found: dict[str, dict[str, Vm]] = {}
        for host, side in self.places.fleet.sides.items():
            for vm in side.facts.vms:
                found.setdefault(str(vm.uuid), {})[host] = vm
        return found

    def judged(self, left: Left) -> LeftFile:
        doubts = tuple(dict.fromkeys(self._doubts(left)))
        plan = left.known.record.plan if left.known else None
        homes = self.homes.get(str(plan.uuid), {}) if plan else {}
        return LeftFile(
            kind=left.kind,
            host=left.host,
            path=left.file.path,
            run=left.run,
            vm=plan.vm if plan else "",
            uuid=str(plan.uuid) if plan else "",
            home=next(iter(homes)) if len(homes) == 1 else "",
            copy_path=left.copy.dest_path if left.copy else "",
            size_bytes=left.file.size_bytes,
            allocated_bytes=left.file.allocated_bytes,
            seen=self._stat(left.host, left.file.path),
            fate=Fate.KEPT if doubts else Fate.REMOVABLE,
            reason="; ".join(doubts),
        )

    def _stat(self, host: str, path: str) -> FileFacts | None:
        return self.evidence.stats.get(host, {}).get(path)

    def _doubts(self, left: Left) -> Iterator[str]:
        """Yield every reason to keep the file; those of the journal stand alone, for nothing else is known then."""
        known = left.known
        if known is None:
            yield f"run {left.run} is not in this journal: another vmferry may have made it, or nobody"
            return
        record = known.record
        if record.state is not RunState.CLOSED or record.closed_at is None:
            yield f"run {left.run} is {record.state}: `vmferry recover` settles it"
            return
        if not left.is_in_journal:
            yield f"run {left.run} did not leave a file of this name on {left.host}"
            return
        yield from self._unknown(left)
        yield from self._too_young(left, record.closed_at)
        yield from self._vm_doubts(left, record)
        if left.kind is FileKind.SET_ASIDE:
            yield from self._copy_doubts(left, record)
        yield from self._in_use(left)

    def _unknown(self, left: Left) -> Iterator[str]:
        """What was not read may hold anything."""
        yield from (f"{lost.host} was not read" for lost in unread_hosts(self.places.fleet))
        is_local = self.places.is_local(left.host, left.file.path)
        for host, why in self.evidence.blind.items():
            if host == left.host or not is_local:
                yield f"the files of {host} could not be looked at: {why}"
        if self._stat(left.host, left.file.path) is None:
            yield "it could not be looked at"

    def _too_young(self, left: Left, closed_at: datetime) -> Iterator[str]:
        age_s = (self.evidence.snapshot.taken_at - closed_at).total_seconds()
        if age_s < self.older_than_s:
            yield f"its run ended {_span(age_s)} ago, the grace time is {_span(self.older_than_s)}"
        seen = self._stat(left.host, left.file.path)
        if seen is not None and seen.mtime_ns / 10**9 > closed_at.timestamp() + _CLOCKS_S:
            yield "it was written to after its run had ended"

    def _vm_doubts(self, left: Left, record: RunRecord) -> Iterator[str]:
        plan = record.plan
        homes = self.homes.get(str(plan.uuid), {})
        if run := self.evidence.snapshot.open_runs.get(str(plan.uuid)):
            yield f"run {run} of vm {plan.vm} is open or held"
        if not homes:
            yield f"vm {plan.vm} is on no host"
        elif len(homes) > 1:
            yield f"vm {plan.vm} is on {' and '.join(homes)}: which one counts cannot be told"
        for host, vm in homes.items():
            if not vm.is_readable:
                yield f"the XML of vm {vm.name} on {host} could not be read"

    def _copy_doubts(self, left: Left, record: RunRecord) -> Iterator[str]:
        """The VM must be at the run's destination and use the copy, and the copy must be there."""
        plan, copy = record.plan, left.copy
        if record.outcome is not OutcomeKind.MOVED:
            yield f"run {left.run} did not move vm {plan.vm} ({record.outcome or 'no outcome'})"
        vm = self.homes.get(str(plan.uuid), {}).get(plan.dest)
        if copy is None:
            yield f"run {left.run} made no copy of it"
            return
        if vm is None:
            yield f"vm {plan.vm} is not on {plan.dest}, where run {left.run} took it"
            return
        there = f"{plan.dest}:{copy.dest_path}"
        facts, mine = self._stat(plan.dest, copy.dest_path), self._stat(left.host, left.file.path)
        if facts is None:
            yield f"its copy {there} is missing"
        elif facts.size_bytes < copy.size_bytes:
            yield f"its copy {there} has {facts.size_bytes} bytes, {copy.size_bytes} were copied"
        elif mine is not None and _identity(facts) == _identity(mine):
            yield f"its copy {there} looks like the very same file"
        if not self._uses(plan.dest, vm, copy.dest_path):
            yield f"vm {plan.vm} on {plan.dest} does not use its copy {copy.dest_path}"

    def _uses(self, host: str, vm: Vm, path: str) -> bool:
        """Whether the VM names the path, or an image that it names builds on it."""
        wanted = self.places.keys(host, path)
        images = self.evidence.backing.get(host, {})
        asked, seen = [*named_paths(vm, self.places.fleet.side(host).facts)], set[str]()
        while asked:
            one = asked.pop()
            if not wanted.isdisjoint(self.places.keys(host, one)):
                return True
            below = backing_path(one, images[one]) if one in images and one not in seen else None
            seen.add(one)
            asked += [below] if below is not None else []
        return False

    def _in_use(self, left: Left) -> Iterator[str]:
        """Somebody names it, builds on it, or may; by its former name too, as long as no other file has that."""
        host, path = left.host, left.file.path
        names = {path: ""}
        if left.former is not None and self._stat(host, left.former) is None:
            names[left.former] = f" by its former name {left.former}"
        for name, by in names.items():
            keys = self._with_above(host, name)
            yield from (f"{self.named[key]} names it{by}" for key in keys if key in self.named)
            yield from (f"{self.built_on[key]} builds on it{by}" for key in keys if key in self.built_on)
            yield from self._mentions(host, name)
        if (mine := self._stat(host, path)) is not None:
            hosts = [host] if self.places.is_local(host, path) else list(self.places.fleet.sides)
            ends = ((other, _identity(mine)) for other in hosts)
            yield from (f"{self.opened[end]} uses the very same file" for end in ends if end in self.opened)
        if doubt := self.users.why_undecided(host, path):
            yield doubt

    def _with_above(self, host: str, path: str) -> list[Key]:
        """Return the places of a path and of the directories above it: a domain may name one of those."""
        keys = []
        while path not in ("/", ""):
            keys += sorted(self.places.keys(host, path))
            path = posixpath.dirname(path)
        return keys

    @cached_property
    def odd(self) -> tuple[tuple[str, str, str], ...]:
        """Host, image and text of the backing files that are spelled in a way that only QEMU understands."""
        found = ((h, image, text) for h, images in self.evidence.backing.items() for image, text in images.items())
        return tuple(one for one in found if backing_path(one[1], one[2]) is None)

    def _mentions(self, host: str, path: str) -> Iterator[str]:
        """Yield images whose backing file may be this one: the text holds its name."""
        is_local, name = self.places.is_local(host, path), posixpath.basename(path)
        for other, image, text in self.odd:
            if (other == host or not is_local) and name in text:
                yield f"{image} on {other} may build on it ({text})"


def _identity(facts: FileFacts) -> tuple[int, int, int]:
    return facts.inode, facts.size_bytes, facts.mtime_ns


def _span(seconds: float) -> str:
    """Return `12 min`, `3.5 h`, `7 d`; less than nothing where a clock was set back."""
    for unit_s, unit in ((86400, "d"), (3600, "h")):
        if abs(seconds) >= unit_s:
            return f"{seconds / unit_s:.3g} {unit}"
    return f"{seconds / 60:.0f} min"
