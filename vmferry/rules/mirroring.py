"""Rules about the disks of a running VM that QEMU mirrors to the destination, as they lie on storage of one host only.

libvirt offers it (VIR_MIGRATE_NON_SHARED_DISK); profile rhel8 does not (reference 9.3). It copies what it is told to,
onto whatever file it finds there: what may be mirrored, and to where, is decided here.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from vmferry.model.facts import FileFacts, ImageFacts
from vmferry.model.findings import Severity
from vmferry.model.host import Host, Profile
from vmferry.model.transport import Encryption
from vmferry.model.vm import Disk, DiskKind
from vmferry.rules.case import Case, once_per_case
from vmferry.rules.disk_room import Arrival, directory_of, disk_free_bytes, per_store, store_of
from vmferry.rules.encryption import choose_way
from vmferry.rules.rule import Rule, running
from vmferry.rules.sharing import Place, is_shared, places, why_not_shared

FORMATS = ("raw", "qcow2")
_MIB = 1 << 20
_BLOCK = running(Severity.BLOCK)  # under rhel8 nothing is mirrored: storage-not-shared
_SOURCE = "libvirt: VIR_MIGRATE_NON_SHARED_DISK; libvirt-facts, Disks"


@dataclass(frozen=True)
class Mirror:
    """One disk that QEMU mirrors, and the layers below it that vmferry copies before, as nobody writes to them."""

    disk: Disk
    path: str
    dest_path: str
    image: ImageFacts
    file: FileFacts | None
    layers: tuple[str, ...] = ()  # paths, nearest first, the same on both hosts; without those that are shared

    @property
    def allocated_bytes(self) -> int:
        """What the top layer takes on the source."""
        return self.file.allocated_bytes if self.file is not None else 0


def may_be_mirrored(disk: Disk) -> bool:
    """Whether the disk is of the kind that is mirrored: an image file that one VM writes to."""
    return not _wrong_kind(disk)


def is_own(host: Host, path: str) -> bool:
    """Whether the inventory does not call the path's storage shared: what it calls so must be proved, not copied."""
    storage = host.storage_of(path)
    return storage is None or storage.shared is None


def _wrong_kind(disk: Disk) -> str:
    if disk.kind is not DiskKind.FILE or disk.device != "disk":
        return f"only image files are mirrored, and it is a {disk.device} of type {disk.kind}"
    if disk.is_readonly:
        return "it is read-only, and only what the VM writes to is mirrored"
    if disk.is_shareable:
        return "it is marked shareable: another VM may write to it, and would not follow"
    if disk.is_transient:
        return "it is transient"
    if disk.driver not in FORMATS:
        return f"only {' and '.join(FORMATS)} images are mirrored, and it is {disk.driver or 'of no named format'}"
    return ""


def why_not_mirrored(case: Case, place: Place) -> str:
    """Say why a running VM's disk that is not shared cannot be mirrored; empty where it can."""
    if case.profile is Profile.RHEL8:
        return "live storage migration cannot be performed (reference 9.3; `profile: upstream` of both hosts allows it)"
    if why := _wrong_kind(place.disk):
        return why
    if not is_own(case.source.host, place.path):
        return "the inventory calls its storage shared, and what is to be shared is not copied"
    if place.dest_path.startswith("/dev/"):
        return f"{place.dest_path} is no image file"
    image = case.source.facts.images.get(place.path)
    if image is None:
        return f"`qemu-img info -U -f {place.disk.driver} {place.path}` on {case.source.name} told nothing of it"
    return _wrong_image(image) or _wrong_layers(case, place, image)


def _wrong_image(image: ImageFacts) -> str:
    if image.is_encrypted:
        return "it is encrypted, and vmferry does not make encrypted images"
    if image.data_file is not None:
        return f"its data lie in another file, {image.data_file}"
    return ""


