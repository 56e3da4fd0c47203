"""Whether a path shows the same content on both hosts, and which paths a VM has there."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from vmferry.model.facts import FileFacts
from vmferry.model.host import HostFacts
from vmferry.model.vm import Device, Disk, Vm
from vmferry.rules.case import Case, once_per_case, vm_paths, volume_path
from vmferry.rules.proofs import contradiction, is_below_marker, is_declared_shared, is_same_file, same_device

_MEDIA = ("cdrom", "floppy")
_BOOT_KINDS = ("kernel", "initrd", "dtb", "shim", "table", "bootloader")


def host_files(vm: Vm) -> tuple[str, ...]:
    """Return what the VM needs of a host's own installation: emulator, firmware, kernel."""
    boot = tuple(d.attributes.get("path", "") for d in vm.devices if d.kind in _BOOT_KINDS)
    return tuple(p for p in (vm.emulator, vm.firmware, *boot) if p and p.startswith("/"))


LINES = ("serial", "parallel", "console", "channel", "redirdev", "rng", "smartcard")


def line_ends(vm: Vm) -> tuple[tuple[Device, str, str], ...]:
    """Return (device, path, what must be there before) for the lines of the VM that end in a path of its host.

    QEMU makes a file in a directory that exists; a device, a pipe or somebody's socket must exist itself.
    """
    found = []
    for device in vm.devices:
        if device.kind in LINES:
            path, log = device.attributes.get("path", ""), device.attributes.get("log", "")
            if path.startswith("/"):
                is_made = device.attributes.get("type") == "file"
                found.append((device, path, posixpath.dirname(path) if is_made else path))
            if log.startswith("/"):
                found.append((device, log, posixpath.dirname(log)))
    return tuple(found)


def files_to_stat(vm: Vm, facts: HostFacts) -> tuple[str, ...]:
    """Return the paths that the reader of a pair should look for on both hosts; each once.

    Disks, backing files, NVRAM (judged by the copy rules), `save_image`, `host_files` and `line_ends`. Remapped
    paths of the destination are the caller's to add. `facts` of the VM's host tell where the volumes of its pools lie.
    """
    volumes = (*(path for disk in vm.disks if (path := volume_path(facts, disk))), *tpm_files(vm))
    if tpm_files(vm):
        volumes = (*volumes, f"{SWTPM}/{vm.uuid}")
    lines = (place for _, _, place in line_ends(vm))
    return tuple(dict.fromkeys((*vm_paths(vm), *volumes, save_image(vm), *host_files(vm), *lines)))


def save_image(vm: Vm) -> str:
    """Return where libvirt keeps a managed save image of this name (qemuDomainManagedSavePath).

    Starting a domain restores a file at this path whether or not libvirt says that there is one.
    """
    return f"/var/lib/libvirt/qemu/save/{vm.name}.save"


SWTPM = "/var/lib/libvirt/swtpm"  # libvirt's swtpmStorageDir (src/qemu/qemu_conf.c)
# What swtpm keeps below it, per TPM version (swtpm_nvstore.c); its lock file is made anew by every start.
_TPM_STATE = ("permall", "volatilestate", "savestate")
_TPM_PREFIXES = ("tpm2/tpm2-00", "tpm1.2/tpm-00")


def tpm_files(vm: Vm) -> tuple[str, ...]:
    """Return where the state of the VM's emulated TPM may lie; those that exist are its state."""
    kinds = (d.attributes.get("type", "emulator") for d in vm.devices if d.kind == "tpm")
    if "emulator" not in kinds:
        return ()
    return tuple(f"{SWTPM}/{vm.uuid}/{prefix}.{kind}" for prefix in _TPM_PREFIXES for kind in _TPM_STATE)


def is_media(disk: Disk) -> bool:
    """Whether the disk is a drive with removable media."""
    return disk.device in _MEDIA


@once_per_case
def why_not_shared(case: Case, path: str, dest_path: str, *, is_read_only: bool = False) -> str:
    """Say why the two paths cannot be taken for one file or device; empty where they are proved to be one.

    A file is proved by a marker in its directory, one that nobody writes also by the identity of its file system and
    its own; a block device by its own identity only: device nodes on shared storage name devices of each host.
    Before the pair was read the inventory is believed, so that a plan can be made; the move itself is judged again.
    """
    if case.pair is None:
        return "" if is_declared_shared(case, path, dest_path) else _undeclared(case, path, dest_path)
    here = case.pair.source_files.get(path)
    if here is not None and here.is_block:
        return why_not_same_device(case, path, dest_path)
    if found := contradiction(case, path, dest_path):
        return found
    if is_below_marker(case, path, dest_path) or (is_read_only and is_same_file(case, path, dest_path)):
        return ""
    return f"no marker file made beside it on {case.source.name} was seen on {case.dest.name}"


def why_not_same_device(case: Case, path: str, dest_path: str) -> str:
    """Say why two block devices cannot be taken for one; what was not read is not believed."""
    if case.pair is None or path not in case.pair.source_files:
        return f"what it is on {case.source.name} was not read"
    if found := contradiction(case, path, dest_path):
        return found
    here, there = case.pair.source_files[path], case.pair.dest_files[dest_path]
    return "" if same_device(here, there) else _other_device(case, here, there)


def is_shared(case: Case, path: str, dest_path: str, *, is_read_only: bool = False) -> bool:
    """Whether both paths are one file or device: proved where the pair was read, else as the inventory declares."""
    return not why_not_shared(case, path, dest_path, is_read_only=is_read_only)


def _undeclared(case: Case, path: str, dest_path: str) -> str:
    there = "" if path == dest_path else f" to be {dest_path} on {case.dest.name}"
    return f"the inventory does not declare it{there} as shared by {case.source.name} and {case.dest.name}"


def _other_device(case: Case, here: FileFacts, there: FileFacts) -> str:
    if not here.is_block:
        return "both are files"
    if here.device_id and there.device_id and here.device_id != there.device_id:
        return f"it is {here.device_id} on {case.source.name}, but {there.device_id} on {case.dest.name}"
    if here.device_id == there.device_id != "":
        return (
            f"both are called {here.device_id}, of {here.size_bytes} and {there.size_bytes} bytes: that proves nothing"
        )
    nameless = " and ".join(s.name for s, f in ((case.source, here), (case.dest, there)) if not f.device_id)
    return f"nothing on {nameless} tells which device it is"


@dataclass(frozen=True)
class Place:
    """Where a disk's content lies on both hosts; `is_read_only`: the guest never writes it."""

    disk: Disk
    path: str
    dest_path: str
    is_read_only: bool


@once_per_case
def places(case: Case) -> tuple[Place, ...]:
    """Return the disks that lie at a path: those that name one, drives included, and volumes that both pools show."""
    arriving = {disk.target: disk for disk in case.arriving.disks}
    found = []
    for disk in case.vm.disks:
        if disk.is_local_path:
            path, dest_path = disk.source, case.dest_path(disk)
        else:
            path = volume_path(case.source.facts, disk)
            there = arriving.get(disk.target, disk)
            dest_path = (there.source if there.is_local_path else volume_path(case.dest.facts, there)) or ""
        if path and dest_path:
            found.append(Place(disk, path, dest_path, disk.is_readonly or is_media(disk)))
    return tuple(found)
