"""What a simulated host holds: domains, files, mounts; mutable, private to the simulated fleet."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import count
from pathlib import PurePosixPath
from uuid import UUID, uuid5

from vmferry.model.host import Host
from vmferry.model.vm import DomainState

GIB = 1024**3
CLIENT = "vmferry"  # the machine that vmferry runs on, as one end of a link
_inodes = count(1000)
_NAMESPACE = UUID("5d0f0f5e-6f0e-4c57-9b0c-2a4f5d3a7c11")


@dataclass
class SimFile:
    """A file; `content` stands for the bytes, whatever `size_bytes` says."""

    content: bytes
    size_bytes: int
    allocated_bytes: int
    is_block: bool = False
    is_marker: bool = False
    is_whole: bool = True  # False: a copy that broke off
    is_copy: bool = False  # made by copy_file
    inode: int = field(default_factory=lambda: next(_inodes))

    def digest(self) -> str:
        """Return the BLAKE2b digest of the content and the size."""
        return blake2b(self.content + str(self.size_bytes).encode(), digest_size=32).hexdigest()


@dataclass
class FileSpace:
    """One file system; a shared group is one space mounted by several hosts."""

    name: str
    is_shared: bool = False
    has_locks: bool = True
    capacity_bytes: int = 1024 * GIB
    files: dict[str, SimFile] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)

    def free_bytes(self) -> int:
        """Return the capacity that no file has allocated."""
        return self.capacity_bytes - sum(f.allocated_bytes for f in self.files.values())


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
    has_managed_save: bool = False
    snapshots: int = 0
    checkpoints: int = 0
    id: int | None = None

    @property
    def is_active(self) -> bool:
        """Whether a QEMU process exists."""
        return self.state.is_active

    @property
    def is_on_cpu(self) -> bool:
        """Whether the guest executes and may write to its disks."""
        return self.state in (DomainState.RUNNING, DomainState.BLOCKED)

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
    bridges: set[str] = field(default_factory=set)
    networks: set[str] = field(default_factory=set)
    domains: dict[UUID, SimDomain] = field(default_factory=dict)
    mounts: dict[str, FileSpace] = field(default_factory=dict)
    is_powered: bool = True
    is_libvirtd_up: bool = True
    next_id: int = 1

    @property
    def name(self) -> str:
        """The inventory's name."""
        return self.entry.name

    @property
    def uuid(self) -> UUID:
        """A host UUID that depends on the name only."""
        return uuid5(_NAMESPACE, self.name)

    def memory_available_kib(self) -> int:
        """Return the memory that no active domain has; never below zero."""
        return max(0, self.memory_total_kib - self.memory_taken_kib())

    def memory_taken_kib(self) -> int:
        """Return the memory of the active domains."""
        return sum(d.memory_kib for d in self.domains.values() if d.is_active)

    def locate(self, path: str) -> tuple[FileSpace, str]:
        """Return the space mounted nearest above `path`, and the path inside it."""
        pure = PurePosixPath(path)
        for parent in (pure, *pure.parents):
            space = self.mounts.get(str(parent))
            if space is not None:
                return space, str(pure.relative_to(parent))
        raise KeyError(path)

    def file(self, path: str) -> SimFile | None:
        """Return the file at `path`."""
        space, inner = self.locate(path)
        return space.files.get(inner)

    def put(self, path: str, file: SimFile) -> None:
        """Store a file and make its directory."""
        space, inner = self.locate(path)
        space.files[inner] = file
        space.directories.add(str(PurePosixPath(inner).parent))

    def take(self, path: str) -> SimFile | None:
        """Remove and return the file at `path`."""
        space, inner = self.locate(path)
        parent = PurePosixPath(inner).parent
        file = space.files.pop(inner, None)
        is_empty = not any(PurePosixPath(other).parent == parent for other in space.files)
        if is_empty and parent.name.startswith(".vmferry-"):
            space.directories.discard(str(parent))
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


def copy_of(file: SimFile, *, is_whole: bool) -> SimFile:
    """Return what a sparse copy of `file` makes: all of it, or the half that fitted."""
    made = replace(file, is_copy=True, is_block=False, inode=next(_inodes))
    if is_whole:
        return made
    half = file.allocated_bytes // 2
    return replace(made, is_whole=False, allocated_bytes=half, content=b"half " + file.content)
