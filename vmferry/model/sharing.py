"""Sharing VM images over NFS (reference 9.4): what is asked for, what hosts show, the plan, and its record."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from vmferry.model.base import Model

IMAGES = "/var/lib/libvirt/images"
SHARED_IMAGES = "/var/lib/libvirt/shared-images"


class NfsVersion(StrEnum):
    """Which protocol the hosts mount with; only version 3 can be told not to lock over the network."""

    V3 = "3"
    V4 = "4.2"


class ShareRequest(Model):
    """Who provides the storage, which two hosts mount it, and whose images go there."""

    server: str
    source: str
    dest: str
    vms: tuple[str, ...] = ()
    directory: str = SHARED_IMAGES  # on the server
    mount_at: str = IMAGES  # on both hosts
    nfs: NfsVersion = NfsVersion.V3
    firewall_is_open: bool = False  # the operator says so, where the firewall is not firewalld
    boot: bool = True  # start the VMs on the source, and see that they run
    prove: bool = True  # move one of them live to the destination

    @property
    def clients(self) -> tuple[str, ...]:
        """Return the two hosts that mount it."""
        return (self.source, self.dest)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return all hosts that take part, each once, the server first."""
        return tuple(dict.fromkeys((self.server, *self.clients)))


class Firewall(StrEnum):
    """What keeps connections off a host, as far as can be told."""

    FIREWALLD = "firewalld"  # runs
    FIREWALLD_STOPPED = "firewalld-stopped"  # is installed, does not run: it opens nothing and keeps nothing off
    UFW = "ufw"
    OTHER = "other"  # rules of iptables or nftables that drop or reject, set by something else
    NONE = "none"


class Packages(StrEnum):
    """The package manager of a host."""

    APT = "apt"
    DNF = "dnf"
    YUM = "yum"
    NONE = "none"


class TextFile(Model):
    """A configuration file as it was read; None as text: it is not there."""

    path: str
    text: str | None


class PoolAt(Model):
    """A storage pool of a host."""

    name: str
    kind: str  # dir, fs, logical, …
    target: str
    is_active: bool
    is_autostart: bool


class NfsMount(Model):
    """What is mounted at the mount point."""

    source: str
    fstype: str
    options: tuple[str, ...]


class ShareFacts(Model):
    """What one host showed, read by one command, nothing changed."""

    host: str
    packages: Packages
    installed: tuple[str, ...]  # of the NFS packages asked about, for either role
    firewall: Firewall
    open_services: tuple[str, ...] = ()  # firewalld, permanent, default zone
    open_ports: tuple[str, ...] = ()
    is_selinux_on: bool = False
    has_nfs_boolean: bool = False  # virt_use_nfs is on
    is_server_enabled: bool = False
    is_server_active: bool = False
    exports: TextFile
    own_exports: TextFile  # our file in exports.d
    has_exports_d: bool
    other_exports: tuple[TextFile, ...] = ()  # everybody else's in exports.d
    mountd: TextFile  # our file in nfs.conf.d, which gives mountd the port that the firewall opens
    fstab: TextFile
    has_directory: bool  # the shared directory, on the server
    inside: tuple[str, ...] = ()  # what is in it, as seen from it
    free_bytes: int = 0  # where it is or will be
    mount: NfsMount | None  # at the mount point; None: nothing is mounted there
    has_mount_point: bool
    hidden: tuple[str, ...] = ()  # what lies in the mount point while nothing is mounted there
    pools: tuple[PoolAt, ...] = ()
    exported: tuple[str, ...] = ()  # `exportfs -s`, line by line
    address: str = ""  # with which this host reaches the server

    def pool_at(self, target: str) -> PoolAt | None:
        """Return the directory pool whose volumes lie in `target`."""
        return next((pool for pool in self.pools if pool.kind == "dir" and pool.target == target), None)