def _wrong_layers(case: Case, place: Place, image: ImageFacts) -> str:
    named = place.disk.backing[0] if place.disk.backing else None
    if image.backing != named:
        return f"its header names {image.backing or 'nothing'} below it, the running VM has {named or 'nothing'} there"
    if named is not None and image.backing_format not in FORMATS:
        return f"its header does not tell the format of {named}: `qemu-img rebase -u -F FORMAT -b {named}` does"
    for layer in place.disk.backing:
        if not layer.startswith("/"):
            if "://" in layer:  # both hosts ask the same server
                continue
            return f"it builds on {layer}, which is no path"
        if layer == place.path or layer == place.dest_path:
            return f"it builds on {layer}, which is its own place"
        here = case.pair.source_files.get(layer) if case.pair is not None else None
        if case.pair is not None and (here is None or here.is_block):
            return f"it builds on {layer}, which is {'a block device' if here else 'missing'} on {case.source.name}"
    return ""


@once_per_case
def mirrored(case: Case) -> tuple[Mirror, ...]:
    """Return the disks that QEMU mirrors in this move, in the order of the XML; empty where none may be."""
    if case.is_offline:
        return ()
    return tuple(
        Mirror(
            disk=place.disk,
            path=place.path,
            dest_path=place.dest_path,
            image=case.source.facts.images[place.path],
            file=case.pair.source_files.get(place.path) if case.pair is not None else None,
            layers=tuple(_own_layers(case, place)),
        )
        for place in places(case)
        if is_mirrored(case, place)
    )


def is_mirrored(case: Case, place: Place) -> bool:
    """Whether QEMU is to mirror the disk: it is not shared, and nothing speaks against it."""
    if case.is_offline or place.is_read_only or place.disk.kind is not DiskKind.FILE:
        return False
    # What speaks against it first: it looks at one host, the proof of sharing at two.
    return not why_not_mirrored(case, place) and bool(why_not_shared(case, place.path, place.dest_path))


def _own_layers(case: Case, place: Place) -> Iterator[str]:
    for layer in place.disk.backing:
        if layer.startswith("/") and not is_shared(case, layer, layer, is_read_only=True):
            yield layer


@once_per_case
def mirrored_paths(case: Case) -> frozenset[str]:
    """Return what is brought to the destination while the VM runs: paths of images and layers on the source."""
    return frozenset(path for mirror in mirrored(case) for path in (mirror.path, *mirror.layers))


def target_exists(case: Case) -> Iterator[str]:
    """No file of the destination lies where a mirrored disk goes: libvirt would write over it without a question."""
    if case.pair is None:
        return
    for mirror in mirrored(case):
        there = case.pair.dest_files.get(mirror.dest_path)
        if there is not None:
            yield (
                f"vm {case.vm.name}: disk {mirror.disk.target}: {mirror.dest_path} exists on {case.dest.name} "
                f"({there.size_bytes} bytes) and vmferry never writes over an image; look whose it is: `qemu-img info "
                f"-U {mirror.dest_path}` there, then move it away, or choose another path: `--disk "
                f"{mirror.disk.target}=PATH`"
            )


def directory(case: Case) -> Iterator[str]:
    """Every mirrored disk, and every layer below it, goes to a storage directory of the destination that exists."""
    for path in _dest_paths(case):
        if directory_of(case.dest, path) is not None:
            continue
        entry = case.dest.host.storage_of(path)
        if entry is None:
            have = ", ".join(storage.path for storage in case.dest.host.storage) or "none"
            yield (
                f"vm {case.vm.name}: {posixpath.dirname(path)} lies in no storage of {case.dest.name} (inventory: "
                f"{have}); add it to the inventory, or choose another path for the disk: `--disk TARGET=PATH`"
            )
        else:
            yield (
                f"vm {case.vm.name}: storage {entry.path} does not exist on {case.dest.name}; run `ssh "
                f"{case.dest.host.ssh.address} mkdir -p {entry.path}` or mount it"
            )


def _dest_paths(case: Case) -> tuple[str, ...]:
    mirrors = mirrored(case)
    return tuple(dict.fromkeys([m.dest_path for m in mirrors] + [layer for m in mirrors for layer in m.layers]))


