"""The questions of many pairs sorted by the host that answers them, and the answers sorted by pair again: pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from vmferry.model.facts import CpuVerdict, FileFacts, GuestCpu, Peer, PeerReach, Reach
from vmferry.model.host import PairFacts
from vmferry.steps.read_questions import End, Questions


@dataclass(frozen=True)
class Looked:
    """The files that a host has, and the paths at which it could not look (a loop of links, a closed directory)."""

    found: Mapping[str, FileFacts]
    unreadable: frozenset[str] = frozenset()


@dataclass
class Heard:
    """What the hosts said, by host; `errors` holds what a host did not answer: (question, host) → why."""

    made: dict[str, tuple[str, ...]] = field(default_factory=dict)  # directories with the source's marker
    files: dict[str, Looked] = field(default_factory=dict)
    probes: dict[str, dict[str, PeerReach]] = field(default_factory=dict)
    cpus: dict[str, dict[str, CpuVerdict]] = field(default_factory=dict)
    locks: dict[str, frozenset[str]] = field(default_factory=dict)  # markers that were found held by another QEMU
    errors: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Pairs to be read at once: questions by source, and destinations by source, of hosts that were read.

    `markers` is the name of each source's markers, `names` the inventory's hosts in their order.
    """

    questions: Mapping[str, Questions]
    dests: Mapping[str, tuple[End, ...]]
    markers: Mapping[str, str]
    names: tuple[str, ...]

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """All hosts that take part."""
        return tuple(dict.fromkeys((*self.dests, *self._sources)))

    @cached_property
    def _sources(self) -> Mapping[str, tuple[tuple[str, End], ...]]:
        """Sources by destination, each with the destination itself."""
        found: dict[str, list[tuple[str, End]]] = {}
        for source, dests in self.dests.items():
            for dest in dests:
                found.setdefault(dest.name, []).append((source, dest))
        return {name: tuple(sources) for name, sources in found.items()}

    @cached_property
    def _directories(self) -> Mapping[tuple[str, str], tuple[tuple[str, str], ...]]:
        """By pair: (directory on the source, the same on the destination)."""
        return {(s, d.name): self.questions[s].directories(d) for s, dests in self.dests.items() for d in dests}

    @cached_property
    def _lockable(self) -> Mapping[tuple[str, str], tuple[tuple[str, str], ...]]:
        """As `_directories`, where image locks are to be proved."""
        return {(s, d.name): self.questions[s].lockable(d) for s, dests in self.dests.items() for d in dests}

    def peers(self, source: str) -> list[Peer]:
        """Return what a source is to try, beginning behind itself, so that not all sources begin with one host."""
        place = {name: number for number, name in enumerate(self.names)}
        turn = sorted(self.dests[source], key=lambda dest: (place[dest.name] - place[source]) % len(place))
        return [self.questions[source].peer(dest) for dest in turn]

    def marked(self, source: str) -> tuple[str, ...]:
        """Return the directories in which a source is to make its marker; each once."""
        return tuple(dict.fromkeys(d for dest in self.dests[source] for d, _ in self._directories[source, dest.name]))

    def paths(self, host: str, heard: Heard) -> list[str]:
        """Return all paths that a host is to look for, markers that were made by the sources included."""
        asked = dict.fromkeys(self.questions[host].paths if host in self.dests else ())
        for source, dest in self._sources.get(host, ()):
            asked |= dict.fromkeys(self.questions[source].dest_paths(dest))
            asked |= dict.fromkeys(self._marker(source, there) for _, there in self._proofs(source, host, heard))
        return list(asked)

    def _marker(self, source: str, directory: str) -> str:
        return posixpath.join(directory, self.markers[source])

    def _proofs(self, source: str, dest: str, heard: Heard) -> list[tuple[str, str]]:
        """Return the directories of a pair in which the source has made its marker."""
        made = frozenset(heard.made.get(source, ()))
        return [(d, there) for d, there in self._directories[source, dest] if d in made]

    def held(self, source: str, heard: Heard) -> tuple[str, ...]:
        """Return the directories in which a source is to hold its marker as QEMU holds an image; each once."""
        made = frozenset(heard.made.get(source, ()))
        wanted = (here for dest in self.dests[source] for here, _ in self._lockable[source, dest.name])
        return tuple(dict.fromkeys(here for here in wanted if here in made))

    def held_markers(self, host: str, heard: Heard) -> list[str]:
        """Return the markers, held by the sources, that a host is to try to open."""
        found: dict[str, None] = {}
        for source, dest in self._sources.get(host, ()):
            made = frozenset(heard.made.get(source, ()))
            pairs = self._lockable[source, dest.name]
            found |= dict.fromkeys(self._marker(source, there) for here, there in pairs if here in made)
        return list(found)

    def cpus(self, dest: str) -> tuple[GuestCpu, ...]:
        """Return the different CPUs of the VMs that may come; equal guests are compared once."""
        found = {key: cpu for source, _ in self._sources[dest] for key, cpu in self.questions[source].cpus.items()}
        return tuple(found.values())

    def compared(self) -> tuple[str, ...]:
        """Return the destinations that are to compare CPUs."""
        return tuple(dest for dest in self._sources if self.cpus(dest))

    def pair(self, source: str, dest: str, heard: Heard) -> PairFacts:
        """Return what was heard of a pair; unusable when one of its hosts was not read or was lost."""
        end = next((d for d in self.dests.get(source, ()) if d.name == dest), None)
        if end is None:
            missing = dest if source in self.questions else source
            return _lost(source, dest, f"{missing} was not read")
        for question in (("markers", source), ("files", source), ("files", dest), ("probe", source)):
            if question in heard.errors:
                return _lost(source, dest, heard.errors[question])
        asked, reach = self.questions[source], heard.probes[source][dest]
        verdicts = heard.cpus.get(dest, {})
        return PairFacts(
            source=source,
            dest=dest,
            ping=reach.ping,
            libvirt=reach.libvirt,
            ports=reach.ports,
            path_mtu=reach.path_mtu,
            networks=reach.networks,
            cpus={key: verdicts[key] for key in asked.cpus if key in verdicts},
            same_storage=self._same_storage(source, dest, heard),
            locked_storage=self._locked_storage(source, dest, heard),
            source_files=_chosen(asked.paths, heard.files[source]),
            dest_files=_chosen(asked.dest_paths(end), heard.files[dest], is_wary=True),
        )

    def _same_storage(self, source: str, dest: str, heard: Heard) -> tuple[str, ...]:
        """Return the source's directories whose content the destination sees too.

        Where VMs expect one directory at several places of the destination, all of them must be it.
        """
        proofs, found = self._proofs(source, dest, heard), heard.files[dest].found
        unseen = {d for d, there in proofs if self._marker(source, there) not in found}
        return tuple(sorted({d for d, _ in proofs} - unseen))

    def _locked_storage(self, source: str, dest: str, heard: Heard) -> tuple[str, ...]:
        """Return those of them in which the destination's QEMU respected the lock of the source's."""
        shared, found = frozenset(self._same_storage(source, dest, heard)), heard.locks.get(dest, frozenset())
        asked = self._lockable[source, dest]
        free = {here for here, there in asked if self._marker(source, there) not in found}
        return tuple(sorted({here for here, _ in asked} & shared - free))


def _chosen(paths: Sequence[str], looked: Looked, *, is_wary: bool = False) -> dict[str, FileFacts]:
    """Return the facts of those paths that exist; of one that could not be looked at, where wary: it may exist."""
    chosen = {path: looked.found[path] for path in paths if path in looked.found}
    if is_wary:
        unknown = (path for path in paths if path in looked.unreadable)
        chosen |= {path: FileFacts(path=path, size_bytes=0, allocated_bytes=0) for path in unknown}
    return chosen


def _lost(source: str, dest: str, why: str) -> PairFacts:
    lost = Reach(is_ok=False, detail=why)
    return PairFacts(source=source, dest=dest, ping=lost, libvirt=lost)
