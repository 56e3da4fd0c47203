"""What is asked of a host over ssh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from vmferry.model.disks import CopyDone, CopyOptions, CopyStats, LiveDisk
from vmferry.model.facts import (
    FileFacts,
    ImageFacts,
    ImageFile,
    Peer,
    PeerReach,
    StoredFile,
    SystemFacts,
)
from vmferry.model.host import Host
from vmferry.model.mark import HostMarks, MarkKind
from vmferry.model.roll import BootFacts, CommandDone
from vmferry.model.sighting import ListedDomain

PLAIN_COPY = CopyOptions()
OnCopy = Callable[[CopyStats], None]


class HostTools(Protocol):
    """What is asked of a host over ssh, run on that host. Arguments are data, never shell text."""

    host: str

    def read_system(self) -> SystemFacts:
        """Read system release, services, sshd limits, clock, network devices, mounts, migration ports: one command."""
        ...

    def probe_peers(self, peers: Sequence[Peer]) -> dict[str, PeerReach]:
        """Try every peer from this host, all at once, in one command; the answers by `Peer.host`."""
        ...

    def virsh_list(self) -> tuple[ListedDomain, ...]:
        """Return `virsh list --all` of this host."""
        ...

    def swap_mark(self, expected: str, wanted: str, kind: MarkKind = MarkKind.HOST) -> str:
        """Put a mark on this host where `expected` stands, in one act; return what stands there afterwards.

        Empty: no mark. What `read_system` tells as `mark` or `freeze`; it outlives a reboot. Raises PermanentError
        where that is not allowed.
        """
        ...

    def read_marks(self) -> HostMarks:
        """Return the marks that stand on this host; quick, for a look just before a start."""
        ...

    def run_command(self, argv: Sequence[str], timeout_s: float) -> CommandDone:
        """Run an operator's command on the host and wait for its end; raises OutcomeUnknown when that is not seen."""
        ...

    def read_boot(self) -> BootFacts:
        """Return what tells this boot from others, and which units have failed in it."""
        ...

    def reboot(self) -> None:
        """Ask the host to reboot; returns before it goes down."""
        ...

    def free_bytes(self, paths: Sequence[str]) -> dict[str, int]:
        """Return the free bytes of the file system under each directory that exists."""
        ...

    def stat_files(self, paths: Sequence[str]) -> dict[str, FileFacts]:
        """Return the facts of those paths that exist."""
        ...

    def make_markers(self, directories: Sequence[str], name: str) -> tuple[str, ...]:
        """Make an empty file in each directory, for shared-storage proofs; return where that was possible."""
        ...

    def remove_markers(self, directories: Sequence[str], name: str) -> None:
        """Remove what `make_markers` made; no-op where it is gone."""
        ...

    def hold_image_locks(self, directories: Sequence[str], name: str, seconds: int) -> None:
        """Hold QEMU's image lock on the marker `name` in each directory, in the background, until the marker is removed
        or so many seconds are over. Where that is not possible nothing is held.
        """
        ...

    def find_image_locks(self, markers: Sequence[str]) -> tuple[str, ...]:
        """Return those of the marker files that a QEMU of this host could not open, because another one holds them."""
        ...

    def find_qemu(self, name: str, uuid: UUID) -> str:
        """Return what tells this domain's QEMU process from every other of this host; empty where none is found."""
        ...

    def await_end(self, process: str, seconds: int) -> bool:
        """Wait for the end of a process that `find_qemu` named; False when it lives on after so many seconds."""
        ...

    def measure_link(self, dest: Host, seconds: float) -> float:
        """Return how many MiB/s one ssh stream carries from here to `dest`, measured for at most `seconds`."""
        ...

    def backing_chains(self, images: Sequence[ImageFile]) -> dict[str, tuple[str, ...]]:
        """Return path → backing files, nearest first; an image that could not be read is left out."""
        ...

    def read_images(self, images: Sequence[ImageFile]) -> dict[str, ImageFacts]:
        """Return what `qemu-img info` says of images, also of those in use; one that could not be read is left out."""
        ...

    def list_files(self, directories: Sequence[str]) -> tuple[StoredFile, ...]:
        """Return the regular files below each directory that exists, on its own file system, sorted by path."""
        ...

    def backing_files(self, paths: Sequence[str]) -> dict[str, str]:
        """Return what qcow2 images name as their backing file, as their headers spell it; other files are left out.

        For files that no domain names, of whatever format. Raises PermanentError when one cannot be read.
        """
        ...

    def checksum(self, path: str) -> str:
        """Return the BLAKE2b digest of a file's content."""
        ...

    def copy_file(
        self, path: str, dest: Host, staging: str, options: CopyOptions = PLAIN_COPY, on_copy: OnCopy | None = None
    ) -> CopyDone:
        """Copy a file straight to `dest` under the path `staging`; on return the copy is proved to equal the original.

        Sparse stays sparse. What an earlier attempt left at `staging` is kept where it is the same, and only the rest
        is sent. Raises TransientError when it may be tried again, CopyFailed when that would not help; the original is
        never touched, and the half of a copy stays for the next attempt or for undo.
        """
        ...

    def make_image(self, disk: LiveDisk) -> int:
        """Make an empty image for QEMU to mirror into; return its inode. Raises CopyFailed when the path exists."""
        ...

    def rebase(self, path: str, backing: str, format: str) -> None:
        """Change what a qcow2 image says it builds on; its content stays as it is."""
        ...

    def publish(self, staging: str, path: str) -> None:
        """Give a staged file its name, keeping its inode; raises CopyFailed when `path` exists: never overwrites."""
        ...

    def set_aside(self, path: str, aside: str) -> None:
        """Rename a file; no-op when it is already done; never overwrites."""
        ...

    def remove_file(self, path: str) -> None:
        """Remove a file; no-op when it is gone."""
        ...