class Run(Model):
    """A program with its arguments; never shell text."""

    kind: Literal["run"] = "run"
    argv: tuple[str, ...]
    timeout_s: int = 120
    only_if: tuple[str, ...] = ()  # a program that must end with 0, else there is nothing to do
    unless: tuple[str, ...] = ()  # a program after whose 0 there is nothing to do


class Edit(Model):
    """One line is in a file, or not; all others stay as they are. `before` is how the file was when it was planned.

    Where the file has not changed since, taking the line out gives back what was there, to the byte. None: no file.
    """

    kind: Literal["edit"] = "edit"
    path: str
    line: str  # without its newline
    is_there: bool
    before: str | None
    mode: str = "0644"  # of a file that is made


class Discard(Model):
    """Remove the copy that this share has brought; only that very file, and only while its original is there."""

    kind: Literal["discard"] = "discard"
    path: str
    from_host: str
    originals: tuple[str, ...]  # one of these must exist on `from_host`


class Bring(Model):
    """Copy an image from one host to another under a new name, proved to be equal; never over anything."""

    kind: Literal["bring"] = "bring"
    from_host: str
    path: str
    to_host: str
    to_path: str


class SetAside(Model):
    """Rename an image on its host; done already where only the new name exists."""

    kind: Literal["set-aside"] = "set-aside"
    path: str
    aside: str


Act = Annotated[Run | Edit | Bring | Discard | SetAside, Field(discriminator="kind")]


class StepKind(StrEnum):
    """The steps in the order of the reference chapter; stable, journals outlive the code."""

    PACKAGES = "packages"
    FIREWALL = "firewall"
    SERVICE = "service"
    SELINUX = "selinux"
    DIRECTORY = "directory"
    COPY = "copy"
    EXPORT = "export"
    ASIDE = "aside"
    MOUNT = "mount"
    POOL = "pool"


class ShareStep(Model):
    """What is to be done on one host, and what takes it back; both may be repeated."""

    host: str
    kind: StepKind
    why: str
    do: tuple[Act, ...]
    undo: tuple[Act, ...]


class SharedImage(Model):
    """An image that goes to the server: where it was, where it is then, and its old self's name."""

    vm: str
    uuid: UUID
    host: str
    path: str
    shared_path: str  # on the server
    aside: str


class SharePlan(Model):
    """All that will be done, in order; empty `steps`: it is shared already."""

    share: str  # id
    request: ShareRequest
    addresses: dict[str, str]  # host → the address with which it reaches the server
    server_address: str
    images: tuple[SharedImage, ...] = ()
    steps: tuple[ShareStep, ...] = ()
    notes: tuple[str, ...] = ()
    instructions: tuple[str, ...] = ()  # what a human must do first; nothing is touched before

    @property
    def key(self) -> str:
        """What only one share at a time may have in work."""
        return f"{self.request.server}:{self.request.directory}"


class ShareState(StrEnum):
    """Where a share stands."""

    OPEN = "open"  # being made, or its maker died
    SHARED = "shared"
    UNDOING = "undoing"
    HELD = "held"  # something could not be taken back
    UNDONE = "undone"


class ShareRecord(Model):
    """One share in the journal."""

    plan: SharePlan
    state: ShareState
    reason: str = ""
    owner: str
    opened_at: datetime
    begun: tuple[int, ...] = ()  # indices of steps that may have left something, in the order in which they began
    undone: tuple[int, ...] = ()


class ShareUse(Model):
    """What became of the use of a share: read from its notes, oldest first."""

    is_used: bool = False  # VMs may have written to the images on the server
    is_going_back: bool = False  # somebody began to take the used share back
    first: int | None = None  # first step of the attempt that is not over; None: there is none
    started: tuple[str, ...] = ()  # UUIDs of VMs that this attempt has started from the share


class ShareOutcome(Model):
    """How a share ended."""

    plan: SharePlan
    state: ShareState
    changed: bool
    booted: tuple[str, ...] = ()
    moved: str = ""  # the VM that was moved live as the proof
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
