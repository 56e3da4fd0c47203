"""What a simulated host holds: domains, mounts, network devices; mutable, private to the simulated fleet."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from functools import lru_cache
from uuid import UUID, uuid5

from vmferry.adapters.simulated.files import FileSpace, SimFile
from vmferry.adapters.simulated.offer import Offer
from vmferry.model.facts import SystemFacts
from vmferry.model.host import Host
from vmferry.model.vm import DomainState

CLIENT = "vmferry"  # the machine that vmferry runs on, as one end of a link
_NAMESPACE = UUID("5d0f0f5e-6f0e-4c57-9b0c-2a4f5d3a7c11")


@dataclass
class SimDomain:
    """A libvirt domain: the persistent definition, the live one, or both."""

    name: str
    uuid: UUID
    persistent_xml: str | None = None
    live_xml: str | None = None
    state: DomainState = DomainState.SHUTOFF
    reason: str = ""
    is_autostart: bool = False
    job: str | None = None  # "migration out", "migration in", "backup", …
    memory_kib: int = 0
    dirty_mib_s: float = 0.0  # 0: it writes nothing while it moves
    working_set_mib: int = 0
    load_cpus: float = 0.0  # CPUs that it keeps busy while it runs
    cpu_s: float = 0.0  # of this QEMU, at the last reading
    counted: tuple[int | None, float] | None = None  # id and time of the last reading
    has_managed_save: bool = False
    snapshots: int = 0
    checkpoints: int = 0
    shutdown_s: float | None = (
        3.0  # how long the guest takes to shut down when it is asked to; None: it does not listen
    )
    is_agent_alive: bool = False
    id: int | None = None

    @property
    def is_active(self) -> bool:
        """Whether a QEMU process exists."""
        return self.state.is_active

    @property
    def is_on_cpu(self) -> bool:
        """Whether the guest executes and may write to its disks."""
        return self.state in (DomainState.RUNNING, DomainState.BLOCKED)

    def work(self, now_s: float) -> float:
        """Count the CPU time since the last reading, and return it in seconds; a fresh QEMU begins at 0."""
        before, self.counted = self.counted, (self.id, now_s)
        if before is None or before[0] != self.id:
            self.cpu_s = 0.0
            return 0.0
        worked_s = self.load_cpus * (now_s - before[1]) if self.is_on_cpu else 0.0
        self.cpu_s += worked_s
        return worked_s

    def xml(self) -> str:
        """Return the live definition, else the persistent one."""
        return self.live_xml or self.persistent_xml or ""


@dataclass
class SimHost:
    """One host with everything that libvirt and ssh would show of it."""

    entry: Host
    memory_total_kib: int
    cpus: int
    libvirt_version: int = 9_000_000
    qemu_version: int = 7_002_022
    arch: str = "x86_64"
    domain_types: tuple[str, ...] = ("qemu", "kvm")
    machines: dict[str, str] = field(default_factory=dict)  # name → canonical
    networks: set[str] = field(default_factory=set)
    offer: Offer = field(default_factory=Offer)
    system: SystemFacts = field(default_factory=SystemFacts)  # reading adds mounts and what libvirtd does now
    segments: dict[str, str] = field(default_factory=dict)  # network device → layer-2 network, where names differ
    filtered_ports: set[int] = field(default_factory=set)
    domains: dict[UUID, SimDomain] = field(default_factory=dict)
    mounts: dict[str, FileSpace] = field(default_factory=dict)  # "/" is always there
    is_powered: bool = True
    is_libvirtd_up: bool = True
    boots: int = 1
    reboot_s: float | None = 60.0  # how long a reboot takes; None: it does not come back
    failed_units: tuple[str, ...] = ()
    next_id: int = 1
    busy_s: float = 0.0  # CPU time of all its guests, at the last reading

    @property
    def name(self) -> str:
        """The inventory's name."""
        return self.entry.name

    @property
    def uuid(self) -> UUID:
        """A host UUID that depends on the name only."""
        return uuid5(_NAMESPACE, self.name)

    @property
    def bridges(self) -> tuple[str, ...]:
        """The names of its bridges."""
        return tuple(link.name for link in self.system.links if link.kind in ("bridge", "openvswitch"))

    def segment(self, link: str) -> str:
        """Return the layer-2 network of a network device: one per name, unless it was put elsewhere."""
        return self.segments.get(link, link)

    def memory_available_kib(self) -> int:
        """Return the memory that no active domain has; never below zero."""
        return max(0, self.memory_total_kib - self.memory_taken_kib())

    def memory_taken_kib(self) -> int:
        """Return the memory of the active domains."""
        return sum(d.memory_kib for d in self.domains.values() if d.is_active)

    def mount_point(self, path: str) -> str:
        """Return the mount point nearest above `path`."""
        point = _absolute(path)
        while point not in self.mounts:
            point = point[: point.rindex("/")] or "/"  # asked 100,000 times when a large fleet is read
        return point

    def locate(self, path: str) -> tuple[FileSpace, str]:
        """Return the space mounted nearest above `path`, and the path inside it, "." for all of it."""
        point = self.mount_point(path)
        return self.mounts[point], _absolute(path)[len(point) :].strip("/") or "."

    def file(self, path: str) -> SimFile | None:
        """Return the file at `path`."""
        space, inner = self.locate(path)
        return space.files.get(inner)

    def put(self, path: str, file: SimFile) -> None:
        """Store a file and make its directory."""
        space, inner = self.locate(path)
        space.files[inner] = file
        space.directories.add(posixpath.dirname(inner) or ".")

    def take(self, path: str) -> SimFile | None:
        """Remove and return the file at `path`."""
        space, inner = self.locate(path)
        parent = posixpath.dirname(inner)
        file = space.files.pop(inner, None)
        is_staging = posixpath.basename(parent).startswith(".vmferry-")
        if is_staging and not any(posixpath.dirname(other) == parent for other in space.files):
            space.directories.discard(parent)
        return file

    def has_directory(self, path: str) -> bool:
        """Whether a directory is mounted or was made there."""
        space, inner = self.locate(path)
        return inner == "." or any(d == inner or d.startswith(inner + "/") for d in space.directories)

    def give_id(self) -> int:
        """Return a fresh domain id, as libvirt counts starts."""
        self.next_id += 1
        return self.next_id - 1

    def end_qemu(self, domain: SimDomain, reason: str) -> None:
        """End a domain's QEMU: a transient domain vanishes, a persistent one is shut off."""
        domain.live_xml, domain.job, domain.id = None, None, None
        domain.state, domain.reason = DomainState.SHUTOFF, reason
        if domain.persistent_xml is None:
            self.domains.pop(domain.uuid, None)


@lru_cache(maxsize=1 << 16)  # the same few thousand paths are asked of every host
def _absolute(path: str) -> str:
    return posixpath.normpath(posixpath.join("/", path))
