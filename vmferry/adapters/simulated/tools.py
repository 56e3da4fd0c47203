"""ssh tools of one simulated host: the HostTools port over simulated file systems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import TypeVar

from vmferry.adapters.simulated.port import CALL_S, SimulatedPort
from vmferry.adapters.simulated.state import SimFile, SimHost, copy_of
from vmferry.errors import CopyFailed, HostUnreachable, NotFound, PermanentError, TransientError
from vmferry.model.facts import FileFacts, Reach
from vmferry.model.host import Host
from vmferry.model.sighting import ListedDomain

T = TypeVar("T")
COPY_BYTES_S = 200 * 1024**2


class SimulatedTools(SimulatedPort):
    """One host's shell."""

    port = "tools"

    # reads

    def ping(self, address: str) -> Reach:
        """Ping `address` from this host."""

        def ping(host: SimHost) -> Reach:
            peers = [h for h in self._ground.hosts.values() if address in _addresses(h)]
            if peers and self._ground.is_linked(host.name, peers[0].name):
                return Reach(is_ok=True)
            return Reach(is_ok=False, detail=f"{address}: 100% packet loss")

        return self._ask("ping", address, ping, is_write=False)

    def reach_libvirt(self, uri: str) -> Reach:
        """Open `uri` from this host."""

        def reach(host: SimHost) -> Reach:
            peers = [h for h in self._ground.hosts.values() if uri in (h.entry.peer_uri, h.entry.uri)]
            if peers and self._ground.is_linked(host.name, peers[0].name) and peers[0].is_libvirtd_up:
                return Reach(is_ok=True)
            return Reach(is_ok=False, detail=f"failed to connect to {uri}")

        return self._ask("reach_libvirt", uri, reach, is_write=False)

    def virsh_list(self) -> tuple[ListedDomain, ...]:
        """Return `virsh list --all`."""

        def listed(host: SimHost) -> tuple[ListedDomain, ...]:
            if not host.is_libvirtd_up:
                raise HostUnreachable(f"{host.name}: virsh cannot connect to libvirtd", host=host.name)
            domains = sorted(host.domains.values(), key=lambda d: (d.id is None, d.id or 0, d.name))
            return tuple(ListedDomain(id=d.id, name=d.name, state=str(d.state)) for d in domains)

        return self._ask("virsh_list", "", listed, is_write=False)

    def bridges(self) -> tuple[str, ...]:
        """Return the host's bridges."""
        return self._ask("bridges", "", lambda host: tuple(sorted(host.bridges)), is_write=False)

    def free_bytes(self, paths: Sequence[str]) -> dict[str, int]:
        """Return the free bytes under each directory that exists."""

        def free(host: SimHost) -> dict[str, int]:
            return {p: max(0, host.locate(p)[0].free_bytes()) for p in paths if host.has_directory(p)}

        return self._ask("free_bytes", ",".join(paths), free, is_write=False)

    def stat_files(self, paths: Sequence[str]) -> dict[str, FileFacts]:
        """Return the facts of those paths that exist."""

        def stat(host: SimHost) -> dict[str, FileFacts]:
            return {path: _facts(path, file) for path in paths if (file := host.file(path)) is not None}

        return self._ask("stat_files", ",".join(paths), stat, is_write=False)

    def checksum(self, path: str) -> str:
        """Return the digest of a file's content."""
        return self._ask("checksum", path, lambda host: _need(host, path).digest(), is_write=False)

    # writes

    def make_marker(self, directory: str, name: str) -> bool:
        """Make an empty file; False when the directory is missing."""

        def make(host: SimHost) -> bool:
            if not host.has_directory(directory):
                return False
            path = f"{directory.rstrip('/')}/{name}"
            if host.file(path) is None:
                host.put(path, SimFile(b"", 0, 0, is_marker=True))
            return True

        return self._ask("make_marker", directory, make, is_write=True)

    def copy_file(self, path: str, dest: Host, staging: str) -> None:
        """Copy a file to another host; a copy that breaks off leaves its half behind."""
        ground = self._ground

        def copy(source: SimHost) -> None:
            if PurePosixPath(staging).name != PurePosixPath(path).name:
                raise PermanentError(f"{path}: a staged copy keeps its name, not {staging}", host=source.name)
            file = source.file(path)
            if file is None:
                raise CopyFailed(f"{path} does not exist on {source.name}", host=source.name)
            target = ground.hosts[dest.name]
            if not ground.is_linked(source.name, dest.name):
                raise TransientError(f"{source.name}: no connection to {dest.name}; try again", host=dest.name)
            old = target.take(staging)
            if old is not None and not old.is_copy:
                ground.watch.overwritten(dest.name, staging)
            is_whole = target.locate(staging)[0].free_bytes() >= file.allocated_bytes
            target.put(staging, copy_of(file, is_whole=is_whole))
            ground.advance(file.allocated_bytes / COPY_BYTES_S)
            if not is_whole:
                raise CopyFailed(f"{staging}: no space left on {dest.name}", host=dest.name)

        self._ask("copy_file", path, copy, is_write=True, peer=dest.name)

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

        def remove(host: SimHost) -> None:
            if host.file(path) is None:
                return
            self._ground.watch.taken_away(host, path)
            file = host.take(path)
            if file is not None:
                self._ground.watch.removed(host, path, file)

        self._ask("remove_file", path, remove, is_write=True)

    def _ask(self, op: str, subject: str, effect: Callable[[SimHost], T], *, is_write: bool, peer: str = "") -> T:
        def run() -> T:
            with self._ground.lock:
                self._ground.advance(CALL_S)
                return effect(self._ground.reach(self.host, libvirt=False))

        return self._call(self._operation(op, subject, is_write=is_write, peer=peer), run)


def _addresses(host: SimHost) -> tuple[str, ...]:
    return (host.name, host.entry.ssh.address, host.entry.migration_address)


def _need(host: SimHost, path: str) -> SimFile:
    file = host.file(path)
    if file is None:
        raise NotFound(f"{path} does not exist on {host.name}", host=host.name)
    return file


def _facts(path: str, file: SimFile) -> FileFacts:
    return FileFacts(
        path=path,
        size_bytes=file.size_bytes,
        allocated_bytes=file.allocated_bytes,
        is_block=file.is_block,
        inode=file.inode,
    )
