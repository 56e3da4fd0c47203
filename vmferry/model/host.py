"""Hosts: what the inventory says about them, and what reading them showed."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from vmferry.model.base import Model
from vmferry.model.constraint import Constraint
from vmferry.model.convergence import DEFAULT_POLICY, PolicyName
from vmferry.model.facts import (
    CpuVerdict,
    FileFacts,
    Firmware,
    HostCpu,
    HugePages,
    ImageFacts,
    PathMtu,
    Pool,
    Reach,
    SameNetwork,
    SystemFacts,
)
from vmferry.model.findings import Severity
from vmferry.model.forecast import DirtyRate, PastRate
from vmferry.model.operation import VmHandling
from vmferry.model.power import PowerControl
from vmferry.model.transport import Encryption, TransportWish
from vmferry.model.vm import Vm


class Profile(StrEnum):
    """Which support statement the rules follow."""

    RHEL8 = "rhel8"  # the reference chapter, word by word
    UPSTREAM = "upstream"  # what libvirt and QEMU can do


class SshAddress(Model):
    """Where the host's sshd answers; both the vmferry machine and the other hosts use it."""

    address: str
    user: str = "root"
    port: int = Field(default=22, ge=1, le=65535)


class Limits(Model):
    """How many moves at once a host takes part in."""

    outgoing: int = Field(default=2, ge=1, le=64)
    incoming: int = Field(default=2, ge=1, le=64)
    bandwidth_mib_s: int | None = Field(default=None, ge=1, description="cap for one move, MiB/s")
    total_mib_s: int | None = Field(default=None, ge=1, description="shared by all moves from, or to, this host, MiB/s")


class Reserves(Model):
    """What stays free on a host for the host itself."""

    memory_mib: int = Field(default=512, ge=0)
    vcpu_ratio: float = Field(default=8.0, gt=0, description="vCPUs of running VMs per CPU of the host")


class Energy(Model):
    """What a host draws, and how dear it is beside others: consolidation empties the dearest first."""

    idle_watts: float | None = Field(default=None, ge=0, le=100_000, description="drawn by the idle host, W")
    max_watts: float | None = Field(default=None, ge=0, le=100_000, description="drawn under full load, W")
    weight: float = Field(default=1.0, gt=0, le=1000, description="age and other cost: 2 counts each watt twice")


class TakesPart(Model):
    """Whether a host's VMs are moved by what runs unasked, and whether it receives them."""

    consolidation: bool = True
    balance: bool = True


class Storage(Model):
    """A directory with VM images; `shared` names the group of hosts that see the same content there."""

    path: str
    shared: str | None = None
    locks: bool = Field(default=False, description="file locks work between the hosts of the group")


class Host(Model):
    """One inventory entry: how to reach a host and what it may be asked to do."""

    name: str
    uri: str
    peer_uri: str  # how the other hosts reach this one's libvirt
    ssh: SshAddress
    migration_address: str
    hypervisors: tuple[str, ...] = ("kvm",)
    encryption: Encryption = Encryption.AUTO
    # Networks on which `encryption: none` is allowed, as 10.20.0.0/24; the inventory says them once for all hosts.
    plain_networks: tuple[str, ...] = ()
    transport: TransportWish = TransportWish()  # of VMs that leave this host
    site: str = "default"
    rack: str | None = None
    profile: Profile = Profile.RHEL8
    convergence: PolicyName = DEFAULT_POLICY  # of VMs that leave this host, where a request says nothing else
    limits: Limits = Limits()
    reserves: Reserves = Reserves()
    energy: Energy = Energy()
    takes_part: TakesPart = TakesPart()
    storage: tuple[Storage, ...] = ()
    power: PowerControl | None = None  # None: vmferry does not switch it

    def storage_of(self, path: str) -> Storage | None:
        """Return the storage entry with the longest path that holds `path`; None when none does."""
        holding = [s for s in self.storage if path == s.path or path.startswith(s.path.rstrip("/") + "/")]
        return max(holding, key=lambda s: len(s.path), default=None)


class Optimization(Model):
    """What consolidation and balance must leave as it is, whatever it would bring."""

    min_online: int = Field(default=1, ge=1, description="hosts that stay switched on, with or without VMs")
    spare_hosts: int = Field(default=1, ge=0, description="emptied hosts that stay on as the reserve")
    exclude_vms: tuple[str, ...] = Field(default=(), description="VMs that are not moved: names, * and ? for patterns")


class Inventory(Model):
    """All hosts that vmferry may touch, in the order of the file."""

    hosts: tuple[Host, ...]
    rules: dict[str, Severity] = Field(default_factory=dict, description="rule → severity, where it is to differ")
    vms: dict[str, VmHandling] = Field(default_factory=dict, description="name or UUID → what holds for the VM")
    optimization: Optimization = Optimization()
    constraints: tuple[Constraint, ...] = ()
    ssh_config: str | None = None
    path: str | None = None

    def names(self) -> tuple[str, ...]:
        """Host names in the order of the file."""
        return tuple(host.name for host in self.hosts)

    def find(self, name: str) -> Host | None:
        """Return the host with this name."""
        return next((host for host in self.hosts if host.name == name), None)


