"""Cases of the rules in vmferry/rules/devices.py."""

from __future__ import annotations

from tests.unit.rules.cases.making import DEVICE_UUID, Makers, off, on, with_device, with_nic
from vmferry.model.vm import Device

# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "nic-passthrough": (
        (
            lambda: with_nic("hostdev", "0000:01:10.0"),
            lambda: with_device("hostdev", "pci 0000:01:10.0 (interface 52:54)", type="pci", **{"from": "interface"}),
        ),
        (on,),
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
}
