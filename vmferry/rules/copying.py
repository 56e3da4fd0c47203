"""Rules about the files that an offline move copies; what needs the pair is not judged before it was read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from vmferry.model.disks import CopyKind
from vmferry.model.findings import Severity
from vmferry.model.vm import DiskKind
from vmferry.rules.case import Case
from vmferry.rules.copies import Copy, copied_arrivals, copies, writers
from vmferry.rules.disk_room import per_store, store_free_bytes
from vmferry.rules.landing import landing
from vmferry.rules.rule import Rule, offline_only
from vmferry.rules.sharing import SWTPM, is_media, tpm_files

_MIB = 1 << 20
# libvirt makes this directory on every host (nvramDir, src/qemu/qemu_conf.c).
_NVRAM_DIRECTORY = "/var/lib/libvirt/qemu/nvram"


def target_exists(case: Case) -> Iterator[str]:
    """No file of the destination would be overwritten; a layer of the same size is compared before it is used."""
    if case.pair is None:
        return
    for copy in copies(case):
        there = case.pair.dest_files.get(copy.dest_path)
        if there is not None and not copy.is_there and copy.makes_volume and copy.dest_pool:
            yield (
                f"vm {case.vm.name}: volume {PurePosixPath(copy.dest_path).name} of pool {copy.dest_pool.name} exists "
                f"on {case.dest.name} ({there.size_bytes // _MIB} MiB) and vmferry never overwrites one; look whose it "
                f"is: `virsh -c {case.dest.host.uri} vol-info --pool {copy.dest_pool.name} "
                f"{PurePosixPath(copy.dest_path).name}`, or choose another with changes.disk_sources"
            )
        elif there is not None and not copy.is_there:
            yield (
                f"vm {case.vm.name}: {copy.dest_path} exists on {case.dest.name} ({there.size_bytes // _MIB} "
                "MiB) and vmferry never overwrites an image; look whose it is: `qemu-img info "
                f"{copy.dest_path}` there, then move it away or choose another path with changes.disk_sources"
            )


def directory(case: Case) -> Iterator[str]:
    """Every copy goes to a pool, or to a storage directory of the inventory that exists on the destination."""
    for copy in copies(case):
        parent = str(PurePosixPath(copy.dest_path).parent)
        if copy.storage is not None or copy.dest_pool is not None or _is_libvirts(copy, parent):
            continue
        entry = case.dest.host.storage_of(copy.dest_path)
        if entry is None:
            have = ", ".join(s.path for s in case.dest.host.storage) or "none"
            yield (
                f"vm {case.vm.name}: {parent} lies in no storage of {case.dest.name} (inventory: {have}); "
                "add it to the inventory or choose another path with changes.disk_sources"
            )
        else:
            yield (
                f"vm {case.vm.name}: storage {entry.path} does not exist on {case.dest.name}; "
                f"run `ssh {case.dest.host.ssh.address} mkdir -p {entry.path}` or mount it"
            )


def _is_libvirts(copy: Copy, parent: str) -> bool:
    """Whether libvirt itself has the directory on every host."""
    return (copy.kind is CopyKind.NVRAM and parent == _NVRAM_DIRECTORY) or (
        copy.kind is CopyKind.TPM and parent.startswith(f"{SWTPM}/")
    )


def source_missing(case: Case) -> Iterator[str]:
    """Every file to be copied exists on the source."""
    if case.pair is None:
        return
    for copy in copies(case):
        if copy.allocated_bytes is None:
            yield (
                f"vm {case.vm.name}: {copy.source_path} was not found on {case.source.name}; "
                f"see `ls -l {copy.source_path}` there, the definition may be out of date"
            )
    state, files = f"{SWTPM}/{case.vm.uuid}", tpm_files(case.vm)
    if (
        case.is_offline
        and files
        and state in case.pair.source_files
        and case.pair.source_files.keys().isdisjoint(files)
    ):
        yield (
            f"vm {case.vm.name}: {state} on {case.source.name} shows no state of its TPM; look with `ls -lR {state}` "
            f"there: vmferry must see it as {case.source.host.ssh.user}; remove the directory if the TPM never had any"
        )


def block_source(case: Case) -> Iterator[str]:
    """No disk of type file is a block device, or would become one that libvirt cannot make."""
    for copy in copies(case):
        if copy.is_block and not copy.is_device:
            yield (
                f"vm {case.vm.name}: {copy.source_path} is a block device on {case.source.name} under a file's name; "
                f"make the disk one of type block with `virsh -c {case.source.host.uri} edit {case.vm.name}`"
            )
    for disk in case.vm.disks if case.is_offline else ():
        lands = landing(case, disk) if disk.kind is DiskKind.FILE and disk.source and not is_media(disk) else ""
        if lands and isinstance(lands, str):
            yield f"vm {case.vm.name}: disk {disk.target} ({disk.source}) cannot be copied: {lands}"


def space(case: Case) -> Iterator[str]:
    """The destination has room for the allocated bytes of all copies beside those of open runs, per store."""
    for store, size in per_store(copied_arrivals(case)).items():
        free = store_free_bytes(case.dest, case.reserved, store)
        if free is None or size <= free:
            continue
        there = case.dest.facts.storage_free_bytes.get(store)
        promised = f" (of {there // _MIB} MiB, the rest is promised to open runs)" if there and free < there else ""
        pool_info = f"virsh -c {case.dest.host.uri} pool-info {store.removeprefix('pool ')}"
        du = f"ssh {case.dest.host.ssh.address} du -sh {store}"
        see = f"`{du}`" if there is not None else f"`{pool_info}` (`pool-refresh` reads it anew)"
        yield (
            f"vm {case.vm.name}: {case.dest.name} has {free // _MIB} MiB free in {store}{promised}, the copies need "
            f"{-(-size // _MIB)} MiB; choose another host or free space: {see}"
        )


def file_in_use(case: Case) -> Iterator[str]:
    """No other domain of the source uses a file that moves: it is set aside after the copy; common layers stay."""
    for copy in copies(case):
        users = writers(case.source, copy.source_path) if copy.is_kept else case.source.file_users.get(copy.source_path)
        others = tuple(name for name in users or () if name != case.vm.name)
        if others:
            yield (
                f"vm {case.vm.name}: {copy.source_path} is used by {', '.join(others)} on {case.source.name} "
                "too, which would lose it; give each VM an image of its own or put it on shared storage"
            )


def unread(case: Case) -> Iterator[str]:
    """The files were looked at before anything is copied."""
    files = copies(case) if case.pair is None else ()
    if files:
        yield (
            f"vm {case.vm.name}: {len(files)} files are to be copied to {case.dest.name}, but neither their "
            "sizes nor the destination's files were read; preflight reads them before the move"
        )


RULES: tuple[Rule, ...] = (
    Rule("copy-target-exists", target_exists, offline_only(Severity.BLOCK), "failure mode 17", is_final=True),
    Rule("copy-directory", directory, offline_only(Severity.BLOCK), "failure mode 18", is_final=True),
    Rule("copy-source-missing", source_missing, offline_only(Severity.BLOCK), "failure mode 18", is_final=True),
    Rule("copy-block-device", block_source, offline_only(Severity.BLOCK), "failure mode 15", is_final=True),
    Rule("copy-space", space, offline_only(Severity.BLOCK), "failure mode 19", is_final=True),
    Rule("copy-file-in-use", file_in_use, offline_only(Severity.BLOCK), "failure mode 23", is_final=True),
    Rule("copy-unread", unread, offline_only(Severity.WARN), "failure mode 17"),
)
