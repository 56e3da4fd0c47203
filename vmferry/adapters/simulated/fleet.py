"""The simulated fleet: build it, work on its World, then ask it what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid5

from vmferry.adapters.simulated.faults import Fault, Operation, faults_at
from vmferry.adapters.simulated.ground import Ground
from vmferry.adapters.simulated.hypervisor import SimulatedHypervisor
from vmferry.adapters.simulated.journal import GatedJournal
from vmferry.adapters.simulated.state import GIB, FileSpace, SimDomain, SimFile, SimHost
from vmferry.adapters.simulated.texts import read_text, write_text
from vmferry.adapters.simulated.tools import SimulatedTools
from vmferry.adapters.simulated.watch import Harm, Problem
from vmferry.model.host import Host, Inventory, SshAddress, Storage
from vmferry.model.vm import DomainState
from vmferry.ports import Clock, HostTools, Hypervisor, Journal

SHARED = "/srv/shared"
LOCAL = "/var/lib/libvirt/images"
_NAMESPACE = UUID("0e5a3f5e-4b8e-4f64-8b0e-1d2c3b4a5f60")
_MACHINES = {
    "pc": "pc-i440fx-7.2",
    "pc-i440fx-7.2": "pc-i440fx-7.2",
    "q35": "pc-q35-7.2",
    "pc-q35-7.2": "pc-q35-7.2",
}


class SimulatedClock:
    """The fleet's time; sleeping moves it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def now(self) -> datetime:
        """Return the simulated time, UTC."""
        return self._ground.now()

    def sleep(self, seconds: float) -> None:
        """Let simulated time pass."""
        self._ground.advance(seconds)


class SimulatedWorld:
    """Everything a step may touch, on a simulated fleet."""

    def __init__(self, fleet: SimulatedFleet, journal: Journal) -> None:
        self.inventory: Inventory = fleet.inventory
        self.journal: Journal = GatedJournal(fleet, journal)
        self.clock: Clock = SimulatedClock(fleet)
        self._fleet = fleet

    def hypervisor(self, host: str) -> Hypervisor:
        """Return the host's libvirt."""
        return self._fleet.hypervisor(host)

    def tools(self, host: str) -> HostTools:
        """Return the host's ssh tools."""
        return self._fleet.tools(host)

    def close(self) -> None:
        """Nothing is open."""


