"""The invariant recorder: what must never happen to a VM or a file, noticed at the instant it happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from vmferry.adapters.simulated.files import FileSpace, SimFile
from vmferry.adapters.simulated.state import SimDomain, SimHost
from vmferry.adapters.simulated.texts import read_text
from vmferry.model.base import Model


class Harm(StrEnum):
    """What went wrong."""

    DOUBLE_RUN = "runs on two hosts"
    STOPPED = "ran, and has no QEMU any more"
    LOST = "neither runs nor is defined anywhere"
    DEFINITION_LOST = "was persistent, and no host has its definition"
    WRONG_DISK = "opened a block device with another content"
    OVERCOMMITTED = "active VMs have more memory than the host"
    FILE_OVERWRITTEN = "another file got this name"
    FILE_LOST = "the last copy of this content is gone"
    FILE_IN_USE = "taken away under a VM that uses it"


class Problem(Model):
    """One broken invariant; `cause` is the injected fault that explains it, empty when vmferry did it."""

    harm: Harm
    subject: str  # VM UUID or path
    hosts: tuple[str, ...]
    during: str
    cause: str = ""
    at: datetime

    def words(self) -> str:
        """One line for a failing test."""
        because = f" because of {self.cause}" if self.cause else ""
        return f"{self.subject} {self.harm} ({', '.join(self.hosts)}) during {self.during}{because}"


class Watch:
    """Compares the fleet with what was true before, whenever it is told that something changed."""

    def __init__(self, hosts: Mapping[str, SimHost], now: Callable[[], datetime], during: Callable[[], str]) -> None:
        self.incidents: list[Problem] = []
        self._hosts = hosts
        self._now = now
        self._during = during
        self.cause = ""
        self._active: set[UUID] = set()
        self._known: set[UUID] = set()
        self._persistent: set[UUID] = set()
        self._double: set[UUID] = set()

    @contextmanager
    def blaming(self, cause: str) -> Iterator[None]:
        """Mark what happens in the block as the doing of a fault."""
        before, self.cause = self.cause, cause
        try:
            yield
        finally:
            self.cause = before

    def found(self, uuid: UUID) -> dict[str, SimDomain]:
        """Return the domains of this VM per host."""
        return {name: host.domains[uuid] for name, host in self._hosts.items() if uuid in host.domains}

    def running_on(self, uuid: UUID) -> tuple[str, ...]:
        """Return the hosts on which the VM's CPUs run."""
        return tuple(name for name, domain in self.found(uuid).items() if domain.is_on_cpu)

    def look(self, uuid: UUID) -> None:
        """Compare one VM with before."""
        found = self.found(uuid)
        running = tuple(name for name, domain in found.items() if domain.is_on_cpu)
        self._change(self._known, uuid, bool(found), Harm.LOST)
        self._change(self._active, uuid, any(d.is_active for d in found.values()), Harm.STOPPED)
        has_definition = any(d.persistent_xml is not None for d in found.values())
        self._change(self._persistent, uuid, has_definition, Harm.DEFINITION_LOST)
        if len(running) < 2:
            self._double.discard(uuid)
        elif uuid not in self._double:
            self._double.add(uuid)
            self._note(Harm.DOUBLE_RUN, str(uuid), running)

    def memory(self, host: SimHost) -> None:
        """Note a host whose active VMs have more memory than it has."""
        if host.memory_taken_kib() > host.memory_total_kib:
            self._note(Harm.OVERCOMMITTED, host.name, (host.name,))

    def wrong_disk(self, uuid: UUID, host: str) -> None:
        """Note a VM whose QEMU opened another disk than its own."""
        self._note(Harm.WRONG_DISK, str(uuid), (host,))

    def overwritten(self, host: str, path: str) -> None:
        """Note a file that was replaced."""
        self._note(Harm.FILE_OVERWRITTEN, path, (host,))

    def taken_away(self, host: SimHost, path: str) -> None:
        """Note a file that is about to leave its path while a VM uses it."""
        place = host.locate(path)
        users = tuple(other.name for other in self._hosts.values() if self._is_used(other, place))
        if users:
            self._note(Harm.FILE_IN_USE, path, users)

    def removed(self, host: SimHost, path: str, file: SimFile) -> None:
        """Note a removed file whose content is nowhere else."""
        if not file.is_whole or file.is_marker:
            return
        spaces = [space for other in self._hosts.values() for space in other.mounts.values()]
        if not any(f.content == file.content for space in spaces for f in space.files.values()):
            self._note(Harm.FILE_LOST, path, (host.name,))

    @staticmethod
    def _is_used(host: SimHost, place: tuple[FileSpace, str]) -> bool:
        space, inner = place
        for domain in host.domains.values():
            if domain.is_active:
                for disk in read_text(domain.xml()).disks:
                    used_space, used = host.locate(disk)
                    if used_space is space and used == inner:
                        return True
        return False

    def _change(self, memory: set[UUID], uuid: UUID, is_true: bool, harm: Harm) -> None:
        if is_true:
            memory.add(uuid)
        elif uuid in memory:
            memory.discard(uuid)
            self._note(harm, str(uuid), tuple(self.found(uuid)))

    def _note(self, harm: Harm, subject: str, hosts: tuple[str, ...]) -> None:
        self.incidents.append(
            Problem(
                harm=harm,
                subject=subject,
                hosts=hosts,
                during=self._during(),
                cause=self.cause,
                at=self._now(),
            )
        )
