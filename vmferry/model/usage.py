"""What hosts and VMs really use: counters of one moment, samples between two of them, and demand that is expected."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from vmferry.model.base import Model


class VmCounters(Model):
    """What libvirt has counted of a running VM; None where it did not tell this time."""

    uuid: UUID
    name: str
    boot: str  # another one when QEMU is another: its counters begin at 0
    vcpus: int
    cpu_ns: int
    memory_kib: int
    resident_kib: int | None = None  # of QEMU's process
    disk_bytes: int | None = None  # read and written, all disks
    net_bytes: int | None = None  # received and sent, all cards


class HostCounters(Model):
    """What a host had counted at one moment, with its running VMs."""

    host: str
    at: datetime
    cpus: int
    busy_ns: int | None = None  # all CPUs; None: the host does not tell
    memory_total_kib: int
    memory_available_kib: int
    vms: tuple[VmCounters, ...] = ()


class SubjectKind(StrEnum):
    """Whose usage it is."""

    HOST = "host"
    VM = "vm"


class Subject(Model):
    """A host by its name, or a VM by its UUID, and where it was seen last."""

    kind: SubjectKind
    key: str
    name: str
    host: str
    cpus: int  # of a VM: vCPUs
    memory_mib: int
    seen_at: datetime


class UsageSample(Model):
    """What was used in a span of time; `cpus` in CPUs that were busy all of it, `cpus_peak` of its busiest part."""

    start_s: int = Field(description="seconds since 1970, UTC")
    span_s: int = Field(ge=1)
    cpus: float = Field(ge=0)
    cpus_peak: float = Field(ge=0)
    memory_mib: int = Field(ge=0)
    disk_kib_s: int = Field(default=0, ge=0)
    net_kib_s: int = Field(default=0, ge=0)

    @property
    def end_s(self) -> int:
        """When the span was over."""
        return self.start_s + self.span_s


class SubjectSample(Model):
    """A sample with whose it is."""

    subject: Subject
    sample: UsageSample


class Usage(Model):
    """A host's or VM's samples, oldest first."""

    subject: Subject
    samples: tuple[UsageSample, ...] = ()


class Demand(Model):
    """What a VM is expected to need of CPUs in the hours to come."""

    cpus: float  # at its peak
    mean_cpus: float
    spread_cpus: float = 0.0  # standard deviation of its samples
    samples: int  # 0: nothing is known, its vCPUs are taken
    basis: str

    @property
    def is_known(self) -> bool:
        """Whether it was observed for long enough."""
        return self.samples > 0


class FleetUsage(Model):
    """What a plan knows of usage: the demand of each running VM by UUID, and what each host used lately."""

    at: datetime
    demands: dict[str, Demand] = Field(default_factory=dict)
    hosts: dict[str, tuple[UsageSample, ...]] = Field(default_factory=dict)


class HostTaken(Model):
    """What one reading of a host gave."""

    host: str
    vms: int = 0
    samples: int = 0
    problem: str = ""


class UsageTaken(Model):
    """What one round over the fleet gave."""

    hosts: tuple[HostTaken, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """One line per host that could not be read."""
        return tuple(f"host {taken.host}: {taken.problem}" for taken in self.hosts if taken.problem)

    def headline(self) -> str:
        """`3 hosts, 41 VMs: 44 samples; 1 host did not answer (kvm2)`."""
        heard = [taken for taken in self.hosts if not taken.problem]
        lost = [taken.host for taken in self.hosts if taken.problem]
        words = f"{len(heard)} hosts, {sum(t.vms for t in heard)} VMs: {sum(t.samples for t in heard)} samples"
        return words + (f"; did not answer: {', '.join(lost)}" if lost else "")
