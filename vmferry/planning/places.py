"""Which paths of different hosts may be one file: by the inventory, by the mount, by proof."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from vmferry.model.host import HostFacts, PairFacts
from vmferry.model.vm import DiskKind, Vm
from vmferry.rules.case import Fleet, Side, volume_path
from vmferry.rules.sharing import host_files, tpm_files

# A place that a file may be known by: kind, what it lies in, path inside it.
Key = tuple[str, str, str]

# File systems of one machine alone; every other one (NFS, CephFS, Gluster, GFS2, FUSE, …) may be seen by others.
_LOCAL = frozenset(("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs", "tmpfs",
                    "overlay", "vfat", "exfat", "iso9660", "udf", "squashfs"))  # fmt: skip


@dataclass(frozen=True)
class Places:
    """Where the files of a fleet lie. A path has several keys; two paths that share one are taken for one file.

    Taking two files for one hides a leftover, the reverse would call a file in use a leftover: so every hint counts.
    """

    fleet: Fleet

    def group(self, host: str, path: str) -> str | None:
        """Return the shared group that the inventory declares for the path."""
        entry = self.fleet.snapshot.inventory.find(host)
        storage = entry.storage_of(path) if entry else None
        return storage.shared if storage else None

    def keys(self, host: str, path: str) -> frozenset[Key]:
        """Return every place that the path of a host that was read may be known by."""
        found: set[Key] = {("host", host, path)}
        side = self.fleet.side(host)
        storage = side.host.storage_of(path)
        if storage is not None and storage.shared is not None:
            found.add(("group", storage.shared, _inside(path, storage.path)))
        mount = side.facts.system.mount_of(path)
        if mount is not None and mount.fstype not in _LOCAL:
            found.add(("mount", mount.uuid or mount.source, _inside(path, mount.path)))
        for directory, name in self._proved.get(host, {}).items():
            if _is_below(path, directory):
                found.add(("proved", name, _inside(path, directory)))
        return frozenset(found)

    def is_local(self, host: str, path: str) -> bool:
        """Whether the path is known to be of this host alone: not declared, not proved, on a local file system."""
        mount = self.fleet.side(host).facts.system.mount_of(path)
        is_proved = any(_is_below(path, directory) for directory in self._proved.get(host, {}))
        return self.group(host, path) is None and not is_proved and mount is not None and mount.fstype in _LOCAL

    @cached_property
    def _proved(self) -> dict[str, dict[str, str]]:
        """Host → directory → a name that all directories share which a marker file proved to be one."""
        one_of: dict[tuple[str, str], tuple[str, str]] = {}

        def root(node: tuple[str, str]) -> tuple[str, str]:
            while (above := one_of.setdefault(node, node)) != node:
                node = above
            return node

        for pair in self.fleet.snapshot.pairs:
            for directory in pair.same_storage:
                one_of[root((pair.dest, self._there(pair, directory)))] = root((pair.source, directory))
        found: dict[str, dict[str, str]] = {}
        for host, directory in one_of:
            found.setdefault(host, {})[directory] = ":".join(root((host, directory)))
        return found

    def _there(self, pair: PairFacts, directory: str) -> str:
        """Return where the destination has a directory of the source: a declared group may lie elsewhere there."""
        inventory = self.fleet.snapshot.inventory
        here, there = inventory.find(pair.source), inventory.find(pair.dest)
        storage = here.storage_of(directory) if here else None
        if storage is None or storage.shared is None or there is None:
            return directory
        path = next((s.path for s in there.storage if s.shared == storage.shared), storage.path)
        return f"{path.rstrip('/')}/{_inside(directory, storage.path)}".rstrip("/")


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _inside(path: str, directory: str) -> str:
    return path.removeprefix(directory.rstrip("/")).lstrip("/")


def named_paths(vm: Vm, facts: HostFacts) -> Iterator[str]:
    """Yield every absolute path that a domain names: disks, media, chain, volumes, NVRAM, kernel, devices; may repeat.

    Directories too (`<disk type='dir'>`, virtiofs): whatever lies below is named with them.
    """
    for disk in vm.disks:
        yield from (path for path in (disk.source, *disk.backing) if path and path.startswith("/"))
        if path := volume_path(facts, disk):
            yield path
    yield from host_files(vm)
    yield from (value for device in vm.devices for value in device.attributes.values() if value.startswith("/"))
    yield from tpm_files(vm)
    if vm.nvram:
        yield vm.nvram


def unplaced_volumes(vm: Vm, facts: HostFacts) -> Iterator[str]:
    """Yield the names of volumes whose pool tells no path, without the pool: they may be any file of that name."""
    for disk in vm.disks:
        if disk.kind is DiskKind.VOLUME and disk.source and volume_path(facts, disk) is None:
            yield disk.source.rpartition("/")[2]


def sees(side: Side, group: str) -> bool:
    """Whether the inventory lists the shared group for a host."""
    return any(storage.shared == group for storage in side.host.storage)
