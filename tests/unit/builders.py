"""Models for tests in one line each: sensible defaults, every field may be given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

from vmferry.model.facts import FileFacts, OsRelease, Reach, SameNetwork, SystemFacts
from vmferry.model.host import (
    Cordon,
    FleetSnapshot,
    Host,
    HostFacts,
    Inventory,
    Machine,
    PairFacts,
    Profile,
    Reserves,
    SshAddress,
    Storage,
    Unreachable,
)
from vmferry.model.vm import Disk, DiskKind, DomainState, Nic, Vm

NOW = datetime(2024, 9, 24, 12, 0, tzinfo=UTC)
GIB_KIB = 1 << 20  # one GiB in KiB
GIB = 1 << 30  # one GiB in bytes
IMAGES = "/var/lib/libvirt/images"  # shared by all hosts of a fleet built here
LOCAL = "/srv/local"  # every host's own

SHARED_STORAGE = (Storage(path=IMAGES, shared="cargo-bay"), Storage(path=LOCAL))


def build_uuid(name: str) -> UUID:
    """The same name gives the same UUID."""
    return uuid5(NAMESPACE_DNS, name)


def build_disk(source: str | None = None, target: str = "vda", **fields: Any) -> Disk:
    """A qcow2 file on shared storage."""
    given: dict[str, Any] = {"kind": DiskKind.FILE, "driver": "qcow2", "cache": "none", **fields}
    return Disk(target=target, source=source or f"{IMAGES}/disk.qcow2", **given)


def build_vm(name: str = "wanderer1", **fields: Any) -> Vm:
    """A running KVM guest of 2 GiB with one disk on shared storage and one card on br0."""
    memory = fields.pop("memory_kib", 2 * GIB_KIB)
    given: dict[str, Any] = {
        "uuid": build_uuid(name),
        "domain_type": "kvm",
        "state": DomainState.RUNNING,
        "state_reason": "booted",
        "memory_kib": memory,
        "max_memory_kib": memory,
        "vcpus": 2,
        "machine": "pc-q35-7.2",
        "disks": (build_disk(f"{IMAGES}/{name}.qcow2"),),
        "nics": (Nic(kind="bridge", source="br0", mac="52:54:00:00:00:01"),),
    }
    return Vm(name=name, **{**given, **fields})


def build_off_vm(name: str = "wanderer4", **fields: Any) -> Vm:
    """The same, shut off, with its disk on the host's own storage."""
    given: dict[str, Any] = {
        "state": DomainState.SHUTOFF,
        "state_reason": "shutdown",
        "disks": (build_disk(f"{LOCAL}/{name}.qcow2"),),
    }
    return build_vm(name, **{**given, **fields})


def build_host(name: str = "source-example", **fields: Any) -> Host:
    """An inventory entry: upstream profile, both storages, no memory reserve."""
    given: dict[str, Any] = {
        "uri": f"qemu+ssh://{name}/system",
        "peer_uri": f"qemu+ssh://{name}/system",
        "ssh": SshAddress(address=name),
        "migration_address": name,
        "profile": Profile.UPSTREAM,
        "reserves": Reserves(memory_mib=0),
        "storage": SHARED_STORAGE,
    }
    return Host(name=name, **{**given, **fields})


def build_facts(name: str = "source-example", vms: Sequence[Vm] = (), **fields: Any) -> HostFacts:
    """A Debian 12 host of 16 CPUs and 64 GiB, all free, 100 GiB free in each storage."""
    given: dict[str, Any] = {
        "uuid": build_uuid(f"host-{name}"),
        "hostname": name,
        "uri": "qemu:///system",
        "libvirt_version": 9_000_000,
        "qemu_version": 7_002_000,
        "arch": "x86_64",
        "domain_types": ("kvm", "qemu"),
        "machines": (
            Machine(name="pc-q35-7.2", canonical="pc-q35-7.2"),
            Machine(name="q35", canonical="pc-q35-7.2"),
        ),
        "cpus": 16,
        "memory_total_kib": 64 * GIB_KIB,
        "memory_available_kib": 64 * GIB_KIB,
        "networks": ("default",),
        "bridges": ("br0",),
        "system": SystemFacts(os=OsRelease(id="debian", version_id="12", name="Debian GNU/Linux 12 (bookworm)")),
        "storage_free_bytes": {IMAGES: 100 * GIB, LOCAL: 100 * GIB},
        "read_at": NOW,
    }
    return HostFacts(name=name, vms=tuple(vms), **{**given, **fields})


def build_files(vms: Sequence[Vm], allocated_bytes: int = GIB) -> dict[str, FileFacts]:
    """Facts of every file that the VMs use, all of the same size."""
    paths = {d.source for vm in vms for d in vm.disks if d.is_local_path and d.source}
    paths |= {vm.nvram for vm in vms if vm.nvram}
    return {
        path: FileFacts(path=path, size_bytes=2 * allocated_bytes, allocated_bytes=allocated_bytes)
        for path in sorted(paths)
    }


def build_pair(source: str, dest: str, vms: Sequence[Vm] = (), **fields: Any) -> PairFacts:
    """Both ways answer, br0 is one network, both see the same images directory, no file is in the way."""
    given: dict[str, Any] = {
        "ping": Reach(is_ok=True),
        "libvirt": Reach(is_ok=True),
        "networks": (SameNetwork(bridge="br0", dest_bridge="br0", is_same=True),),
        "same_storage": (IMAGES,),
        "source_files": build_files(vms),
        **fields,
    }
    shared = tuple(f"{directory}/" for directory in given["same_storage"])
    seen = {path: file for path, file in given["source_files"].items() if path.startswith(shared)}
    return PairFacts(source=source, dest=dest, **{"dest_files": seen, **given})


def build_snapshot(
    hosts: Sequence[tuple[Host, HostFacts | None]],
    *,
    unreachable: Sequence[Unreachable] = (),
    cordons: Sequence[Cordon] = (),
    pairs: Sequence[PairFacts] | None = None,
    **fields: Any,
) -> FleetSnapshot:
    """A fleet from (entry, facts); facts None: not read. Pairs of all hosts, unless given."""
    read = [facts for _, facts in hosts if facts is not None]
    made = [build_pair(a.name, b.name, a.vms) for a in read for b in read if a.name != b.name]
    return FleetSnapshot(
        inventory=Inventory(hosts=tuple(host for host, _ in hosts)),
        hosts=tuple(read),
        pairs=tuple(made if pairs is None else pairs),
        unreachable=tuple(unreachable),
        cordons=tuple(cordons),
        taken_at=NOW,
        **fields,
    )


def build_cordon(host: str, reason: str = "memory is replaced") -> Cordon:
    """A cordon by an operator."""
    return Cordon(host=host, owner="admin", reason=reason, since=NOW)


def build_fleet(
    source_vms: Sequence[Vm], dests: int = 2, dest_memory_kib: int = 64 * GIB_KIB, **fields: Any
) -> FleetSnapshot:
    """A fleet of `source-example` with the VMs and empty hosts dest-1 … dest-N."""
    hosts: list[tuple[Host, HostFacts | None]] = [
        (build_host("source-example"), build_facts("source-example", source_vms))
    ]
    for number in range(1, dests + 1):
        name = f"dest-{number}"
        facts = build_facts(name, memory_available_kib=dest_memory_kib)
        hosts.append((build_host(name), facts))
    return build_snapshot(hosts, **fields)
