"""ssh tools of one simulated host: the HostTools port over simulated file systems."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

from vmferry.adapters.simulated.boot import SimulatedBoot
from vmferry.adapters.simulated.copies import copy_file, measure_link
from vmferry.adapters.simulated.files import SimFile
from vmferry.adapters.simulated.locks import find_locks, hold_locks
from vmferry.adapters.simulated.mirror import make_image, read_images
from vmferry.adapters.simulated.port import CALL_S
from vmferry.adapters.simulated.probes import probe_all
from vmferry.adapters.simulated.processes import has_ended, qemu_of
from vmferry.adapters.simulated.state import SimHost
from vmferry.adapters.simulated.system import read_system
from vmferry.errors import CopyFailed, HostUnreachable, NotFound, PermanentError
from vmferry.model.disks import CopyDone, CopyOptions, LiveDisk
from vmferry.model.facts import FileFacts, ImageFacts, ImageFile, Peer, PeerReach, StoredFile, SystemFacts
from vmferry.model.host import Host
from vmferry.model.mark import HostMarks, MarkKind
from vmferry.model.sighting import ListedDomain
from vmferry.ports import PLAIN_COPY, OnCopy

T = TypeVar("T")


class SimulatedTools(SimulatedBoot):
    """One host's shell."""

    port = "tools"

    # reads

    def read_system(self) -> SystemFacts:
        """Read what the host's own system says."""
        return self._ask("read_system", "", read_system, is_write=False)

    def probe_peers(self, peers: Sequence[Peer]) -> dict[str, PeerReach]:
        """Try every peer from this host."""

        def probed(host: SimHost) -> dict[str, PeerReach]:
            return probe_all(self._ground, host, peers)

        return self._ask("probe_peers", ",".join(peer.host for peer in peers), probed, is_write=False)

    def virsh_list(self) -> tuple[ListedDomain, ...]:
        """Return `virsh list --all`."""

        def listed(host: SimHost) -> tuple[ListedDomain, ...]:
            if not host.is_libvirtd_up:
                raise HostUnreachable(f"{host.name}: virsh cannot connect to libvirtd", host=host.name)
            domains = sorted(host.domains.values(), key=lambda d: (d.id is None, d.id or 0, d.name))
            return tuple(ListedDomain(id=d.id, name=d.name, state=str(d.state)) for d in domains)

        return self._ask("virsh_list", "", listed, is_write=False)

    def swap_mark(self, expected: str, wanted: str, kind: MarkKind = MarkKind.HOST) -> str:
        """Put a mark on this host where `expected` stands."""

        def swap(host: SimHost) -> str:
            if getattr(host.system, kind) == expected:
                host.system = host.system.model_copy(update={kind.value: wanted})
            return str(getattr(host.system, kind))

        return self._ask("swap_mark", "", swap, is_write=True)

    def read_marks(self) -> HostMarks:
        """Return the marks that stand on this host."""

        def read(host: SimHost) -> HostMarks:
            return HostMarks(mark=host.system.mark, freeze=host.system.freeze)

        return self._ask("read_marks", "", read, is_write=False)

    def free_bytes(self, paths: Sequence[str]) -> dict[str, int]:
        """Return the free bytes under each directory that exists."""

        def free(host: SimHost) -> dict[str, int]:
            return {p: max(0, host.locate(p)[0].free_bytes()) for p in paths if host.has_directory(p)}

        return self._ask("free_bytes", ",".join(paths), free, is_write=False)

    def stat_files(self, paths: Sequence[str]) -> dict[str, FileFacts]:
        """Return the facts of those paths that exist."""

        def stat(host: SimHost) -> dict[str, FileFacts]:
            return {path: file.facts(path) for path in paths if (file := host.file(path)) is not None}

        return self._ask("stat_files", ",".join(paths), stat, is_write=False)

    def backing_chains(self, images: Sequence[ImageFile]) -> dict[str, tuple[str, ...]]:
        """Return what the images build on."""

        def chains(host: SimHost) -> dict[str, tuple[str, ...]]:
            return {image.path: _chain(host, image.path) for image in images if host.file(image.path) is not None}

        return self._ask("backing_chains", ",".join(image.path for image in images), chains, is_write=False)

    def read_images(self, images: Sequence[ImageFile]) -> dict[str, ImageFacts]:
        """Return what the images are."""
        asked = ",".join(image.path for image in images)
        return self._ask("read_images", asked, lambda host: read_images(host, images), is_write=False)

    def list_files(self, directories: Sequence[str]) -> tuple[StoredFile, ...]:
        """Return the regular files below each directory that exists; markers are not files to speak of."""

        def listed(host: SimHost) -> tuple[StoredFile, ...]:
            found: dict[str, StoredFile] = {}
            for directory in directories:
                space, inner = host.locate(directory)
                found |= {file.path: file for file in space.stored(inner, host.mount_point(directory))}
            return tuple(found[path] for path in sorted(found))

        return self._ask("list_files", ",".join(directories), listed, is_write=False)

    def backing_files(self, paths: Sequence[str]) -> dict[str, str]:
        """Return what images name as their backing file."""

        def named(host: SimHost) -> dict[str, str]:
            return {path: file.backing for path in paths if (file := host.file(path)) is not None and file.backing}

        return self._ask("backing_files", ",".join(paths), named, is_write=False)

    def checksum(self, path: str) -> str:
        """Return the digest of a file's content."""
        return self._ask("checksum", path, lambda host: _need(host, path).digest(), is_write=False)

    # writes

    def make_markers(self, directories: Sequence[str], name: str) -> tuple[str, ...]:
        """Make an empty file in each directory that exists and can be written."""

        def make(host: SimHost) -> tuple[str, ...]:
            made = tuple(d for d in directories if host.has_directory(d) and not host.locate(d)[0].is_readonly)
            for path in (posixpath.join(directory, name) for directory in made):
                if host.file(path) is None:
                    host.put(path, SimFile(b"", 0, 0, is_marker=True))
            return made

        return self._ask("make_markers", _within(directories, name), make, is_write=True)

    def remove_markers(self, directories: Sequence[str], name: str) -> None:
        """Remove markers; no-op where they are gone."""

        def remove(host: SimHost) -> None:
            for directory in directories:
                self._remove(host, posixpath.join(directory, name))

        self._ask("remove_markers", _within(directories, name), remove, is_write=True)

    def copy_file(
        self, path: str, dest: Host, staging: str, options: CopyOptions = PLAIN_COPY, on_copy: OnCopy | None = None
    ) -> CopyDone:
        """Copy a file to another host; a copy that breaks off leaves its half behind."""

        def copy(source: SimHost) -> CopyDone:
            return copy_file(self._ground, source, dest.name, path, staging, options, on_copy)

        return self._ask("copy_file", path, copy, is_write=True, peer=dest.name)

    def make_image(self, disk: LiveDisk) -> int:
        """Make an empty image; return its inode."""
        return self._ask("make_image", disk.dest_path, lambda host: make_image(host, disk), is_write=True)

    def rebase(self, path: str, backing: str, format: str) -> None:
        """Change what a qcow2 image says it builds on."""

        def change(host: SimHost) -> None:
            _need(host, path).backing = backing

        self._ask("rebase", path, change, is_write=True)

    def hold_image_locks(self, directories: Sequence[str], name: str, seconds: int) -> None:
        """Hold QEMU's image lock on a marker in each directory."""

        def hold(host: SimHost) -> None:
            hold_locks(host, directories, name, self._ground.seconds + seconds)

        self._ask("hold_image_locks", _within(directories, name), hold, is_write=True)

    def find_image_locks(self, markers: Sequence[str]) -> tuple[str, ...]:
        """Return those of the marker files that another QEMU holds."""

        def find(host: SimHost) -> tuple[str, ...]:
            return find_locks(host, markers, self._ground.seconds)

        return self._ask("find_image_locks", ",".join(markers), find, is_write=False)

    def find_qemu(self, name: str, uuid: UUID) -> str:
        """Return what tells this domain's QEMU from every other; empty where none is found."""
        return self._ask("find_qemu", name, lambda host: qemu_of(host, uuid, name), is_write=False)

    def await_end(self, process: str, seconds: int) -> bool:
        """Wait for the end of a process; False when it lives on after so many seconds."""
        return self._ask("await_end", process, lambda host: has_ended(host, process), is_write=False)

    def measure_link(self, dest: Host, seconds: float) -> float:
        """Return how many MiB/s one ssh stream carries."""

        def measure(source: SimHost) -> float:
            return measure_link(self._ground, source, dest.name, seconds)

        return self._ask("measure_link", dest.name, measure, is_write=False, peer=dest.name)

    def publish(self, staging: str, path: str) -> None:
        """Give a staged file its name; never overwrites."""

        def publish(host: SimHost) -> None:
            if host.file(path) is not None:
                raise CopyFailed(f"{path} exists on {host.name}; nothing was overwritten", host=host.name)
            file = host.take(staging)
            if file is None:
                raise CopyFailed(f"{staging} does not exist on {host.name}", host=host.name)
            host.put(path, file)

        self._ask("publish", path, publish, is_write=True)

    def set_aside(self, path: str, aside: str) -> None:
        """Rename a file; no-op when it is already done; never overwrites."""

        def rename(host: SimHost) -> None:
            here, there = host.file(path), host.file(aside)
            if here is None and there is not None:
                return
            if there is not None:
                raise PermanentError(f"{aside} exists on {host.name}; nothing was overwritten", host=host.name)
            self._ground.watch.taken_away(host, path)
            host.put(aside, _need(host, path))
            host.take(path)

        self._ask("set_aside", path, rename, is_write=True)

    def remove_file(self, path: str) -> None:
        """Remove a file; no-op when it is gone."""

        self._ask("remove_file", path, lambda host: self._remove(host, path), is_write=True)

    def _remove(self, host: SimHost, path: str) -> None:
        file = host.file(path)
        if file is None:
            return
        if not file.is_marker:
            self._ground.watch.taken_away(host, path)
        host.take(path)
        self._ground.watch.removed(host, path, file)

    def _ask(self, op: str, subject: str, effect: Callable[[SimHost], T], *, is_write: bool, peer: str = "") -> T:
        def run() -> T:
            with self._ground.lock:
                self._ground.advance(CALL_S)
                return effect(self._ground.reach(self.host, libvirt=False))

        return self._call(self._operation(op, subject, is_write=is_write, peer=peer), run)


def _within(directories: Sequence[str], name: str) -> str:
    return ",".join(posixpath.join(directory, name) for directory in directories)


def _chain(host: SimHost, path: str) -> tuple[str, ...]:
    """Return what an image builds on, as far as the files are there."""
    chain: list[str] = []
    while (file := host.file(path)) is not None and file.backing and file.backing not in chain:
        path = file.backing
        chain.append(path)
    return tuple(chain)


def _need(host: SimHost, path: str) -> SimFile:
    file = host.file(path)
    if file is None:
        raise NotFound(f"{path} does not exist on {host.name}", host=host.name)
    return file
