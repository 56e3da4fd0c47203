"""The simulated fleet: build it, work on its World, then ask it what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from uuid import UUID

from vmferry.adapters.share_journal import SqlShareJournal
from vmferry.adapters.simulated.building import LOCAL, SHARED, Building
from vmferry.adapters.simulated.faults import Fault, Operation, faults_at
from vmferry.adapters.simulated.ground import Ground
from vmferry.adapters.simulated.hypervisor import SimulatedHypervisor
from vmferry.adapters.simulated.journal import GatedJournal
from vmferry.adapters.simulated.state import SimDomain
from vmferry.adapters.simulated.tools import SimulatedTools
from vmferry.adapters.simulated.watch import Harm, Problem
from vmferry.adapters.usage_store import SqlUsage
from vmferry.model.host import Host, Inventory, SshAddress, Storage
from vmferry.model.probes import Probe
from vmferry.ports import Clock, HostTools, Hypervisor, Journal, UsageStore


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

    def __init__(self, fleet: SimulatedFleet, journal: Journal, usage: UsageStore) -> None:
        self.inventory: Inventory = fleet.inventory
        self.journal: Journal = GatedJournal(fleet, journal)
        self.usage: UsageStore = usage
        self.clock: Clock = SimulatedClock(fleet)
        self._fleet = fleet

    def hypervisor(self, host: str) -> Hypervisor:
        """Return the host's libvirt."""
        return self._fleet.hypervisor(host)

    def tools(self, host: str) -> HostTools:
        """Return the host's ssh tools."""
        return self._fleet.tools(host)

    @cached_property
    def shares(self) -> SqlShareJournal:
        """An empty journal: simulated hosts share no storage by vmferry."""
        return SqlShareJournal("sqlite://")

    def ask_guest(self, probe: Probe) -> str:
        """Say what the test says that guests do."""
        return self._fleet.guests(probe)

    def close(self) -> None:
        """Nothing is open, unless shares were asked for."""
        if "shares" in self.__dict__:
            self.shares.close()


class SimulatedFleet(Building):
    """Hosts with domains and files, their own clock, faults on demand, a recorder of broken invariants."""

    def __init__(self, inventory: Inventory, *, memory_mib: int = 16384, cpus: int = 16) -> None:
        super().__init__(inventory, memory_mib=memory_mib, cpus=cpus)

    @classmethod
    def of(cls, *names: str, memory_mib: int = 16384, cpus: int = 16) -> SimulatedFleet:
        """Return a fleet of hosts that share SHARED and have LOCAL each for itself."""
        return cls(Inventory(hosts=tuple(host_entry(name) for name in names)), memory_mib=memory_mib, cpus=cpus)

    # working

    def world(self, *, journal: Journal, usage: UsageStore | None = None) -> SimulatedWorld:
        """Return a World on this fleet; another one stands for another vmferry process."""
        return SimulatedWorld(self, journal, usage or SqlUsage.in_memory())

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