def space(case: Case) -> Iterator[str]:
    """The destination has room for what the mirrored disks and their layers take now, beside what open runs bring."""
    for storage, size in per_store(mirrored_arrivals(case)).items():
        free = disk_free_bytes(case.dest, case.reserved, storage)
        if size > free:
            yield (
                f"vm {case.vm.name}: {case.dest.name} has {free // _MIB} MiB free in {storage}, open runs taken off; "
                f"the mirrored disks need {-(-size // _MIB)} MiB, and more if the VM goes on filling them; choose "
                f"another host or free space: `ssh {case.dest.host.ssh.address} du -sh {storage}`"
            )


@once_per_case
def mirrored_arrivals(case: Case) -> tuple[Arrival, ...]:
    """Return what mirrored disks and their layers take on the destination now; an equal layer may be there already."""
    found: dict[str, Arrival] = {}
    for mirror in mirrored(case):
        store = store_of(case.dest, mirror.dest_path)
        found[mirror.dest_path] = Arrival(mirror.dest_path, store, mirror.allocated_bytes)
        for layer in mirror.layers:
            here = case.pair.source_files.get(layer) if case.pair is not None else None
            there = case.pair.dest_files.get(layer) if case.pair is not None else None
            if here is not None and (there is None or there.size_bytes != here.size_bytes):
                found[layer] = Arrival(layer, store_of(case.dest, layer), here.allocated_bytes, is_layer=True)
    return tuple(found.values())


def in_use(case: Case) -> Iterator[str]:
    """No other domain of the source has a mirrored disk: its image is set aside once the move is over."""
    for mirror in mirrored(case):
        others = tuple(n for n in case.source.file_users.get(mirror.path, ()) if n != case.vm.name)
        if others:
            yield (
                f"vm {case.vm.name}: disk {mirror.disk.target} ({mirror.path}) is used by {', '.join(others)} on "
                f"{case.source.name} too, which would lose it; give each VM an image of its own or put it on shared "
                "storage"
            )


def encryption(case: Case) -> Iterator[str]:
    """Disks are mirrored on a connection of their own, which the libvirt connection cannot carry."""
    way = choose_way(case.source, case.dest)
    if way.encryption is Encryption.TUNNELLED and mirrored(case):
        yield (
            f"vm {case.vm.name}: {mirrored(case)[0].path} would have to be mirrored from {case.source.name} to "
            f"{case.dest.name} on a connection of QEMU's own, and the move is tunnelled through libvirt's "
            f"({way.reason}); give both hosts certificates for QEMU's TLS (/etc/pki/qemu), or allow `encryption: none` "
            "on a private network, or shut the VM down for an offline move"
        )


def same_target(case: Case) -> Iterator[str]:
    """No two disks go to one path."""
    taken: dict[str, str] = {}
    for mirror in mirrored(case):
        other = taken.setdefault(mirror.dest_path, mirror.disk.target)
        if other != mirror.disk.target or any(mirror.dest_path in m.layers for m in mirrored(case)):
            yield (
                f"vm {case.vm.name}: disk {mirror.disk.target} would lie at {mirror.dest_path} on {case.dest.name}, as "
                f"{'disk ' + other if other != mirror.disk.target else 'a backing file'} does; choose another path: "
                f"`--disk {mirror.disk.target}=PATH`"
            )


RULES: tuple[Rule, ...] = (
    Rule("mirror-target-exists", target_exists, _BLOCK, f"{_SOURCE}; failure mode 17", is_final=True),
    Rule("mirror-same-target", same_target, _BLOCK, "failure mode 17", is_final=True),
    Rule("mirror-directory", directory, _BLOCK, "failure mode 18", is_final=True),
    Rule("mirror-space", space, _BLOCK, "failure mode 19", is_final=True),
    Rule("mirror-in-use", in_use, _BLOCK, "failure mode 23", is_final=True),
    Rule("mirror-encryption", encryption, _BLOCK, "libvirt: NBD is not tunnelled", is_final=True),
)
