"""Pieces of what reading a host or a pair of hosts showed; every field says what it is while it was not read."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from vmferry.model.base import Model
from vmferry.model.certificates import TlsFacts


class OsRelease(Model):
    """`/etc/os-release`; empty where it could not be read."""

    id: str = ""
    version_id: str = ""
    name: str = ""  # PRETTY_NAME

    @property
    def is_known(self) -> bool:
        """Whether the file named a system."""
        return bool(self.id)


class Service(Model):
    """A systemd unit; None where systemd does not know."""

    name: str
    is_active: bool | None = None
    is_enabled: bool | None = None


class SshdLimits(Model):
    """`sshd -T`: from `start` unauthenticated connections on `rate` % are refused, from `full` on all of them."""

    start: int
    rate: int
    full: int


class ClockReading(Model):
    """The host's clock minus that of vmferry's machine, ms; the true offset is within ± `error_ms` (half the trip)."""

    offset_ms: float
    error_ms: float


class Link(Model):
    """A network device of a host (`ip -details link`)."""

    name: str
    kind: str = ""  # bridge, openvswitch, vlan, bond, veth, …; empty for hardware
    mtu: int
    is_up: bool = True
    master: str | None = None
    mac: str | None = None
    vlan_id: int | None = None
    has_vlan_filtering: bool = False
    addresses: tuple[str, ...] = ()  # with prefix length: 10.0.0.5/24, fe80::1/64
    speed_mbit_s: int | None = None
    # Traffic of the device while the host was read, the busier direction; None where it was not measured.
    used_mbit_s: float | None = None


class Mount(Model):
    """A mounted file system (`findmnt`); `source` is a device or server:/export."""

    path: str
    source: str
    fstype: str
    options: tuple[str, ...] = ()
    uuid: str | None = None

    @property
    def is_nfs(self) -> bool:
        """Whether it is an NFS mount of any version."""
        return self.fstype in ("nfs", "nfs4")


class SystemFacts(Model):
    """What the host's own system says, read in one ssh command."""

    os: OsRelease = OsRelease()
    services: tuple[Service, ...] = ()
    sshd: SshdLimits | None = None
    clock: ClockReading | None = None
    links: tuple[Link, ...] = ()
    mounts: tuple[Mount, ...] = ()
    migration_ports: tuple[int, int] = (49152, 49215)  # qemu.conf migration_port_min, _max
    tls: TlsFacts | None = None  # certificates for migration; None: not read
    # vm.unprivileged_userfaultfd; None: not read, or a kernel before 5.2, which lets everybody
    may_all_use_userfaultfd: bool | None = None
    has_userfaultfd_device: bool = False  # /dev/userfaultfd, kernel 6.1
    mark: str = ""  # vmferry's mark of the host (vmferry.model.mark.HostMark); empty: none
    freeze: str = ""  # that the fleet is frozen (vmferry.model.operation.Freeze); empty: it is not

    def link(self, name: str | None) -> Link | None:
        """Return the network device with this name."""
        return next((link for link in self.links if link.name == name), None)

    def mount_of(self, path: str) -> Mount | None:
        """Return the mount that holds `path`: the one with the longest path above it; the topmost of equal ones."""
        holding = [m for m in reversed(self.mounts) if path == m.path or path.startswith(m.path.rstrip("/") + "/")]
        return max(holding, key=lambda mount: len(mount.path), default=None)


class Pool(Model):
    """A libvirt storage pool."""

    name: str
    kind: str  # dir, fs, netfs, logical, rbd, iscsi, …
    target: str | None = None  # directory below which the volumes have paths
    is_active: bool = True
    available_bytes: int | None = None  # as of its last refresh; None where libvirt does not tell


class HugePages(Model):
    """The host's pool of huge pages of one size, all NUMA nodes together."""

    size_kib: int
    total: int
    free: int

    @property
    def free_kib(self) -> int:
        """Memory of the free pages."""
        return self.size_kib * self.free


