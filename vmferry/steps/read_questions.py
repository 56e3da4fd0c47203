"""What is to be asked about the VMs of one source, so that their moves can be judged: pure, no host is touched."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from vmferry.model.facts import BridgeQuestion, GuestCpu, Peer
from vmferry.model.host import Host, HostFacts
from vmferry.model.transport import Encryption
from vmferry.model.vm import Disk, DiskKind, Vm
from vmferry.rules.case import Side, volume_path
from vmferry.rules.cpu import guest_cpu
from vmferry.rules.encryption import choose_way
from vmferry.rules.network import card_before
from vmferry.rules.sharing import files_to_stat

# Of the migration ports the first ones are taken first; the last shows whether the firewall knows the whole range.
_FIRST_PORTS = 4
# An IPv6 link-local address and one for people are on most bridges; many more would only make the probe longer.
_TARGETS = 4


@dataclass(frozen=True)
class End:
    """One host of the inventory that was read."""

    host: Host
    facts: HostFacts

    @property
    def name(self) -> str:
        """The inventory's name of the host."""
        return self.host.name

    @cached_property
    def addresses(self) -> frozenset[str]:
        """All addresses of the host, without prefix length."""
        return frozenset(_bare(address) for link in self.facts.system.links for address in link.addresses)


@dataclass(frozen=True)
class Questions:
    """What is asked about the VMs of one source, whichever destination they may go to.

    `arriving` gives a VM as the destination shall define it, where that differs; by UUID.
    """

    source: End
    vms: tuple[Vm, ...]
    arriving: Mapping[str, Vm]

    def _there(self, vm: Vm) -> Vm:
        return self.arriving.get(str(vm.uuid), vm)

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Paths to look for on the source; each once."""
        return tuple(dict.fromkeys(path for vm in self.vms for path in files_to_stat(vm, self.source.facts)))

    @cached_property
    def cpus(self) -> Mapping[str, GuestCpu]:
        """The VMs' CPUs by key; of shut-off VMs too: one is to start there one day."""
        found = (guest_cpu(vm, self.source.facts) for vm in self.vms)
        return {cpu.key: cpu for cpu in found if cpu is not None}

    @cached_property
    def _differing(self) -> tuple[Vm, ...]:
        """VMs that may have other paths on a destination: volumes lie where its pool is, and some are remapped."""
        return tuple(vm for vm in self.vms if self._there(vm) is not vm or any(_is_volume(disk) for disk in vm.disks))

    def dest_paths(self, dest: End) -> tuple[str, ...]:
        """Return the paths to look for on a destination: those of the source, and those that the VMs get there."""
        own = (path for vm in self._differing for path in files_to_stat(self._there(vm), dest.facts))
        return tuple(dict.fromkeys((*self.paths, *own)))

    def directories(self, dest: End) -> tuple[tuple[str, str], ...]:
        """Return the directories to be proved the same: (path on the source, path on the destination), each once.

        Those that the inventory calls one shared group, and those that hold images of the VMs.
        """
        own = (pair for vm in self._differing for pair in self._image_directories(vm, dest))
        return tuple(dict.fromkeys((*_declared(self.source.host, dest.host), *self._equal_directories, *own)))

    def lockable(self, dest: End) -> tuple[tuple[str, str], ...]:
        """Return those of `directories` in which image locks matter and the inventory says that they work."""
        return tuple(
            (here, there)
            for here, there in self.directories(dest)
            if here in self._written and (storage := dest.host.storage_of(there)) is not None and storage.locks
        )

    @cached_property
    def _written(self) -> frozenset[str]:
        """Directories on storage with locks that hold images which running VMs write to."""
        disks = (disk for vm in self.vms if vm.is_active for disk in vm.disks if not disk.is_readonly)
        places = (path for disk in disks if (path := _place(disk, self.source)) is not None)
        storages = ((path, self.source.host.storage_of(path)) for path in places)
        return frozenset(posixpath.dirname(path) for path, storage in storages if storage is not None and storage.locks)

    @cached_property
    def _equal_directories(self) -> tuple[tuple[str, str], ...]:
        """The directories of the VMs that have the same paths on every destination."""
        equal = (vm for vm in self.vms if vm not in self._differing) if self._differing else self.vms
        return tuple(dict.fromkeys(pair for vm in equal for pair in self._image_directories(vm, self.source)))

    def _image_directories(self, vm: Vm, dest: End) -> Iterator[tuple[str, str]]:
        there = self._there(vm)
        disks = {disk.target: disk for disk in there.disks}
        for disk in vm.disks:
            path, dest_path = _place(disk, self.source), _place(disks.get(disk.target, disk), dest)
            if path is None or not self._may_be_marked(disk, path):
                continue
            yield posixpath.dirname(path), posixpath.dirname(dest_path or path)
            for layer in disk.backing:
                if layer.startswith("/"):
                    yield posixpath.dirname(layer), posixpath.dirname(layer)
        if vm.nvram:
            yield posixpath.dirname(vm.nvram), posixpath.dirname(there.nvram or vm.nvram)

    def _may_be_marked(self, disk: Disk, path: str) -> bool:
        """Whether a marker may be made beside the disk.

        Not where only read-only media lie, unless the inventory calls the directory storage: `/usr/share` is not ours.
        Not beside device nodes: an equal `/dev` proves nothing about a device.
        """
        if path.startswith("/dev/") or disk.kind is DiskKind.BLOCK:
            return False
        return not disk.is_readonly or self.source.host.storage_of(path) is not None

    def peer(self, dest: End) -> Peer:
        """Return what the source is to try of a destination."""
        return Peer(
            host=dest.name,
            address=dest.host.migration_address,
            uri=dest.host.peer_uri,
            ports=_ports(self.source, dest),
            bridges=tuple(self._bridge_questions(dest)),
        )

    @cached_property
    def _bridges(self) -> tuple[tuple[str, str], ...]:
        """(bridge on the source, bridge on the destination) of all cards; each pair once."""
        return tuple(dict.fromkeys(pair for vm in self.vms for pair in _bridges(vm, self._there(vm))))

    def _bridge_questions(self, dest: End) -> Iterator[BridgeQuestion]:
        for bridge, dest_bridge in self._bridges:
            link = dest.facts.system.link(dest_bridge)
            if link is not None:
                # Our own address would be answered by ourselves: virbr0 is 192.168.122.1 on every host.
                targets = [a for a in map(_bare, link.addresses) if a not in self.source.addresses]
                targets.sort(key=lambda address: not address.startswith("fe80:"))
                yield BridgeQuestion(
                    bridge=bridge, dest_bridge=dest_bridge, targets=tuple(targets[:_TARGETS]), mac=link.mac
                )


