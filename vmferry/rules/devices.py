"""Rules about devices whose state or other end stays on the source."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.domxml.machine import RAW_QEMU
from vmferry.model.findings import Severity
from vmferry.model.vm import Device
from vmferry.rules.case import Case
from vmferry.rules.compat import version_text
from vmferry.rules.rule import DEVICE, Rule, Scope, always, running
from vmferry.rules.sources import ALLOWED, FACTS


def _of_kind(case: Case, *kinds: str) -> Iterator[Device]:
    return (device for device in case.vm.devices if device.kind in kinds)


def _is_mediated(device: Device) -> bool:
    return "mdev" in (device.attributes.get("type"), *device.detail.split())


def _is_card(device: Device) -> bool:
    return device.attributes.get("from") == "interface"


def passthrough(case: Case) -> Iterator[str]:
    """No host device is passed through; cards are judged by `nic-passthrough`."""
    for device in _of_kind(case, "hostdev"):
        if not _is_mediated(device) and not _is_card(device):
            yield (
                f"vm {case.vm.name} has a device of {case.source.name} passed through ({device.detail}); "
                f"detach it with `virsh detach-device {case.vm.name} FILE` before the move, attach one of the "
                "destination's afterwards"
            )


# Words of QEMU's command line that pass a device through, share memory with another process, or seal the memory.
_RAW_DEVICES = ("vfio-", "vhost-user-", "vhost-vdpa", "ivshmem", "usb-host", "scsi-generic", "sev-", "tdx-", "sgx-")


def raw_device(case: Case) -> Iterator[str]:
    """No raw QEMU argument ties the guest to a device or process of the source: libvirt does not know of it."""
    for device in _of_kind(case, *RAW_QEMU):
        arguments = device.attributes.get("arguments", "")
        if found := [word for word in _RAW_DEVICES if word in arguments]:
            yield (
                f"vm {case.vm.name} has raw QEMU arguments for {', '.join(found)} devices, which stay on "
                f"{case.source.name}; shut the VM down and remove them with `virsh edit {case.vm.name}`"
            )


def card_passthrough(case: Case) -> Iterator[str]:
    """No card is an SR-IOV or PCI function of the source."""
    macs = [device.attributes.get("mac") for device in _of_kind(case, "hostdev") if _is_card(device)]
    macs += [nic.mac for nic in case.vm.nics if nic.kind == "hostdev" and nic.mac not in macs]
    for mac in macs:
        yield (
            f"vm {case.vm.name}: card {mac or '?'} is an SR-IOV or PCI function of {case.source.name}; "
            f"detach it with `virsh detach-interface {case.vm.name} hostdev --mac {mac or 'MAC'}` and use a "
            "bridge"
        )


def mediated(case: Case) -> Iterator[str]:
    """No mediated device (vGPU) is used."""
    for device in _of_kind(case, "hostdev"):
        if _is_mediated(device):
            yield (
                f"vm {case.vm.name} uses a mediated device of {case.source.name} ({device.detail}); shut the "
                f"VM down, remove it with `virsh edit {case.vm.name}`, add one of the destination's after the move"
            )


def numa_pinning(case: Case) -> Iterator[str]:
    """Nothing is pinned to the source's CPUs or NUMA nodes."""
    if case.vm.numa_pinned:
        yield (
            f"vm {case.vm.name} is pinned by {', '.join(case.vm.numa_pinned)}: CPU and node numbers of "
            f"{case.source.name} mean something else on another host; remove them with `virsh edit "
            f"{case.vm.name}` and restart the VM, or move it offline and adapt them there"
        )


def filesystem(case: Case) -> Iterator[str]:
    """No directory of the source is shared with the guest (virtiofs, 9p)."""
    for device in _of_kind(case, "filesystem"):
        yield (
            f"vm {case.vm.name} shares a directory of {case.source.name} ({device.detail}); unmount it in "
            "the guest and remove it with `virsh detach-device`; the content does not move"
        )


def shmem(case: Case) -> Iterator[str]:
    """No memory is shared with other processes of the source."""
    for device in _of_kind(case, "shmem"):
        yield (
            f"vm {case.vm.name} shares memory with processes of {case.source.name} ({device.detail}); "
            "remove the shmem device or shut the VM down"
        )


def vdpa(case: Case) -> Iterator[str]:
    """No device outside the cards is a vhost-vdpa device."""
    for device in case.vm.devices:
        if device.kind == "vdpa" or "vdpa" in device.attributes.get("type", ""):
            yield (
                f"vm {case.vm.name} uses vhost-vdpa ({device.detail}) of {case.source.name}; detach it before the move"
            )


def nvdimm(case: Case) -> Iterator[str]:
    """No persistent memory lies in a file or device of the source."""
    for device in _of_kind(case, "memory"):
        model = f"{device.detail} {device.attributes.get('model', '')}"
        if "nvdimm" in model or "virtio-pmem" in model:
            yield (
                f"vm {case.vm.name} has persistent memory on {case.source.name} ({device.detail}); vmferry "
                "does not move its content; remove the device or move the content by hand"
            )


def launch_security(case: Case) -> Iterator[str]:
    """The guest's memory is not sealed to the source's processor (SEV, TDX)."""
    if case.vm.launch_security:
        yield (
            f"vm {case.vm.name} has launch security {case.vm.launch_security}: its memory is bound to the "
            f"processor of {case.source.name}; shut it down and move it offline to a host with the same "
            "feature"
        )


_SWTPM = "/var/lib/libvirt/swtpm"
# What libvirt takes for shared (virFileIsSharedFS, src/util/virfile.c), as /proc names them.
_SHARED_TYPES = ("nfs", "gfs2", "ocfs2", "afs", "smb", "cifs", "ceph", "gpfs", "fuse.", "acfs", "beegfs")


