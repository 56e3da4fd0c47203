"""Cases of the rules in vmferry/rules/devices.py."""

from __future__ import annotations

from typing import Any

from tests.unit.rules.cases.making import DEVICE_UUID, Makers, off, on, with_device, with_nic
from tests.unit.rules.cases.real import captured, written
from vmferry.model.facts import Mount, SystemFacts
from vmferry.model.vm import Device

PCI = (
    "<hostdev mode='subsystem' type='pci' managed='yes'><source>"
    "<address domain='0x0000' bus='0x06' slot='0x12' function='0x5'/></source></hostdev>"
)
USB = "<hostdev mode='subsystem' type='usb'><source><vendor id='0x046d'/><product id='0xc52b'/></source></hostdev>"
VIRTIOFS = (
    "<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs'/><source dir='/srv/share'/>"
    "<target dir='share'/></filesystem>"
)
AGENT = (
    "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='{state}'/>"
    "<address type='virtio-serial' controller='0' bus='0' port='1'/></channel>"
)


def swtpm_on(fstype: str) -> dict[str, Any]:
    """A host that keeps TPM state on such a file system."""
    mount = Mount(path="/var/lib/libvirt/swtpm", source="nas:/swtpm", fstype=fstype)
    return {"system": SystemFacts(mounts=(mount,))}


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "nic-passthrough": (
        (
            lambda: captured("net-hostdev"),
            lambda: captured("net-virtio-teaming"),
            lambda: with_nic("hostdev", "0000:01:10.0"),
            lambda: with_device("hostdev", "pci 0000:01:10.0 (interface 52:54)", type="pci", **{"from": "interface"}),
        ),
        (on,),
    ),
    "passthrough": (
        (
            lambda: captured("hostdev-scsi-vhost-scsi-pci"),
            lambda: captured("disk-nvme"),
            lambda: captured("lxc-hostdev"),
            lambda: written(PCI),
            lambda: written(USB),
        ),
        (on, lambda: with_device("hostdev", f"mdev {DEVICE_UUID}", type="mdev")),
    ),
    "raw-device": (
        (
            lambda: with_device("qemu:commandline", "raw", arguments="-device vfio-pci,host=0000:01:00.0"),
            lambda: with_device("qemu:override", "raw", arguments="ua-d.driver=usb-host"),
        ),
        (on, lambda: with_device("qemu:commandline", "raw", arguments="-s -global ICH9-LPC.disable_s3=1")),
    ),
    "mediated-device": (
        (
            lambda: captured("hostdev-mdev-src-address-invalid"),
            lambda: with_device("hostdev", f"mdev {DEVICE_UUID}", type="mdev"),
        ),
        (on, lambda: with_device("hostdev", "pci 0000:01:00.0", type="pci")),
    ),
    "numa-pinning": (
        (
            lambda: captured("numatune-memnode"),
            lambda: captured("cputune-numatune"),
            lambda: written(before="<vcpu cpuset='0-3'>2</vcpu>"),
        ),
        (on, lambda: written(before="<vcpu placement='auto'>2</vcpu><numatune><memory placement='auto'/></numatune>")),
    ),
    "filesystem": (
        (lambda: captured("fs9p"), lambda: captured("vhost-user-fs-fd-memory"), lambda: written(VIRTIOFS)),
        (on,),
    ),
    "shmem": ((lambda: captured("shmem-plain-doorbell"),), (on,)),
    "vdpa": ((lambda: with_device("vdpa", "/dev/vhost-vdpa-0"),), (on,)),
    "persistent-memory": (
        (
            lambda: captured("memory-hotplug-nvdimm"),
            lambda: captured("hugepages-nvdimm", is_off=True),
        ),
        (
            lambda: with_device("memory", "dimm 1 GiB", model="dimm"),
            lambda: captured("memory-hotplug-virtio-mem"),
        ),
    ),
    "launch-security": ((lambda: captured("launch-security-sev"), lambda: on(launch_security="tdx")), (on,)),
    "tpm-state": (
        (
            lambda: off(devices=(Device(kind="tpm", detail="?", attributes={"type": "emulator", "path": "/srv/tpm"}),)),
            lambda: off(devices=(Device(kind="tpm", detail="without a backend"),)),
            lambda: captured("tpm-emulator-tpm2-enc", is_off=True),
            lambda: captured("tpm-emulator-tpm2-enc", source=swtpm_on("nfs4")),
            lambda: captured("tpm-emulator-tpm2-enc", source=swtpm_on("fuse.glusterfs")),
        ),
        (
            off,
            lambda: off(devices=(Device(kind="tpm", detail="emulator", attributes={"type": "emulator"}),)),
            lambda: captured("tpm-emulator-tpm2-enc"),
            lambda: captured("tpm-emulator-tpm2-enc", source=swtpm_on("ext4")),
            lambda: captured("tpm-passthrough", source=swtpm_on("nfs4")),
        ),
    ),
    "guest-agent": (
        (lambda: written(), lambda: written(AGENT.format(state="disconnected"))),
        (
            lambda: on(has_agent_channel=True, is_agent_connected=True),
            lambda: written(AGENT.format(state="connected")),
            off,  # nothing can answer
        ),
    ),
    "tpm-passthrough": (
        (lambda: captured("tpm-passthrough"), lambda: captured("tpm-external")),
        (on, lambda: with_device("tpm", "emulator", type="emulator")),
    ),
}
