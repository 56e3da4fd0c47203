"""What a lab is to look like: hosts, guests and their options, as frozen models."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from infra.lab.net import MAX_GUEST_BRIDGES

PAGES_PER_MIB = 256
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")]


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DiskKind(StrEnum):
    """Where a guest's disk lies: nowhere, on shared storage with or without cross-host locks, or on its host."""

    NONE = "none"
    SHARED = "shared"
    NOLOCK = "nolock"
    LOCAL = "local"


class DiskFormat(StrEnum):
    """The image formats the lab can make."""

    RAW = "raw"
    QCOW2 = "qcow2"


class GuestState(StrEnum):
    """The state a guest is brought to when it is added."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUTOFF = "shutoff"


class Accel(StrEnum):
    """How guests are run; AUTO is KVM where the tiny guest really beats under it, else QEMU's emulation."""

    AUTO = "auto"
    KVM = "kvm"
    QEMU = "qemu"


class HostSpec(_Spec):
    """One libvirt host of the lab."""

    name: Name
    local_size_mib: int | None = Field(default=None, gt=0)  # None: as large as the machine's disk
    link_mib_s: float | None = Field(default=None, gt=0)  # None: uncapped
    # Bridges inside the host that guests may attach to; those with one name are one network on all hosts.
    bridges: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,14}$")], ...] = ()
    firewalld: bool = False  # whole machines only: it runs from the start, and lets nothing in but ssh


class MachineSpec(_Spec):
    """Hosts that are whole machines: Debian with a kernel of its own, under user-mode Linux."""

    memory_mib: int = Field(default=512, ge=384, le=4096)  # of each; taken as it is used


class GuestSpec(_Spec):
    """One guest: an image without operating system that dirties memory at an exact rate and beats."""

    name: Name
    host: Name = "kvm1"
    memory_mib: int = Field(default=64, ge=16)
    dirty_mib_s: float = Field(default=0.4, ge=0)
    working_set_mib: int = Field(default=8, gt=0)
    hz: int = Field(default=100, ge=20, le=1000)
    disk: DiskKind = DiskKind.NONE
    disk_format: DiskFormat = DiskFormat.RAW
    disk_mib: int = Field(default=64, ge=2)
    disk_data_mib: int = Field(default=4, ge=0)
    disk_beats: bool = True  # write the ring of heartbeat sectors, when there is a disk
    state: GuestState = GuestState.RUNNING
    autostart: bool = False
    transient: bool = False
    numa_pinned: bool = False
    title: str = ""
    description: str = ""
    metadata: str = ""  # XML elements with namespaces of their own
    network: Name | None = None  # a bridge of HostSpec.bridges
    cpu: Name | None = None  # CPU model; QEMU's default when None
    devices: str = ""  # XML of further devices
    uuid: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.working_set_mib + 8 > self.memory_mib:
            raise ValueError(f"guest {self.name}: working_set_mib + 8 must fit in memory_mib")
        if self.disk_data_mib + 1 > self.disk_mib:
            raise ValueError(f"guest {self.name}: disk_data_mib + 1 must fit in disk_mib")
        if self.transient and (self.autostart or self.state is GuestState.SHUTOFF):
            raise ValueError(f"guest {self.name}: a transient guest cannot be shut off or start by itself")
        return self

    @property
    def pages_per_tick(self) -> int:
        """Give the pages written per timer tick, rounded to whole pages."""
        return pages_per_tick(self.dirty_mib_s, self.hz)


class LabSpec(_Spec):
    """A whole lab."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")] = "lab"
    hosts: tuple[HostSpec, ...] = Field(
        default=(HostSpec(name="kvm1"), HostSpec(name="kvm2")), min_length=1, max_length=40
    )
    guests: tuple[GuestSpec, ...] = ()
    accel: Accel = Accel.AUTO
    machines: MachineSpec | None = None  # None: hosts are made of namespaces
    tls: bool = False  # every host has certificates for QEMU's TLS, of the lab's own CA
    listen_tcp: bool = False  # libvirtd also on TCP 16509, without authentication, for fault tests
    # libvirt's keepalive between the hosts, seconds and unanswered ones; its own default is 5 and 5.
    keepalive: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [host.name for host in self.hosts]
        if len(set(names)) != len(names):
            raise ValueError("two hosts have the same name")
        guests = [guest.name for guest in self.guests]
        if len(set(guests)) != len(guests):
            raise ValueError("two guests have the same name")
        if len(self.guest_bridges) > MAX_GUEST_BRIDGES:
            raise ValueError(f"{len(self.guest_bridges)} guest bridges; a lab has at most {MAX_GUEST_BRIDGES}")
        if self.machines is not None and (self.guest_bridges or self.tls or self.listen_tcp):
            raise ValueError("whole machines have no guest bridges, no TLS and no open TCP port of libvirtd")
        if self.machines is None and any(host.firewalld for host in self.hosts):
            raise ValueError("only whole machines have firewalld: give `machines` too")
        if unknown := {guest.host for guest in self.guests} - set(names):
            raise ValueError(f"guests on hosts that are not there: {', '.join(sorted(unknown))}")
        return self

    @property
    def guest_bridges(self) -> tuple[str, ...]:
        """Give the names of all hosts' guest bridges, each once."""
        return tuple(dict.fromkeys(bridge for host in self.hosts for bridge in host.bridges))

    @classmethod
    def of(cls, name: str, *, hosts: int = 2, guests: int = 0, **rest: object) -> Self:
        """Make a spec of kvm1..kvmN and vm1..vmM, the guests spread over the hosts, disks on /srv/shared."""
        made = tuple(
            GuestSpec(name=f"vm{i + 1}", host=f"kvm{i % hosts + 1}", disk=DiskKind.SHARED) for i in range(guests)
        )
        where = tuple(HostSpec(name=f"kvm{i + 1}") for i in range(hosts))
        return cls.model_validate({"name": name, "hosts": where, "guests": made, **rest})


def pages_per_tick(mib_s: float, hz: int) -> int:
    """Turn MiB per second into whole pages per tick; anything above 0 is at least one page."""
    if mib_s <= 0:
        return 0
    return max(1, round(mib_s * PAGES_PER_MIB / hz))