def _tpm_backend(device: Device) -> str:
    words = (device.attributes.get("backend", ""), device.attributes.get("type", ""), device.detail)
    return next((b for b in ("passthrough", "emulator", "external") if any(b in w for w in words)), "unknown")


def _offline_tpm(case: Case, device: Device, state: str) -> Iterator[str]:
    """Say why the state cannot be copied: it lies elsewhere, is not known to be a file, or is sealed by a secret."""
    secret, path = device.attributes.get("secret"), device.attributes.get("path")
    if _tpm_backend(device) == "unknown" or (path and path != state):
        yield (
            f"vm {case.vm.name} has a TPM ({device.detail}) whose state is not known to lie in {state}, from where an "
            "offline move copies it; the guest would lose its keys; start the VM and move it live"
        )
    if secret:
        yield (
            f"vm {case.vm.name}: the state of its TPM is encrypted with secret {secret}, which vmferry does not carry "
            "in an offline move; start the VM and move it live"
        )


def tpm_state(case: Case) -> Iterator[str]:
    """An emulated TPM's state can be copied (offline) or no lock of it is in the way (running)."""
    state = f"{_SWTPM}/{case.vm.uuid}"
    for device in _of_kind(case, "tpm"):
        if _tpm_backend(device) not in ("emulator", "unknown"):
            continue
        mount = None if case.is_offline else case.source.facts.system.mount_of(state)
        if case.is_offline:
            yield from _offline_tpm(case, device, state)
        elif mount is not None and mount.fstype.startswith(_SHARED_TYPES):
            version = case.source.facts.libvirt_version
            yield (
                f"vm {case.vm.name} has an emulated TPM ({device.detail}) with its state on shared storage "
                f"({mount.path}, {mount.fstype}): both ends lock it; that works with libvirt 8.10 and swtpm 0.8 or "
                f"newer on both hosts, {case.source.name} has libvirt {version_text(version)}: see `swtpm --version` "
                "on both"
            )


def tpm_passthrough(case: Case) -> Iterator[str]:
    """The TPM is not the source's own chip."""
    for device in _of_kind(case, "tpm"):
        if _tpm_backend(device) in ("passthrough", "external"):
            yield (
                f"vm {case.vm.name} uses a TPM outside libvirt's control on {case.source.name} "
                f"({device.detail}); its keys cannot move; use an emulated TPM or remove it with `virsh edit "
                f"{case.vm.name}`"
            )


def guest_agent(case: Case) -> Iterator[str]:
    """The guest agent answers; asked only where the inventory's `rules` give `guest-agent` a severity."""
    if not case.vm.has_agent_channel:
        yield (
            f"vm {case.vm.name} has no guest agent channel (org.qemu.guest_agent.0); add it with `virsh edit "
            f"{case.vm.name}` and install qemu-guest-agent in the guest"
        )
    elif not case.vm.is_agent_connected:
        yield (
            f"vm {case.vm.name}: its guest agent is not connected; start it in the guest (`systemctl enable --now "
            f"qemu-guest-agent`), then `virsh -c {case.source.host.uri} qemu-agent-command {case.vm.name} "
            '\'{"execute":"guest-ping"}\'`'
        )


RULES: tuple[Rule, ...] = (
    Rule(
        "nic-passthrough",
        card_passthrough,
        DEVICE,
        "reference 9.3: SR-IOV device assignment",
        scope=Scope.VM,
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "passthrough",
        passthrough,
        DEVICE,
        "reference 9.3: device passthrough",
        scope=Scope.VM,
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "raw-device",
        raw_device,
        DEVICE,
        "reference 9.3: device passthrough; libvirt qemu:commandline, qemu:override",
        scope=Scope.VM,
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "mediated-device",
        mediated,
        DEVICE,
        "reference 9.3: mediated devices",
        scope=Scope.VM,
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "numa-pinning", numa_pinning, DEVICE, "reference 9.3: NUMA pinning", scope=Scope.VM, after_loss=Severity.BLOCK
    ),
    Rule(
        "filesystem",
        filesystem,
        DEVICE,
        f"{ALLOWED}: virtiofs; {FACTS}: 9p is not refused",
        scope=Scope.VM,
        after_loss=Severity.BLOCK,
    ),
    Rule("shmem", shmem, DEVICE, f"{ALLOWED}: shmem", scope=Scope.VM, after_loss=Severity.WARN),
    Rule("vdpa", vdpa, DEVICE, f"{ALLOWED}: vDPA", scope=Scope.VM, after_loss=Severity.BLOCK),
    Rule(
        "persistent-memory",
        nvdimm,
        always(Severity.BLOCK),
        "failure mode 30; content stays on the source",
        scope=Scope.VM,
        is_final=True,
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "launch-security",
        launch_security,
        DEVICE,
        "failure mode 30; QEMU migration blocker of SEV, TDX",
        scope=Scope.VM,
        after_loss=Severity.BLOCK,
    ),
    Rule(
        "tpm-state",
        tpm_state,
        running(Severity.WARN, offline=Severity.BLOCK),
        f"{FACTS}: OFFLINE deletes the vTPM state; libvirt 8.10 NEWS, qemuTPMHasSharedStorage; failure mode 39",
        scope=Scope.VM,
        is_final=True,
    ),
    Rule("guest-agent", guest_agent, running(Severity.IGNORE), "issue 3: where policy wants it", scope=Scope.VM),
    Rule(
        "tpm-passthrough",
        tpm_passthrough,
        DEVICE,
        "reference 9.3: device passthrough",
        scope=Scope.VM,
        after_loss=Severity.BLOCK,
    ),
)
