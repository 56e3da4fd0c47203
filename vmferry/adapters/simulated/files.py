"""Files and file systems of the simulated hosts; mutable, private to the simulated fleet."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import count
from uuid import UUID, uuid5

from vmferry.model.facts import FileFacts, Mount, StoredFile

GIB = 1024**3
_MADE_NS = 1_735_689_600 * 10**9  # when the simulated world begins
_NAMESPACE = UUID("9d3c1b52-6a55-4a52-8c7e-0f4a3c2b1d60")
_inodes = count(1000)


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
    device_id: str = ""
    backing: str = ""  # what its header names
    held_by: str = ""  # the host that holds QEMU's image lock on it
    held_until_s: float = 0.0
    mtime_ns: int = _MADE_NS
    inode: int = field(default_factory=lambda: next(_inodes))

    def digest(self) -> str:
        """Return the BLAKE2b digest of the content and the size."""
        return blake2b(self.content + str(self.size_bytes).encode(), digest_size=32).hexdigest()

    def facts(self, path: str) -> FileFacts:
        """Return what `stat` and sysfs would tell of it."""
        return FileFacts(
            path=path,
            size_bytes=self.size_bytes,
            allocated_bytes=self.allocated_bytes,
            is_block=self.is_block,
            inode=self.inode,
            mtime_ns=self.mtime_ns,
            device_id=self.device_id,
        )


@dataclass
class FileSpace:
    """One file system; a shared group is one space mounted by several hosts.

    `fstype`, `source` and `options` are what `findmnt` shows; where empty they follow from the rest.
    """

    name: str
    is_shared: bool = False
    has_locks: bool = True
    capacity_bytes: int = 1024 * GIB
    files: dict[str, SimFile] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    fstype: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uuid: str | None = None

    @property
    def is_readonly(self) -> bool:
        """Whether nothing can be written there."""
        return "ro" in self.options

    def free_bytes(self) -> int:
        """Return the capacity that no file has allocated."""
        return self.capacity_bytes - sum(f.allocated_bytes for f in self.files.values())

    def mount(self, path: str) -> Mount:
        """Return what `findmnt` shows of it at `path`."""
        if self.is_shared:
            lock = () if self.has_locks else ("nolock",)
            fstype, source, options = "nfs", f"filer:/{self.name}", ("rw", "hard", "vers=3", *lock)
        else:
            # As on real hosts, an equal device name says nothing.
            fstype, source, options = "ext4", "/dev/vda1", ("rw", "relatime")
        return Mount(
            path=path,
            source=self.source or source,
            fstype=self.fstype or fstype,
            options=self.options or options,
            uuid=self.uuid or (None if self.is_shared else str(uuid5(_NAMESPACE, self.name))),
        )

    def stored(self, directory: str, mounted_at: str) -> Iterator[StoredFile]:
        """Yield the regular files below a directory of this space, as seen under its mount point."""
        prefix = "" if directory == "." else directory + "/"
        for inner, file in self.files.items():
            if inner.startswith(prefix) and not file.is_block and not file.is_marker:
                yield StoredFile(
                    path=posixpath.join(mounted_at, inner),
                    size_bytes=file.size_bytes,
                    allocated_bytes=file.allocated_bytes,
                    modified_at_s=file.mtime_ns // 10**9,
                )


def copy_of(file: SimFile, *, is_whole: bool) -> SimFile:
    """Return what a sparse copy of `file` makes: all of it, or the half that fitted."""
    made = replace(file, is_copy=True, is_block=False, device_id="", inode=next(_inodes))
    if is_whole:
        return made
    half = file.allocated_bytes // 2
    return replace(made, is_whole=False, allocated_bytes=half, content=b"half " + file.content)