class Machine(Model):
    """A machine type that a host's QEMU offers; `canonical` is what an alias stands for."""

    name: str
    canonical: str
    max_vcpus: int = 255


class HostFacts(Model):
    """What one read of one host showed; versions as libvirt encodes them (major·10⁶ + minor·10³ + release)."""

    name: str  # the inventory's name
    uuid: UUID
    hostname: str
    uri: str  # canonical URI of the connection, tells system from session
    libvirt_version: int
    qemu_version: int
    arch: str
    domain_types: tuple[str, ...]
    machines: tuple[Machine, ...]
    cpus: int
    memory_total_kib: int
    memory_available_kib: int
    networks: tuple[str, ...] = ()  # active libvirt networks
    bridges: tuple[str, ...] = ()
    storage_free_bytes: dict[str, int] = Field(default_factory=dict)  # inventory storage path → free
    # Image path → what it is, of running VMs on storage of this host alone (steps.read_images); others are not read.
    images: dict[str, ImageFacts] = Field(default_factory=dict)
    system: SystemFacts = SystemFacts()
    pools: tuple[Pool, ...] = ()
    hugepages: tuple[HugePages, ...] | None = None  # None: not read
    firmware: Firmware | None = None
    cpu: HostCpu | None = None
    qemu_uid: int | None = None  # user that QEMU runs as; None: libvirt does not tell
    vms: tuple[Vm, ...] = ()
    dirty: dict[str, DirtyRate] = Field(default_factory=dict)  # vm uuid → measured for a forecast; empty: not asked
    read_at: datetime

    def find_vm(self, name_or_uuid: str) -> Vm | None:
        """Return the domain with this name or UUID."""
        return next((vm for vm in self.vms if name_or_uuid in (vm.name, str(vm.uuid))), None)


class PairFacts(Model):
    """What the source sees of the destination: read once per (source, dest) and phase."""

    source: str
    dest: str
    ping: Reach
    libvirt: Reach
    # The destination's migration ports; None where memory travels through the libvirt connection.
    ports: Reach | None = None
    path_mtu: PathMtu | None = None
    networks: tuple[SameNetwork, ...] = ()  # for the bridges that guests of the source use
    cpus: dict[str, CpuVerdict] = Field(default_factory=dict)  # GuestCpu.key → what the destination says
    # Directories whose content was proved to be the same on both hosts by a marker file.
    same_storage: tuple[str, ...] = ()
    # Of these: directories where a QEMU of the destination was seen to respect the image lock of one on the source.
    locked_storage: tuple[str, ...] = ()
    mib_s: float | None = None  # what one ssh stream carried from the source to the destination; None: not measured
    past: tuple[PastRate, ...] = ()  # what the memory of earlier moves between the two reached
    # Files that exist at the paths which the source's VMs have, or would get, on the destination: path there → facts.
    dest_files: dict[str, FileFacts] = Field(default_factory=dict)
    source_files: dict[str, FileFacts] = Field(default_factory=dict)

    def is_same_storage(self, path: str) -> bool:
        """Whether `path` lies below a directory that was proved to be shared."""
        return any(path == d or path.startswith(d.rstrip("/") + "/") for d in self.same_storage)


class Reservation(Model):
    """What open runs will take of a host; none of it may be given to another VM."""

    memory_kib: int = 0
    vcpus: int = 0
    hugepages_kib: int = 0
    disk_bytes: dict[str, int] = Field(default_factory=dict)  # directory → bytes of copies under way


class Unreachable(Model):
    """A host of the inventory that could not be read."""

    host: str
    reason: str


class Cordon(Model):
    """A host closed for arrivals."""

    host: str
    owner: str
    reason: str
    ticket: str = ""
    since: datetime

    def words(self) -> str:
        """Return why, with the ticket where there is one."""
        return f"{self.reason} ({self.ticket})" if self.ticket else self.reason


class FleetSnapshot(Model):
    """Everything a plan depends on, read in one phase; a plan is saved with it and can be replayed."""

    inventory: Inventory
    hosts: tuple[HostFacts, ...]
    pairs: tuple[PairFacts, ...] = ()
    unreachable: tuple[Unreachable, ...] = ()
    cordons: tuple[Cordon, ...] = ()
    reserved: dict[str, Reservation] = Field(default_factory=dict)  # promised to open runs, per host
    open_runs: dict[str, str] = Field(default_factory=dict)  # vm uuid → run id
    taken_at: datetime

    def facts(self, host: str) -> HostFacts | None:
        """Return what was read of a host."""
        return next((facts for facts in self.hosts if facts.name == host), None)

    def pair(self, source: str, dest: str) -> PairFacts | None:
        """Return what `source` sees of `dest`."""
        return next((p for p in self.pairs if (p.source, p.dest) == (source, dest)), None)
