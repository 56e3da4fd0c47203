"""What proves that a path shows the same content on both hosts, and what proves the opposite.

An equal path proves nothing, and what the inventory says is only a claim.
"""

from __future__ import annotations

from posixpath import dirname

from vmferry.model.facts import FileFacts, Mount
from vmferry.model.host import PairFacts
from vmferry.rules.case import Case, Side, once_per_case

# What prove two devices to be one, in the reader's words (FileFacts.device_id), which leaves out what is not unique:
# - LVM: the UUIDs of volume group and logical volume. Equal ones mean the same LVM metadata: one LUN that both hosts
#   see, or a copy of it made with dd, which nothing short of writing to it can tell apart. Hence sizes must agree too.
# - naa., eui. and uuid. names of SCSI and NVMe devices, multipath or not; a partition adds its number to its device's.
# - LUKS: the UUID in the header, with the same caveat as LVM.
# An md array (md-…) is missing on purpose: assembled on two hosts at once it is two arrays with one UUID.
_PROVING = ("LVM-", "naa.", "eui.", "uuid.", "CRYPT-LUKS")
# File systems that several hosts mount at once from one device: an equal file-system UUID is the same file system.
# With ext4 or xfs it is a cloned disk.
_CLUSTER = ("gfs2", "ocfs2")
# Clients of these make inode numbers up, so unequal ones tell nothing.
_INVENTS_INODES = ("fuse", "cifs", "smb", "9p", "virtiofs", "afs")


@once_per_case
def is_declared_shared(case: Case, path: str, dest_path: str) -> bool:
    """Whether the inventory declares both paths to be one file of one shared group."""
    place = case.source.place_in_group(path)
    return place is not None and place == case.dest.place_in_group(dest_path)


def same_device(here: FileFacts, there: FileFacts) -> bool:
    """Whether two block devices are one: the same unique identity, and the same size where both were read."""
    if not here.is_block or not there.is_block or not here.device_id or here.device_id != there.device_id:
        return False
    if here.size_bytes and there.size_bytes and here.size_bytes != there.size_bytes:
        return False
    return here.device_id.startswith(_PROVING)


def is_below_marker(case: Case, path: str, dest_path: str) -> bool:
    """Whether both paths lie below a directory in which a marker file made on the source was seen on the destination.

    The marker stands for the file system that holds its directory, not for another one mounted further down.
    """
    directory = case.pair and _marked(case.pair, path)
    if not directory:
        return False
    dest_directory = _marker_seen_in(case, directory, path, dest_path)
    if dest_directory is None:
        return False
    return not _is_mounted_between(case.source, directory, path) and not _is_mounted_between(
        case.dest, dest_directory, dest_path
    )


def has_proved_locks(case: Case, path: str, dest_path: str) -> bool:
    """Whether an image lock held on the source was respected on the destination, in the directory of this very file.

    Of the nearest directory with a marker: what is proved further up says nothing of another mount below it.
    """
    if case.pair is None or not is_below_marker(case, path, dest_path):
        return False
    return _marked(case.pair, path) in case.pair.locked_storage


def _marked(pair: PairFacts, path: str) -> str | None:
    above = [d for d in pair.same_storage if path == d or path.startswith(d.rstrip("/") + "/")]
    return max(above, key=len, default=None)


def _marker_seen_in(case: Case, directory: str, path: str, dest_path: str) -> str | None:
    """Return the directory of the destination in which the marker was looked for; None where that is not certain.

    Where the inventory gives the source's directory another path on the destination, the marker was seen there, and
    says nothing about a directory of the same path.
    """
    tail = path.removeprefix(directory.rstrip("/"))
    if not dest_path.endswith(tail):
        return None
    dest_directory = dest_path.removesuffix(tail) or "/"
    if is_declared_shared(case, path, dest_path):
        return dest_directory
    return dest_directory if path == dest_path and not _is_elsewhere(case, path) else None


def _is_elsewhere(case: Case, path: str) -> bool:
    """Whether the inventory knows the path's shared group on the destination, but not at this path."""
    place = case.source.place_in_group(path)
    return place is not None and any(storage.shared == place[0] for storage in case.dest.host.storage)


def _is_mounted_between(side: Side, directory: str, path: str) -> bool:
    """Whether a file system is mounted below `directory` on the way to `path`."""
    top = directory.rstrip("/") or "/"
    while side.mount_points and len(path) > len(top):
        if path in side.mount_points:
            return True
        path = dirname(path)
    return False


def is_same_file(case: Case, path: str, dest_path: str) -> bool:
    """Whether both paths are one file of one file system that both hosts mount; for files that nobody writes.

    For places where no marker can be made: a library of ISO images, mounted read-only from NFS.
    """
    here, there = _facts(case, path, dest_path)
    if here is None or there is None or not here.inode or not here.mtime_ns:
        return False
    if (here.inode, here.mtime_ns, here.size_bytes) != (there.inode, there.mtime_ns, there.size_bytes):
        return False
    mount, dest_mount = case.source.facts.system.mount_of(path), case.dest.facts.system.mount_of(dest_path)
    if mount is None or dest_mount is None or not _same_filesystem(mount, dest_mount):
        return False
    return path.removeprefix(mount.path.rstrip("/")) == dest_path.removeprefix(dest_mount.path.rstrip("/"))


def _same_filesystem(here: Mount, there: Mount) -> bool:
    if here.is_nfs and there.is_nfs:
        return _server(here) == _server(there) != "" and _export(here) == _export(there)
    return here.fstype == there.fstype and here.fstype in _CLUSTER and here.uuid is not None and here.uuid == there.uuid


def _server(mount: Mount) -> str:
    """Return the server's address; empty for a host that mounts from itself: that is another server on every host."""
    name = mount.source.rpartition(":/")[0].strip("[]")
    address = next((o.removeprefix("addr=") for o in mount.options if o.startswith("addr=")), name)
    is_itself = (
        name in ("localhost", "::1") or name.startswith("127.") or address == "::1" or address.startswith("127.")
    )
    return "" if is_itself else address


def _export(mount: Mount) -> str:
    return mount.source.rpartition(":/")[2].strip("/")


def contradiction(case: Case, path: str, dest_path: str) -> str:
    """Say what shows that the two paths are not one file, whatever a marker says; empty when nothing does."""
    here, there = _facts(case, path, dest_path)
    if here is None:
        return ""  # nobody looked for it
    if there is None:
        return f"{dest_path} does not exist on {case.dest.name}"
    if here.is_block != there.is_block:
        kinds = ("a block device", "a file") if here.is_block else ("a file", "a block device")
        return f"it is {kinds[0]} on {case.source.name} and {kinds[1]} on {case.dest.name}"
    is_other = here.inode and there.inode and here.inode != there.inode and not here.is_block
    if is_other and _has_true_inodes(case, path, dest_path):
        return f"{case.dest.name} has another file there (inode {there.inode}, {case.source.name} has {here.inode})"
    return ""


def _has_true_inodes(case: Case, path: str, dest_path: str) -> bool:
    mounts = (case.source.facts.system.mount_of(path), case.dest.facts.system.mount_of(dest_path))
    return all(mount is not None and not mount.fstype.startswith(_INVENTS_INODES) for mount in mounts)


def _facts(case: Case, path: str, dest_path: str) -> tuple[FileFacts | None, FileFacts | None]:
    if case.pair is None:
        return None, None
    return case.pair.source_files.get(path), case.pair.dest_files.get(dest_path)
