"""A virtual machine as preflight, planning and the move need it: what its domain XML and libvirt say."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from pydantic import Field

from vmferry.model.base import Model
from vmferry.model.constraint import PlacementWish
from vmferry.model.mark import VmMark
from vmferry.model.operation import VmHandling


class DomainState(StrEnum):
    """virDomainState in virsh's words, and `absent` where the host has no such domain."""

    NOSTATE = "no state"
    RUNNING = "running"
    BLOCKED = "idle"
    PAUSED = "paused"
    SHUTDOWN = "in shutdown"
    SHUTOFF = "shut off"
    CRASHED = "crashed"
    PMSUSPENDED = "pmsuspended"
    ABSENT = "absent"

    @property
    def is_active(self) -> bool:
        """Whether a QEMU process exists in this state."""
        return self not in _WITHOUT_PROCESS


_WITHOUT_PROCESS = (DomainState.SHUTOFF, DomainState.CRASHED, DomainState.ABSENT)


class DiskKind(StrEnum):
    """`<disk type='…'>` of libvirt's domain XML."""

    FILE = "file"
    BLOCK = "block"
    NETWORK = "network"
    VOLUME = "volume"
    DIR = "dir"
    NVME = "nvme"
    VHOSTUSER = "vhostuser"
    VHOSTVDPA = "vhostvdpa"
    OTHER = "other"


class Disk(Model):
    """One `<disk>`; `source` is a path for file and block disks, `pool/volume` for volumes, None when empty."""

    target: str
    kind: DiskKind
    device: str = "disk"  # disk, cdrom, floppy, lun
    source: str | None = None
    pool: str | None = None
    driver: str | None = None  # raw, qcow2, …
    cache: str | None = None
    is_readonly: bool = False
    is_shareable: bool = False
    is_transient: bool = False
    # Backing files below `source`, nearest first, as far as the XML tells them.
    backing: tuple[str, ...] = ()
    is_chain_known: bool = True  # False: the image can have backing files, and nobody could read which

    @property
    def is_local_path(self) -> bool:
        """Whether the content lies at a path of the host (a file or a block device)."""
        return self.kind in (DiskKind.FILE, DiskKind.BLOCK) and self.source is not None

    def at(self, place: str | None) -> Disk:
        """Return the disk at another place, as `vmferry.domxml.rewrite` writes it: file, device or pool volume."""
        if place is None or place == self.source:
            return self
        pool, kind = self.pool, self.kind
        if kind in (DiskKind.FILE, DiskKind.BLOCK, DiskKind.VOLUME) and place.startswith("/"):
            is_device = place.startswith("/dev/") and not place.startswith("/dev/shm/")
            pool, kind = None, DiskKind.BLOCK if is_device else DiskKind.FILE
        elif kind is DiskKind.VOLUME:
            pool = place.partition("/")[0]
        return self.model_copy(update={"source": place, "kind": kind, "pool": pool})


class Nic(Model):
    """One `<interface>`: where the guest's network card is plugged in on the host."""

    kind: str  # bridge, network, direct, ethernet, hostdev, user, vdpa, …
    source: str | None = None  # bridge, network or device name
    mac: str | None = None
    target: str | None = None


class Device(Model):
    """A device that matters for a move: `kind` is the XML element, `detail` tells which one."""

    kind: str  # hostdev, tpm, filesystem, shmem, redirdev, vsock, memory, …
    detail: str
    attributes: dict[str, str] = Field(default_factory=dict)


class Vm(Model):
    """One VM on one host, as read from its XML (`vmferry.domxml.read`) and from libvirt.

    `is_readable` is False for a domain whose XML could not be understood: such a VM is never moved,
    and `problems` says why.
    """

    name: str
    uuid: UUID
    domain_type: str  # kvm, qemu, xen, …
    state: DomainState = DomainState.NOSTATE
    state_reason: str = ""
    is_persistent: bool = True
    is_autostart: bool = False
    has_managed_save: bool = False
    snapshots: int = 0
    checkpoints: int = 0
    has_active_job: bool = False
    title: str | None = None
    memory_kib: int = 0  # current allocation
    max_memory_kib: int = 0  # what the guest may balloon or hotplug to
    hugepages: bool = False
    hugepage_kib: int | None = None  # page size asked for; None: the host's default size
    vcpus: int = 1
    max_vcpus: int = 0  # what may be plugged in; 0: no more than `vcpus`
    arch: str = "x86_64"
    machine: str | None = None
    cpu_mode: str | None = None
    cpu_xml: str | None = None  # `<cpu>` of the live XML (host-model expanded), else of the persistent one
    emulator: str | None = None
    nvram: str | None = None
    firmware: str | None = None  # loader path, or "efi" for automatic selection
    numa_pinned: tuple[str, ...] = ()  # the XML elements that pin, empty when not pinned
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    devices: tuple[Device, ...] = ()
    has_agent_channel: bool = False  # org.qemu.guest_agent.0
    is_agent_connected: bool = False
    launch_security: str | None = None
    placement_wishes: tuple[PlacementWish, ...] = ()  # placement constraints that the domain's metadata tells
    marks: tuple[VmMark, ...] = ()  # of runs that have it in work, whatever their journal
    handling: VmHandling = VmHandling()  # of its own metadata; the inventory's go before them
    problems: tuple[str, ...] = ()

    @property
    def is_active(self) -> bool:
        """Whether a QEMU process exists."""
        return self.state.is_active

    @property
    def is_readable(self) -> bool:
        """Whether the XML was understood."""
        return not self.problems
