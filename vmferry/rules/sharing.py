"""Whether a path shows the same content on both hosts, and which files an offline move must copy."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from vmferry.model.disks import CopyKind
from vmferry.model.facts import FileFacts, Pool
from vmferry.model.host import HostFacts
from vmferry.model.vm import Device, Disk, DiskKind, Vm
from vmferry.rules.case import Case, Side, once_per_case, vm_paths, volume_path
from vmferry.rules.landing import Landing, landing
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


@dataclass(frozen=True)
class Copy:
    """One file that an offline move copies; `allocated_bytes` None where the file was not read.

    `storage` is the directory of the destination whose free bytes count for it, None where none is known;
    `filesystem` stands for all directories that draw on the same free bytes.
    """

    source_path: str
    dest_path: str
    size_bytes: int | None
    allocated_bytes: int | None
    storage: str | None
    filesystem: str | None
    is_block: bool
    kind: CopyKind
    target: str = ""
    format: str | None = None
    is_kept: bool = False  # a layer that other VMs of the source build on
    is_there: bool = False  # a layer that the destination seems to have; the digest tells at the storage step
    is_device: bool = False  # the disk is a block device on the source, and known as one
    makes_volume: bool = False
    source_pool: Pool | None = None
    dest_pool: Pool | None = None


def _storage(case: Case, path: str) -> str | None:
    holding = [d for d in case.dest.facts.storage_free_bytes if path.startswith(d.rstrip("/") + "/")]
    return max(holding, key=len, default=None)


def _filesystem(case: Case, storage: str | None) -> str | None:
    """Return one directory for all with the same free bytes: read at once, to the byte, they are one file system.

    Two file systems with equal free bytes by chance are taken for one: that refuses, it never over-commits.
    """
    free = case.dest.facts.storage_free_bytes
    return None if storage is None else min(d for d in free if free[d] == free[storage])


def _copy(
    case: Case, path: str, dest_path: str, kind: CopyKind, disk: Disk | None = None, found: Landing | None = None
) -> Copy:
    facts = case.pair.source_files.get(path) if case.pair is not None else None
    there = case.pair.dest_files.get(dest_path) if case.pair is not None else None
    makes_volume, is_layer = found is not None and found.makes_volume, kind is CopyKind.BACKING
    # What is free beside a device node is nobody's storage.
    storage = None if makes_volume else _storage(case, dest_path)
    return Copy(
        source_path=path,
        dest_path=dest_path,
        size_bytes=facts.size_bytes if facts else None,
        # A device, and a volume that is one, take all of their size.
        allocated_bytes=(facts.size_bytes if facts.is_block or makes_volume else facts.allocated_bytes)
        if facts
        else None,
        storage=storage,
        filesystem=_filesystem(case, storage),
        is_block=facts.is_block if facts else False,
        is_device=found.is_device if found else False,
        makes_volume=makes_volume,
        source_pool=found.source_pool if found else None,
        dest_pool=found.dest_pool if found else None,
        kind=kind,
        target=disk.target if disk is not None else "",
        format=disk.driver if disk is not None and not is_layer else None,
        is_kept=is_layer and any(name != case.vm.name for name in case.source.file_users.get(path, ())),
        is_there=is_layer
        and facts is not None
        and there is not None
        and there.size_bytes == facts.size_bytes
        and not writers(case.dest, dest_path),
    )


def writers(side: Side, path: str) -> tuple[str, ...]:
    """Return the domains of a host that may write to a file which others build on."""
    return tuple(
        vm.name
        for vm in side.facts.vms
        if any(not d.is_readonly and path in (d.source, volume_path(side.facts, d)) for d in vm.disks)
    )


_COPIED = (DiskKind.FILE, DiskKind.VOLUME, DiskKind.BLOCK)


@once_per_case
def copies(case: Case) -> tuple[Copy, ...]:
    """Return the files that an offline move copies: images with all their layers, NVRAM and TPM state; each once.

    What is proved to be shared is left out. Disks in the order of the XML, the lowest layer of each first, then the
    rest; empty for a move with memory, which copies none of them.
    """
    if not case.is_offline:
        return ()
    found: dict[tuple[str, str], Copy] = {}
    for disk in case.vm.disks:
        lands = landing(case, disk) if disk.kind in _COPIED and disk.source and not is_media(disk) else ""
        if isinstance(lands, Landing):
            for layer in copied_layers(case, disk):
                found.setdefault((layer, layer), _copy(case, layer, layer, CopyKind.BACKING, disk))
            path, dest_path = lands.path, lands.dest_path
            if not is_shared(case, path, dest_path, is_read_only=disk.is_readonly):
                found.setdefault((path, dest_path), _copy(case, path, dest_path, CopyKind.IMAGE, disk, lands))
    if case.vm.nvram:
        dest_path = case.arriving.nvram or case.vm.nvram
        if not is_shared(case, case.vm.nvram, dest_path):
            found.setdefault((case.vm.nvram, dest_path), _copy(case, case.vm.nvram, dest_path, CopyKind.NVRAM))
    for path in tpm_files(case.vm):
        if case.pair is not None and path in case.pair.source_files and not is_shared(case, path, path):
            found.setdefault((path, path), _copy(case, path, path, CopyKind.TPM))
    return tuple(found.values())


def copied_layers(case: Case, disk: Disk) -> tuple[str, ...]:
    """Return the layers below an image that an offline move copies to the same path, the lowest first.

    None where one of them is no file of the source, or where the image goes to another directory: what its header
    names might be relative to the old one. `backing-chain` blocks those.
    """
    if not case.is_offline or disk.kind not in _COPIED or not disk.source or is_media(disk):
        return ()
    lands = landing(case, disk)
    if isinstance(lands, str) or lands.makes_volume or lands.is_device:
        return ()
    if posixpath.dirname(lands.dest_path) != posixpath.dirname(lands.path):
        return ()
    if not all(path.startswith("/") and not path.startswith("/dev/") for path in disk.backing):
        return ()
    return tuple(path for path in reversed(disk.backing) if not is_shared(case, path, path, is_read_only=True))
