"""HostFacts of a simulated host, as the real adapter would read them."""

from __future__ import annotations

from datetime import datetime

from vmferry.adapters.simulated.state import SimDomain, SimHost
from vmferry.adapters.simulated.texts import read_text
from vmferry.model.host import HostFacts, Machine
from vmferry.model.vm import Disk, DiskKind, Nic, Vm


def host_facts(host: SimHost, now: datetime) -> HostFacts:
    """Read a host; `bridges` and `storage_free_bytes` stay empty, as the port says."""
    return HostFacts(
        name=host.name,
        uuid=host.uuid,
        hostname=host.name,
        uri="qemu:///system",
        libvirt_version=host.libvirt_version,
        qemu_version=host.qemu_version,
        arch=host.arch,
        domain_types=host.domain_types,
        machines=tuple(Machine(name=name, canonical=real) for name, real in host.machines.items()),
        cpus=host.cpus,
        memory_total_kib=host.memory_total_kib,
        memory_available_kib=host.memory_available_kib(),
        networks=tuple(sorted(host.networks)),
        vms=tuple(_vm(domain) for domain in host.domains.values()),
        read_at=now,
    )


def _vm(domain: SimDomain) -> Vm:
    text = read_text(domain.xml())
    disks = tuple(
        Disk(
            target=f"vd{chr(97 + index)}",
            kind=DiskKind.BLOCK if is_block else DiskKind.FILE,
            source=path,
            driver="qcow2" if path.endswith(".qcow2") else "raw",
            cache="none",
        )
        for index, (path, is_block) in enumerate(text.disks.items())
    )
    nics = [Nic(kind="bridge", source=b) for b in text.bridges] + [
        Nic(kind="network", source=n) for n in text.networks
    ]
    return Vm(
        name=domain.name,
        uuid=domain.uuid,
        domain_type="kvm",
        state=domain.state,
        state_reason=domain.reason,
        is_persistent=domain.persistent_xml is not None,
        is_autostart=domain.is_autostart,
        has_managed_save=domain.has_managed_save,
        snapshots=domain.snapshots,
        checkpoints=domain.checkpoints,
        has_active_job=domain.job is not None,
        memory_kib=domain.memory_kib,
        max_memory_kib=text.memory_kib,
        machine="pc-i440fx-7.2",
        disks=disks,
        nics=tuple(nics),
    )