def _bare(address: str) -> str:
    return address.partition("/")[0]


def _is_volume(disk: Disk) -> bool:
    return disk.kind is DiskKind.VOLUME


def _place(disk: Disk, end: End) -> str | None:
    """Return the path of a disk that is a file or device of the host, a volume's included."""
    return disk.source if disk.is_local_path else volume_path(end.facts, disk)


def _declared(source: Host, dest: Host) -> Iterator[tuple[str, str]]:
    """Yield the directories that the inventory calls one shared group on both hosts."""
    there = {storage.shared: storage.path for storage in dest.storage if storage.shared is not None}
    for storage in source.storage:
        if storage.shared in there:
            yield storage.path.rstrip("/"), there[storage.shared].rstrip("/")


def _ports(source: End, dest: End) -> tuple[int, ...]:
    """Return the migration ports to be tried; none where memory travels inside the libvirt connection."""
    way = choose_way(Side(source.host, source.facts), Side(dest.host, dest.facts))
    first, last = dest.facts.system.migration_ports
    if way.encryption is Encryption.TUNNELLED or first > last:
        return ()
    return tuple(dict.fromkeys((*range(first, min(first + _FIRST_PORTS, last + 1)), last)))


def _bridges(vm: Vm, there: Vm) -> Iterator[tuple[str, str]]:
    """Yield (bridge on the source, bridge on the destination) of the cards that are plugged into bridges on both."""
    for place, nic in enumerate(there.nics):
        before = nic if there is vm else card_before(vm.nics, nic, place)
        if before is not None and before.kind == nic.kind == "bridge" and before.source and nic.source:
            yield before.source, nic.source