class Firmware(Model):
    """What libvirt's domain capabilities offer for booting."""

    kinds: tuple[str, ...] = ()  # bios, efi: what `<os firmware='…'>` may ask for
    loaders: tuple[str, ...] = ()  # paths that `<loader>` may name
    has_secure_boot: bool = False


class HostCpu(Model):
    """The host's CPU as libvirt sees it (capabilities)."""

    model: str = ""
    vendor: str = ""
    tsc_hz: int | None = None
    has_tsc_scaling: bool = False


class GuestCpu(Model):
    """A guest's `<cpu>` with what decides whether a host can run it; equal guests are compared once."""

    xml: str
    arch: str
    machine: str | None
    domain_type: str

    @property
    def key(self) -> str:
        """Return what `PairFacts.cpus` is indexed by."""
        return f"{self.domain_type}/{self.arch}/{self.machine or ''}/{self.xml}"


class CpuFit(StrEnum):
    """virCPUCompareResult, and what else may happen."""

    IDENTICAL = "identical"
    SUPERSET = "superset"
    INCOMPATIBLE = "incompatible"
    FAILED = "failed"  # the host could not compare: model unknown there, call unsupported


class CpuVerdict(Model):
    """What a host's libvirt says of a guest CPU; `detail` names the missing features or the error."""

    fit: CpuFit
    detail: str = ""


class Reach(Model):
    """Whether something answered, and what was said when it did not."""

    is_ok: bool
    detail: str = ""


class PathMtu(Model):
    """The way from the source to a destination's migration address, seen from the source."""

    device: str  # the source's network device that the route leaves by
    mtu: int  # of that device
    # A packet of that size that must not be split; `detail` tells what came back instead of an answer.
    full_size: Reach


class SameNetwork(Model):
    """Whether a bridge of the source and its counterpart on the destination are one layer-2 network.

    `is_same` None: it could not be tried; `detail` says how it was found out, or why not.
    """

    bridge: str
    dest_bridge: str
    is_same: bool | None
    detail: str = ""


class BridgeQuestion(Model):
    """Whether `bridge` here and `dest_bridge` there are one layer-2 network: which addresses of it are to answer."""

    bridge: str
    dest_bridge: str
    targets: tuple[str, ...]  # addresses of `dest_bridge`, without prefix length, IPv6 link-local ones first
    # Hardware address of `dest_bridge`: Linux answers ARP for all of its addresses on all of its cards.
    mac: str | None = None


class Peer(Model):
    """What a source is to try of one destination."""

    host: str
    address: str  # migration address
    uri: str  # how this host opens the peer's libvirt
    ports: tuple[int, ...] = ()  # TCP ports of the migration address that must not be filtered; empty: none is tried
    bridges: tuple[BridgeQuestion, ...] = ()


class PeerReach(Model):
    """What came of it; `ports` None where none was to be tried, `path_mtu` None where there is no route."""

    ping: Reach
    libvirt: Reach
    ports: Reach | None = None
    path_mtu: PathMtu | None = None
    networks: tuple[SameNetwork, ...] = ()


class FileFacts(Model):
    """A file as seen on one host."""

    path: str
    size_bytes: int
    allocated_bytes: int
    is_block: bool = False
    inode: int = 0
    mtime_ns: int = 0
    # What tells a block device from every other one (LVM-…, wwn …, mpath-…); empty where nothing does.
    device_id: str = ""


class ImageFile(Model):
    """An image whose chain of backing files is to be read; `format` as the domain XML names it."""

    path: str
    format: str


class ImageFacts(Model):
    """What `qemu-img info` says of the top layer of an image; `backing` as QEMU resolves the header's name."""

    path: str
    format: str
    virtual_bytes: int  # what the guest sees
    options: dict[str, str] = Field(default_factory=dict)  # `qemu-img create -o` that makes one like it
    backing: str | None = None
    backing_format: str | None = None
    is_encrypted: bool = False
    data_file: str | None = None  # external data file
    owner: str = ""  # user:group, by name
    mode: int | None = None  # permission bits


class StoredFile(Model):
    """One file found below a storage directory."""

    path: str
    size_bytes: int
    allocated_bytes: int
    modified_at_s: int = 0  # seconds since 1970, UTC
