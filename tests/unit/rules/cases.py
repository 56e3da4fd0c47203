"""Per rule: moves that it refuses or warns of, and moves that pass; every rule has one of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.unit.builders import (
    GIB,
    GIB_KIB,
    IMAGES,
    LOCAL,
    build_cordon,
    build_disk,
    build_facts,
    build_host,
    build_off_vm,
    build_pair,
    build_snapshot,
    build_uuid,
    build_vm,
)
from vmferry.model.host import FileFacts, Machine, PairFacts, Profile, Reach, Reserves, Storage
from vmferry.model.migration import DomainChanges, MigrationMode
from vmferry.model.vm import Device, Disk, DiskKind, DomainState, Nic, Vm
from vmferry.planning.mode import choose_mode
from vmferry.rules.case import Case, Fleet, apply_changes

SOURCE, DEST = "source-example", "dest-example"
RHEL8 = {"profile": Profile.RHEL8}
_UNSET = build_pair(SOURCE, DEST)


def make(
    vm: Vm | None = None,
    *,
    source: dict[str, Any] | None = None,
    dest: dict[str, Any] | None = None,
    source_host: dict[str, Any] | None = None,
    dest_host: dict[str, Any] | None = None,
    pair: PairFacts | None = _UNSET,
    others: tuple[Vm, ...] = (),
    mode: MigrationMode | None = None,
    changes: DomainChanges | None = None,
    third: tuple[Vm, ...] | None = None,
    **snapshot: Any,
) -> Case:
    """A case that passes unless told otherwise; the pair's files are read from the source's VMs."""
    vm = vm or build_vm()
    vms = (vm, *others)
    made = build_pair(SOURCE, DEST, vms) if pair is _UNSET else pair
    hosts: list[Any] = [
        (build_host(SOURCE, **(source_host or {})), build_facts(SOURCE, vms, **(source or {}))),
        (build_host(DEST, **(dest_host or {})), build_facts(DEST, **(dest or {}))),
    ]
    if third is not None:
        hosts.append((build_host("third-example"), build_facts("third-example", third)))
    fleet = Fleet(build_snapshot(hosts, pairs=[made] if made else [], **snapshot))
    arriving = apply_changes(vm, changes) if changes else None
    return fleet.case(vm, SOURCE, DEST, choose_mode(vm, mode)[0], arriving)


def on(**fields: Any) -> Case:
    """A running VM with these fields."""
    return make(build_vm(**fields))


def off(**fields: Any) -> Case:
    """A shut-off VM with these fields."""
    return make(build_off_vm(**fields))


def with_device(kind: str, detail: str = "", **attributes: str) -> Case:
    return on(devices=(Device(kind=kind, detail=detail, attributes=attributes),))


def with_disk(**fields: Any) -> Case:
    return on(disks=(build_disk(**fields),))


def with_nic(kind: str, source: str | None = None, **options: Any) -> Case:
    return make(build_vm(nics=(Nic(kind=kind, source=source, mac="52:54:00:00:00:02"),)), **options)


def off_pair(**fields: Any) -> PairFacts:
    return build_pair(SOURCE, DEST, (build_off_vm(),), **fields)


DISK4 = f"{LOCAL}/wanderer4.qcow2"
THERE = FileFacts(path=DISK4, size_bytes=GIB, allocated_bytes=GIB)
BAD = Reach(is_ok=False, detail="100% packet loss")
OVMF = "/usr/share/OVMF/OVMF_CODE.fd"
OVMF_FACTS = {OVMF: FileFacts(path=OVMF, size_bytes=1, allocated_bytes=1)}
DEVICE_UUID = "c2177883-f1bb-47f0-914d-32a22e3a8804"


def _firmware(dest_files: dict[str, FileFacts]) -> Case:
    vm = build_vm(firmware=OVMF)
    return make(vm, pair=build_pair(SOURCE, DEST, source_files=OVMF_FACTS, dest_files=dest_files))


def _double(case: Callable[..., Case] = make, **fields: Any) -> Case:
    """A case with a domain of the same UUID on the destination."""
    there = build_vm(**{"uuid": build_uuid("wanderer1"), **fields})
    return case(dest={"vms": (there,)})


Makers = tuple[Callable[[], Case], ...]
OFF_STATE: dict[str, Any] = {"state": DomainState.SHUTOFF, "state_reason": "shutdown"}

# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "xml-unreadable": ((lambda: on(problems=("no <uuid>",)),), (on,)),
    "xml-other-vm": ((lambda: replace(on(), arriving=build_vm("other")),), (on,)),
    "already-moving": (
        (lambda: make(open_runs={str(build_uuid("wanderer1")): "run-7"}),),
        (lambda: make(open_runs={str(build_uuid("other")): "run-7"}),),
    ),
    "two-copies": (
        (_double, lambda: make(third=(build_vm(),)), lambda: _double(name="renamed")),
        (on, lambda: _double(**OFF_STATE), lambda: make(third=(build_vm(**OFF_STATE),))),
    ),
    "same-machine": ((lambda: make(dest={"uuid": build_uuid(f"host-{SOURCE}")}),), (on,)),
    "hypervisor": (
        (
            lambda: on(domain_type="xen"),
            lambda: on(domain_type="qemu"),
            lambda: make(dest={"domain_types": ("qemu",)}),
            lambda: make(source={"domain_types": ("qemu",)}),
        ),
        (
            on,
            lambda: make(
                build_vm(domain_type="qemu"),
                source_host={"hypervisors": ("kvm", "qemu")},
                dest_host={"hypervisors": ("qemu",)},
            ),
        ),
    ),
    "user-session": (
        (
            lambda: make(dest={"uri": "qemu:///session"}),
            lambda: make(source_host={"uri": "qemu:///session"}),
            lambda: make(dest_host={"peer_uri": "qemu+ssh://dest/session?keyfile=x"}),
        ),
        (on,),
    ),
    "cordoned": (
        (lambda: make(cordons=(build_cordon(DEST),)),),
        (lambda: make(cordons=(build_cordon(SOURCE),)),),
    ),
    "ping": ((lambda: make(pair=build_pair(SOURCE, DEST, ping=BAD)),), (on, lambda: make(pair=None))),
    "libvirt-reach": (
        (lambda: make(pair=build_pair(SOURCE, DEST, libvirt=BAD)),),
        (on, lambda: make(pair=None)),
    ),
    "mode-state": (
        (
            lambda: make(mode=MigrationMode.OFFLINE),
            lambda: make(build_off_vm(), mode=MigrationMode.LIVE),
            lambda: make(build_off_vm(), mode=MigrationMode.NON_LIVE),
            lambda: make(build_vm(state=DomainState.PAUSED), mode=MigrationMode.OFFLINE),
        ),
        (on, off, lambda: on(state=DomainState.PAUSED, state_reason="user")),
    ),
    "state-unmovable": (
        (
            lambda: on(state=DomainState.PAUSED, state_reason="I/O error"),
            lambda: on(state=DomainState.PAUSED, state_reason=""),
            lambda: on(state=DomainState.PAUSED, state_reason="migrating"),
            lambda: on(state=DomainState.RUNNING, state_reason="post-copy failed"),
            lambda: on(state=DomainState.CRASHED),
            lambda: on(state=DomainState.PMSUSPENDED),
            lambda: on(state=DomainState.SHUTDOWN),
            lambda: on(state=DomainState.NOSTATE),
        ),
        (
            on,
            off,
            lambda: on(state=DomainState.PAUSED, state_reason="user"),
            lambda: on(state=DomainState.BLOCKED),
        ),
    ),
    "active-job": ((lambda: on(has_active_job=True),), (on,)),
    "snapshots": ((lambda: on(snapshots=3), lambda: off(snapshots=1)), (on,)),
    "checkpoints": ((lambda: on(checkpoints=1),), (on,)),
    "managed-save": ((lambda: off(has_managed_save=True),), (off,)),
    "transient-offline": ((lambda: off(is_persistent=False),), (off, lambda: on(is_persistent=False))),
    "stale-definition": (
        (lambda: _double(**OFF_STATE), lambda: _double(has_managed_save=True, **OFF_STATE)),
        (on, _double, lambda: _double(name="renamed", **OFF_STATE)),
    ),
    "uuid-taken": ((lambda: _double(name="renamed", **OFF_STATE),), (on, lambda: _double(**OFF_STATE))),
    "name-taken": (
        (lambda: make(dest={"vms": (build_vm("wanderer1", uuid=build_uuid("foreign")),)}),),
        (on, lambda: make(dest={"vms": (build_vm("foreign"),)})),
    ),
    "architecture": (
        (lambda: on(arch="aarch64"), lambda: make(dest={"arch": "s390x"})),
        (on, lambda: on(arch="i686")),
    ),
    "machine-type": (
        (lambda: on(machine="pc-q35-8.0"), lambda: make(dest={"machines": ()})),
        (on, lambda: on(machine="q35"), lambda: on(machine=None)),
    ),
    "max-vcpus": (
        (
            lambda: make(
                build_vm(vcpus=9),
                dest={"machines": (Machine(name="pc-q35-7.2", canonical="pc-q35-7.2", max_vcpus=8),)},
            ),
        ),
        (on, lambda: on(vcpus=200)),
    ),
    "qemu-older": (
        (lambda: make(dest={"qemu_version": 6_002_000}),),
        (on, lambda: make(source={"qemu_version": 7_002_009})),
    ),
    "libvirt-older": (
        (lambda: make(dest={"libvirt_version": 8_000_000}),),
        (on, lambda: make(dest={"libvirt_version": 9_001_000})),
    ),
    "cpu-not-compared": ((lambda: on(cpu_mode="host-passthrough"),), (on, lambda: on(cpu_mode="host-model"))),
    "memory": (
        (
            lambda: make(dest={"memory_available_kib": 2 * GIB_KIB}),
            lambda: make(build_vm(max_memory_kib=64 * GIB_KIB)),
            lambda: make(dest_host={"reserves": Reserves(memory_mib=63 * 1024)}),
            lambda: make(reserved_kib={DEST: 63 * GIB_KIB}),
        ),
        (
            on,
            lambda: make(dest={"memory_available_kib": 3 * GIB_KIB}),
            lambda: make(reserved_kib={SOURCE: 63 * GIB_KIB}),
        ),
    ),
    "memory-total": ((lambda: off(memory_kib=65 * GIB_KIB),), (off,)),
    "hugepages": ((lambda: on(hugepages=True),), (on,)),
    "vcpu-ratio": (
        (
            lambda: on(vcpus=129),
            lambda: make(build_vm(vcpus=4), dest={"vms": (build_vm("big", vcpus=126),)}),
            lambda: make(build_vm(vcpus=9), dest_host={"reserves": Reserves(memory_mib=0, vcpu_ratio=0.5)}),
        ),
        (on, lambda: make(dest={"vms": (build_vm("big", vcpus=126),)}), lambda: off(vcpus=200)),
    ),
    "storage-not-shared": (
        (
            lambda: with_disk(source=f"{LOCAL}/a.qcow2"),
            lambda: make(pair=build_pair(SOURCE, DEST, same_storage=())),
            lambda: make(pair=None, dest_host={"storage": (Storage(path=IMAGES, shared="other"),)}),
            lambda: make(changes=DomainChanges(disk_sources={"vda": "/elsewhere/wanderer1.qcow2"})),
        ),
        (
            on,
            lambda: make(pair=None),
            lambda: with_disk(kind=DiskKind.NETWORK, source="rbd://pool/a"),
            lambda: make(
                dest_host={"storage": (Storage(path="/mnt/images", shared="cargo-bay"),)},
                changes=DomainChanges(disk_sources={"vda": "/mnt/images/wanderer1.qcow2"}),
            ),
        ),
    ),
    "storage-not-proved": (
        (lambda: make(pair=build_pair(SOURCE, DEST, same_storage=())),),
        (on, lambda: make(pair=None), lambda: with_disk(source=f"{LOCAL}/a.qcow2")),
    ),
    "block-device": (
        (
            lambda: with_disk(kind=DiskKind.BLOCK, source="/dev/vg0/a"),
            lambda: off(disks=(build_disk("/dev/vg0/a", kind=DiskKind.BLOCK),)),
        ),
        (
            on,
            lambda: make(
                build_vm(disks=(build_disk("/dev/disk/by-id/wwn-1", kind=DiskKind.BLOCK),)),
                pair=build_pair(SOURCE, DEST, same_storage=("/dev/disk/by-id/wwn-1",)),
            ),
        ),
    ),
    "backing-chain": (
        (
            lambda: with_disk(backing=(f"{LOCAL}/base.qcow2",)),
            lambda: off(disks=(build_disk(DISK4, backing=("/b",)),)),
        ),
        (on, lambda: with_disk(backing=(f"{IMAGES}/base.qcow2", "nbd://store/base"))),
    ),
    "local-media": (
        (
            lambda: with_disk(target="sda", device="cdrom", source=f"{LOCAL}/rescue.iso"),
            lambda: with_disk(target="fda", device="floppy", source="/root/floppy.img"),
            lambda: off(disks=(build_disk(f"{LOCAL}/rescue.iso", target="sda", device="cdrom"),)),
        ),
        (
            lambda: on(disks=(Disk(target="sda", kind=DiskKind.FILE, device="cdrom"),)),
            lambda: with_disk(target="sda", device="cdrom", source=f"{IMAGES}/rescue.iso"),
        ),
    ),
    "cache-mode": (
        (
            lambda: make(build_vm(disks=(build_disk(cache="writeback"),)), source={"qemu_version": 2_012_000}),
            lambda: make(build_vm(disks=(build_disk(cache=None),)), source={"qemu_version": 3_001_000}),
        ),
        (
            lambda: with_disk(cache="writeback"),
            lambda: make(build_vm(disks=(build_disk(cache="directsync"),)), source={"qemu_version": 2_012_000}),
            lambda: make(
                build_vm(disks=(build_disk(cache="writeback", is_readonly=True),)),
                source={"qemu_version": 2_012_000},
            ),
            lambda: make(
                build_vm(disks=(build_disk(cache="writeback", is_shareable=True),)),
                source={"qemu_version": 2_012_000},
            ),
        ),
    ),
    "volume-disk": ((lambda: with_disk(kind=DiskKind.VOLUME, source="pool/vol"),), (on,)),
    "disk-kind": (
        tuple(
            (lambda kind=kind: with_disk(kind=kind))
            for kind in (DiskKind.DIR, DiskKind.NVME, DiskKind.VHOSTUSER, DiskKind.VHOSTVDPA, DiskKind.OTHER)
        ),
        (on, lambda: with_disk(kind=DiskKind.NETWORK)),
    ),
    "transient-disk": (
        (lambda: with_disk(is_transient=True),),
        (on, lambda: off(disks=(build_disk(is_transient=True),))),
    ),
    "copy-target-exists": (
        (lambda: make(build_off_vm(), pair=off_pair(dest_files={DISK4: THERE})),),
        (
            off,
            lambda: make(build_off_vm(), pair=None),
            # shared: the file seen there is the VM's own
            lambda: make(build_off_vm(), pair=off_pair(same_storage=(LOCAL,), dest_files={DISK4: THERE})),
        ),
    ),
    "copy-directory": (
        (
            lambda: off(disks=(build_disk("/elsewhere/a.qcow2"),)),
            lambda: make(build_off_vm(), dest={"storage_free_bytes": {}}),
            lambda: off(nvram="/elsewhere/vars.fd"),
        ),
        (off, lambda: off(nvram="/var/lib/libvirt/qemu/nvram/wanderer4_VARS.fd"), lambda: off(disks=())),
    ),
    "copy-source-missing": (
        (lambda: make(build_off_vm(), pair=off_pair(source_files={})),),
        (off, lambda: make(build_off_vm(), pair=None)),
    ),
    "copy-block-device": (
        (
            lambda: make(
                build_off_vm(),
                pair=off_pair(
                    source_files={DISK4: FileFacts(path=DISK4, size_bytes=1, allocated_bytes=1, is_block=True)}
                ),
            ),
        ),
        (off,),
    ),
    "copy-space": (
        (
            lambda: make(build_off_vm(), dest={"storage_free_bytes": {LOCAL: GIB - 1}}),
            lambda: make(
                build_off_vm(disks=(build_disk(DISK4), build_disk(f"{LOCAL}/b.qcow2", "vdb"))),
                dest={"storage_free_bytes": {LOCAL: 2 * GIB - 1}},
            ),
            # two directories of one file system
            lambda: make(
                build_off_vm(disks=(build_disk(DISK4), build_disk("/srv/b/b.qcow2", "vdb"))),
                dest={"storage_free_bytes": {LOCAL: GIB, "/srv/b": GIB}},
            ),
        ),
        (
            off,
            lambda: make(build_off_vm(), dest={"storage_free_bytes": {LOCAL: GIB}}),
            lambda: make(
                build_off_vm(disks=(build_disk(DISK4), build_disk("/srv/b/b.qcow2", "vdb"))),
                dest={"storage_free_bytes": {LOCAL: GIB, "/srv/b": GIB + 1}},
            ),
        ),
    ),
    "copy-file-in-use": (
        (
            lambda: make(build_off_vm(), others=(build_off_vm("clone", disks=(build_disk(DISK4),)),)),
            lambda: make(build_off_vm(), others=(build_vm("clone", disks=(build_disk(backing=(DISK4,)),)),)),
        ),
        (off, lambda: make(build_off_vm(), others=(build_off_vm("wanderer5"),))),
    ),
    "copy-unread": ((lambda: make(build_off_vm(), pair=None),), (off,)),
    "bridge-missing": (
        (lambda: make(dest={"bridges": ("virbr0",)}), lambda: make(build_off_vm(), dest={"bridges": ()})),
        (on, lambda: make(dest={"bridges": ("br7",)}, changes=DomainChanges(bridges={"br0": "br7"}))),
    ),
    "network-missing": (
        (lambda: with_nic("network", "isolated"),),
        (
            lambda: with_nic("network", "default"),
            lambda: with_nic("network", "isolated", changes=DomainChanges(networks={"isolated": "default"})),
        ),
    ),
    "nic-direct": ((lambda: with_nic("direct", "eth0"),), (on,)),
    "nic-passthrough": (
        (
            lambda: with_nic("hostdev", "0000:01:10.0"),
            lambda: with_device("hostdev", "pci 0000:01:10.0 (interface 52:54)", type="pci", **{"from": "interface"}),
        ),
        (on,),
    ),
    "nic-vdpa": ((lambda: with_nic("vdpa", "/dev/vhost-vdpa-0"),), (on,)),
    "nic-other": (
        (lambda: with_nic("user"), lambda: with_nic("ethernet")),
        (on, lambda: with_nic("direct", "eth0")),
    ),
    "passthrough": (
        (
            lambda: with_device("hostdev", "pci 0000:01:00.0", type="pci", mode="subsystem"),
            lambda: with_device("hostdev", "usb 046d:c52b", type="usb"),
        ),
        (on, lambda: with_device("hostdev", f"mdev {DEVICE_UUID}", type="mdev")),
    ),
    "mediated-device": (
        (lambda: with_device("hostdev", f"mdev {DEVICE_UUID}", type="mdev"),),
        (on, lambda: with_device("hostdev", "pci 0000:01:00.0", type="pci")),
    ),
    "numa-pinning": ((lambda: on(numa_pinned=("numatune", "vcpupin")),), (on,)),
    "filesystem": ((lambda: with_device("filesystem", "/srv/share", driver="virtiofs"),), (on,)),
    "shmem": ((lambda: with_device("shmem", "ivshmem-plain shm0"),), (on,)),
    "vdpa": ((lambda: with_device("vdpa", "/dev/vhost-vdpa-0"),), (on,)),
    "persistent-memory": (
        (lambda: with_device("memory", "nvdimm 1 GiB /tmp/nv", model="nvdimm"),),
        (lambda: with_device("memory", "dimm 1 GiB", model="dimm"),),
    ),
    "launch-security": ((lambda: on(launch_security="sev"),), (on,)),
    "tpm-state": (
        (
            lambda: off(devices=(Device(kind="tpm", detail="emulator", attributes={"type": "emulator"}),)),
            lambda: off(devices=(Device(kind="tpm", detail="without a backend"),)),
        ),
        (off, lambda: with_device("tpm", "emulator", type="emulator")),
    ),
    "tpm-passthrough": (
        (lambda: with_device("tpm", "passthrough /dev/tpm0", type="passthrough"),),
        (on, lambda: with_device("tpm", "emulator", type="emulator")),
    ),
    "block-job": ((lambda: with_device("mirror", "disk vda: copy job to /x", target="vda"),), (on,)),
    "invariant-tsc": (
        (lambda: with_device("feature", "CPU feature invtsc", name="invtsc"),),
        (on, lambda: with_device("feature", "CPU feature invtsc", name="invtsc", tsc_frequency="2800000000")),
    ),
    "accelerated-video": (
        (
            lambda: with_device("video", "virtio 3D", type="virtio", accel3d="yes"),
            lambda: with_device("graphics", "egl-headless", type="egl-headless"),
        ),
        (on, lambda: with_device("graphics", "vnc 10.0.0.1", type="vnc", listen="10.0.0.1")),
    ),
    "graphics-address": (
        (
            lambda: with_device("graphics", "vnc 10.0.0.1", type="vnc", listen="10.0.0.1"),
            lambda: with_device("serial", "tcp 10.0.0.1:4555", type="tcp", mode="bind", address="10.0.0.1:4555"),
        ),
        (
            on,
            lambda: with_device("serial", "tcp 0.0.0.0:4555", type="tcp", mode="bind", address="0.0.0.0:4555"),
            lambda: with_device("serial", "tcp log:514", type="tcp", mode="connect", address="log:514"),
        ),
    ),
    "character-path": (
        (
            lambda: with_device("serial", "file /var/log/vm.log", type="file", path="/var/log/vm.log"),
            lambda: with_device("console", "pty /var/log/c.log", type="pty", log="/var/log/c.log"),
        ),
        (on, lambda: with_device("serial", "file x", type="file", path=f"{IMAGES}/vm.log")),
    ),
    "tied-device": (
        (
            lambda: with_device("input", "evdev /dev/input/event1"),
            lambda: with_device("vsock", "cid 3", cid="3", auto="no"),
            lambda: with_device("smartcard", "host", mode="host"),
        ),
        (
            on,
            lambda: with_device("vsock", "cid auto", auto="yes"),
            lambda: with_device("smartcard", "tcp h:1", type="tcp"),
        ),
    ),
    "raw-arguments": ((lambda: with_device("qemu:commandline", "-s", arguments="-s"),), (on,)),
    "host-file-missing": (
        (lambda: _firmware({}),),
        (on, lambda: _firmware(OVMF_FACTS), lambda: on(firmware="efi"), lambda: on(firmware=OVMF)),
    ),
}
