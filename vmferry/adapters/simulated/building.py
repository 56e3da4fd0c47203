"""Build a simulated fleet: hosts from an inventory, VMs, files, networks, and everything an operator may get wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid5

from vmferry.adapters.simulated.files import GIB, FileSpace, SimFile
from vmferry.adapters.simulated.ground import Ground
from vmferry.adapters.simulated.offer import Offer
from vmferry.adapters.simulated.state import SimDomain, SimHost
from vmferry.adapters.simulated.system import CLOCK_ERROR_MS, default_system
from vmferry.adapters.simulated.texts import read_text, write_text
from vmferry.model.facts import ClockReading, Link, Service, SystemFacts
from vmferry.model.host import Host, Inventory
from vmferry.model.vm import DomainState

SHARED = "/srv/shared"
LOCAL = "/var/lib/libvirt/images"
_NAMESPACE = UUID("0e5a3f5e-4b8e-4f64-8b0e-1d2c3b4a5f60")
_REASONS = {DomainState.RUNNING: "booted", DomainState.PAUSED: "user", DomainState.SHUTOFF: "shutdown"}
_MACHINES = {
    "pc": "pc-i440fx-7.2",
    "pc-i440fx-7.2": "pc-i440fx-7.2",
    "q35": "pc-q35-7.2",
    "pc-q35-7.2": "pc-q35-7.2",
}


class Building(Ground):
    """What a test makes before vmferry comes: every host is sound, and like every other, until it is changed."""

    def __init__(self, inventory: Inventory, *, memory_mib: int, cpus: int) -> None:
        super().__init__()
        self.inventory = inventory
        self._ran: set[UUID] = set()
        shared: dict[str, FileSpace] = {}
        for number, entry in enumerate(inventory.hosts, start=1):
            host = SimHost(entry=entry, memory_total_kib=memory_mib * 1024, cpus=cpus, machines=dict(_MACHINES))
            host.networks, host.system = {"default"}, default_system(number, entry.migration_address)
            _mount_storage(host, entry, shared)
            self.hosts[entry.name] = host

    # VMs and files

    def add_vm(
        self,
        host: str,
        name: str,
        *,
        memory_mib: int = 1024,
        disks: Sequence[str] | None = None,
        state: DomainState = DomainState.RUNNING,
        reason: str = "",
        is_persistent: bool = True,
        is_autostart: bool = False,
        bridge: str | None = "br0",
        dirty_mib_s: float = 0.0,
        working_set_mib: int = 64,
        vcpus: int = 1,
        load_cpus: float = 0.0,
        xml: str | None = None,
    ) -> UUID:
        """Put a VM on a host; `disks` None means one image below SHARED; missing images are made."""
        where = self.hosts[host]
        paths = (f"{SHARED}/{name}.qcow2",) if disks is None else tuple(disks)
        written = write_text(name, uuid5(_NAMESPACE, name), memory_mib * 1024, disks=paths, bridge=bridge, vcpus=vcpus)
        text = read_text(xml or written)
        with self.lock:
            for path in text.disks:
                if where.file(path) is None:
                    self.add_file(host, path)
            domain = SimDomain(name=text.name, uuid=text.uuid, memory_kib=text.memory_kib, is_autostart=is_autostart)
            domain.dirty_mib_s, domain.working_set_mib, domain.load_cpus = dirty_mib_s, working_set_mib, load_cpus
            domain.persistent_xml = (xml or written) if is_persistent else None
            domain.state, domain.reason = state, reason or _REASONS.get(state, "")
            if domain.is_active:
                domain.live_xml, domain.id = xml or written, where.give_id()
            where.domains[text.uuid] = domain
            if domain.is_on_cpu:
                self._ran.add(text.uuid)
            self.watch.look(text.uuid)
        return text.uuid

    def add_file(
        self,
        host: str,
        path: str,
        content: bytes | None = None,
        *,
        size_bytes: int | None = None,
        allocated_bytes: int | None = None,
        device_id: str = "",
    ) -> None:
        """Put a file on a host; without content it is a sparse 10 GiB image of its own, 1 GiB allocated."""
        body = f"{host}:{path}".encode() if content is None else content
        size = size_bytes if size_bytes is not None else (10 * GIB if content is None else len(body))
        used = allocated_bytes if allocated_bytes is not None else (min(size, GIB) if content is None else size)
        file = SimFile(body, size, used, is_block=path.startswith("/dev/"), device_id=device_id)
        file.mtime_ns = round(self.now().timestamp() * 10**9)
        with self.lock:
            self.hosts[host].put(path, file)

    def mount(self, host: str, path: str, space: FileSpace | None = None) -> FileSpace:
        """Mount a file system, a private one by default: what the inventory says may be a lie."""
        made = space or FileSpace(name=f"{host}:{path}")
        self.hosts[host].mounts[path] = made
        return made

    # hosts

    def set_system(self, host: str, **facts: Any) -> None:
        """Change what the host's own system says: fields of SystemFacts; `mounts` replace those of the same path."""
        where = self.hosts[host]
        where.system = SystemFacts(**{**dict(where.system), **facts})

    def set_offer(self, host: str, **facts: Any) -> None:
        """Change what its libvirt tells beside the domains: fields of Offer."""
        where = self.hosts[host]
        where.offer = Offer(**{**dict(where.offer), **facts})

    def set_service(self, host: str, name: str, *, is_active: bool = True, is_enabled: bool = True) -> None:
        """Change what systemd says of a unit; `kill_libvirtd` is what stops libvirt from answering."""
        others = tuple(service for service in self.hosts[host].system.services if service.name != name)
        self.set_system(host, services=(*others, Service(name=name, is_active=is_active, is_enabled=is_enabled)))

    def shift_clock(self, host: str, seconds: float) -> None:
        """Let the host's clock go ahead of vmferry's by so much."""
        self.set_system(host, clock=ClockReading(offset_ms=seconds * 1000, error_ms=CLOCK_ERROR_MS))

    # networks

    def set_link(self, host: str, name: str, *, segment: str | None = None, **facts: Any) -> None:
        """Change a network device, fields of Link, or add one; `segment` plugs it into another layer-2 network.

        Devices of one name are one network on all hosts, unless they are put on segments of different names.
        """
        where = self.hosts[host]
        before = where.system.link(name) or Link(name=name, mtu=1500)
        made = Link(**{**dict(before), **facts})
        links = {link.name: link for link in where.system.links} | {name: made}
        self.set_system(host, links=tuple(links.values()))
        if segment is not None:
            where.segments[name] = segment

    def remove_link(self, host: str, *names: str) -> None:
        """Take network devices away."""
        kept = tuple(link for link in self.hosts[host].system.links if link.name not in names)
        self.set_system(host, links=kept)

    def filter_ports(self, host: str, *ports: int) -> None:
        """Let a firewall on the host drop what arrives on these TCP ports; without any, take it away."""
        self.hosts[host].filtered_ports = set(ports)

    def set_path_mtu(self, one: str, other: str, mtu: int) -> None:
        """Let no packet that is larger pass between two hosts, whatever their own devices say."""
        self.path_mtus[frozenset((one, other))] = mtu


def _mount_storage(host: SimHost, entry: Host, shared: dict[str, FileSpace]) -> None:
    """Mount the root and what the inventory lists; each shared group is one file system."""
    host.mounts["/"] = FileSpace(name=f"{entry.name}:/")
    for place in entry.storage:
        host.mounts[place.path] = FileSpace(name=f"{entry.name}:{place.path}")
        if place.shared is not None:
            group = FileSpace(name=place.shared, is_shared=True, has_locks=place.locks)
            host.mounts[place.path] = shared.setdefault(place.shared, group)