class SimulatedFleet(Ground):
    """Hosts with domains and files, their own clock, faults on demand, a recorder of broken invariants."""

    def __init__(self, inventory: Inventory, *, memory_mib: int = 16384, cpus: int = 16) -> None:
        super().__init__()
        self.inventory = inventory
        self._ran: set[UUID] = set()
        shared: dict[str, FileSpace] = {}
        for entry in inventory.hosts:
            host = SimHost(entry=entry, memory_total_kib=memory_mib * 1024, cpus=cpus, machines=dict(_MACHINES))
            host.bridges, host.networks = {"br0"}, {"default"}
            host.mounts["/"] = FileSpace(name=f"{entry.name}:/")
            for place in entry.storage:
                own = FileSpace(name=f"{entry.name}:{place.path}")
                host.mounts[place.path] = own
                if place.shared is not None:
                    group = FileSpace(name=place.shared, is_shared=True, has_locks=place.locks)
                    host.mounts[place.path] = shared.setdefault(place.shared, group)
            self.hosts[entry.name] = host

    @classmethod
    def of(cls, *names: str, memory_mib: int = 16384, cpus: int = 16) -> SimulatedFleet:
        """Return a fleet of hosts that share SHARED and have LOCAL each for itself."""
        return cls(Inventory(hosts=tuple(host_entry(name) for name in names)), memory_mib=memory_mib, cpus=cpus)

    # building

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
        xml: str | None = None,
    ) -> UUID:
        """Put a VM on a host; `disks` None means one image below SHARED; missing images are made."""
        where = self.hosts[host]
        paths = (f"{SHARED}/{name}.qcow2",) if disks is None else tuple(disks)
        written = write_text(name, uuid5(_NAMESPACE, name), memory_mib * 1024, disks=paths, bridge=bridge)
        text = read_text(xml or written)
        with self.lock:
            for path in text.disks:
                if where.file(path) is None:
                    self.add_file(host, path)
            domain = SimDomain(name=text.name, uuid=text.uuid, memory_kib=text.memory_kib, is_autostart=is_autostart)
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
    ) -> None:
        """Put a file on a host; without content it is a sparse 10 GiB image of its own, 1 GiB allocated."""
        body = f"{host}:{path}".encode() if content is None else content
        size = size_bytes if size_bytes is not None else (10 * GIB if content is None else len(body))
        used = allocated_bytes if allocated_bytes is not None else (min(size, GIB) if content is None else size)
        is_block = path.startswith("/dev/")
        with self.lock:
            self.hosts[host].put(path, SimFile(body, size, used, is_block=is_block))

    def mount(self, host: str, path: str, space: FileSpace | None = None) -> FileSpace:
        """Mount a file system, a private one by default: what the inventory says may be a lie."""
        made = space or FileSpace(name=f"{host}:{path}")
        self.hosts[host].mounts[path] = made
        return made

    # working

    def world(self, *, journal: Journal) -> SimulatedWorld:
        """Return a World on this fleet; another one stands for another vmferry process."""
        return SimulatedWorld(self, journal)

    def hypervisor(self, host: str) -> SimulatedHypervisor:
        """Return a host's libvirt."""
        return SimulatedHypervisor(self, self.hosts[host].name)

    def tools(self, host: str) -> SimulatedTools:
        """Return a host's ssh tools."""
        return SimulatedTools(self, self.hosts[host].name)

    def inject(self, fault: Fault) -> None:
        """Arm a fault."""
        self.gate.inject(fault)

    # asking

    @property
    def log(self) -> tuple[Operation, ...]:
        """Every touch point so far, with its answer."""
        return tuple(self.gate.log)

    def operations(self) -> tuple[Operation, ...]:
        """Return the touch points of the scenario that ran; `faults()` lists what can befall each."""
        return self.log

    def faults(self) -> tuple[Fault, ...]:
        """Return all faults that could strike the scenario that just ran; inject one into a fresh fleet."""
        return tuple(fault for operation in self.log for fault in faults_at(operation))

    def running_on(self, uuid: UUID) -> tuple[str, ...]:
        """Return the hosts on which the VM's CPUs run."""
        with self.lock:
            return self.watch.running_on(uuid)

    def defined_on(self, uuid: UUID) -> tuple[str, ...]:
        """Return the hosts that have a persistent definition."""
        with self.lock:
            return tuple(n for n, d in self.watch.found(uuid).items() if d.persistent_xml is not None)

    def domain(self, host: str, uuid: UUID) -> SimDomain | None:
        """Return a domain as it stands; do not change it."""
        return self.hosts[host].domains.get(uuid)

    def down(self) -> tuple[UUID, ...]:
        """Return the VMs that ran when they were added and run nowhere now."""
        return tuple(sorted((uuid for uuid in self._ran if not self.running_on(uuid)), key=str))

    @property
    def double_runs(self) -> tuple[Problem, ...]:
        """Every instant at which a VM began to run on two hosts."""
        return tuple(p for p in self.watch.incidents if p.harm is Harm.DOUBLE_RUN)

    @property
    def incidents(self) -> tuple[Problem, ...]:
        """Everything that happened to VMs and files, the doing of injected faults included."""
        return tuple(self.watch.incidents)

    def problems(self) -> tuple[Problem, ...]:
        """Return the broken invariants that no injected fault explains; a double run is never explained."""
        return tuple(p for p in self.watch.incidents if not p.cause or p.harm is Harm.DOUBLE_RUN)


_REASONS = {DomainState.RUNNING: "booted", DomainState.PAUSED: "user", DomainState.SHUTOFF: "shutdown"}


def host_entry(name: str, *, storage: Sequence[Storage] | None = None) -> Host:
    """Return an inventory entry for a simulated host."""
    places = (Storage(path=SHARED, shared="nfs"), Storage(path=LOCAL)) if storage is None else tuple(storage)
    return Host(
        name=name,
        uri=f"qemu+ssh://root@{name}/system",
        peer_uri=f"qemu+ssh://root@{name}/system",
        ssh=SshAddress(address=name),
        migration_address=f"{name}-migration",
        storage=places,
    )
