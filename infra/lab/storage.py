"""Storage of a lab: one shared tree with locks between hosts, one without, and local images."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from infra.lab.proc import LabError, lab_env, run, start
from infra.lab.spec import DiskFormat, DiskKind, GuestSpec, LabSpec
from infra.lab.state import LabDir

IMAGES = "/var/lib/libvirt/images"
HOST_PATHS = {DiskKind.SHARED: "/srv/shared", DiskKind.NOLOCK: "/srv/nolock", DiskKind.LOCAL: IMAGES}
_MIB = 2**20


def mounts_under(path: Path) -> list[Path]:
    """List the mount points below a directory, deepest first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        where = Path(line.split()[4].encode().decode("unicode_escape"))
        if where.is_relative_to(path):
            found.append(where)
    return sorted(found, key=lambda where: len(where.parts), reverse=True)


def unmount_all(path: Path) -> None:
    """Detach everything mounted below a directory, even where its FUSE process is dead."""
    for _ in range(5):
        found = mounts_under(path)
        if not found:
            return
        for where in found:
            run(["umount", "-l", where], check=False)
    raise LabError(f"still mounted: {found}; try `umount -l` on them")


def make_mounts(directory: LabDir, spec: LabSpec, token: str) -> None:
    """Mount what the hosts will bind: bindfs for the shared trees, a tmpfs for local disks of a given size.

    libvirt takes fuse.glusterfs for a shared file system. One bindfs mount is one superblock, so locks work
    between the hosts that bind it; a bindfs mount of its own for each host gives locks that end at the host,
    as NFS with `nolock` does. They live outside the hosts, so they outlast a power cut.
    """
    for kind in ("shared", "nolock"):
        (directory.path / kind).mkdir(parents=True, exist_ok=True)
    _bindfs(directory, "shared", directory.mounts / "shared", token)
    for host in spec.hosts:
        _bindfs(directory, "nolock", directory.mounts / f"nolock-{host.name}", token)
        if host.local_size_mib is not None:
            _tmpfs(directory.mounts / f"local-{host.name}", host.local_size_mib)
    deadline = time.monotonic() + 20
    wanted = [directory.mounts / "shared", *(directory.mounts / f"nolock-{host.name}" for host in spec.hosts)]
    while not all(map(_answers, wanted)):
        if time.monotonic() > deadline:
            raise LabError(f"bindfs does not come up; see {directory.path}/bindfs.log")
        time.sleep(0.01)


def _bindfs(directory: LabDir, tree: str, where: Path, token: str) -> None:
    if _answers(where):
        return
    run(["umount", "-l", where], check=False)  # the corpse of one that was killed
    where.mkdir(parents=True, exist_ok=True)
    source = directory.path / tree
    argv: list[str | Path] = ["bindfs", "-f", "-o", f"fsname={tree},subtype=glusterfs", source, where]
    start(argv, log=directory.path / "bindfs.log", env=lab_env(token))


def _answers(where: Path) -> bool:
    """Tell whether a live bindfs is mounted there."""
    try:
        return where.stat().st_dev != where.parent.stat().st_dev
    except OSError:
        return False


def _tmpfs(where: Path, size_mib: int) -> None:
    where.mkdir(parents=True, exist_ok=True)
    if not os.path.ismount(where):
        run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "vmferry-lab", where])


def local_images(directory: LabDir, spec: LabSpec, host: str) -> Path:
    """Give the place outside of a host's /var/lib/libvirt/images."""
    sized = any(one.name == host and one.local_size_mib is not None for one in spec.hosts)
    return directory.mounts / f"local-{host}" if sized else directory.host(host) / "lib" / "images"


def disk_path(guest: GuestSpec) -> str | None:
    """Give the path of a guest's disk as its host sees it; None when it has none."""
    if guest.disk is DiskKind.NONE:
        return None
    return f"{HOST_PATHS[guest.disk]}/{guest.name}.{guest.disk_format.value}"


def outer_disk_path(directory: LabDir, spec: LabSpec, guest: GuestSpec, host: str) -> Path | None:
    """Give the path outside of a guest's disk as one host would see it; None when it has none."""
    if guest.disk is DiskKind.NONE:
        return None
    local = guest.disk is DiskKind.LOCAL
    where = local_images(directory, spec, host) if local else directory.path / guest.disk.value
    return where / f"{guest.name}.{guest.disk_format.value}"


def make_disk(directory: LabDir, spec: LabSpec, guest: GuestSpec) -> None:
    """Make a guest's disk with random data spread over it and holes between, unless it is there."""
    path = outer_disk_path(directory, spec, guest, guest.host)
    if path is None or path.exists():
        return
    raw, made = path.with_suffix(".raw-new"), path.with_suffix(".new")
    write_sparse(raw, guest.disk_mib, guest.disk_data_mib)
    if guest.disk_format is DiskFormat.RAW:
        raw.replace(path)
        return
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, made], timeout=600)
    made.replace(path)
    raw.unlink()


def write_sparse(path: Path, size_mib: int, data_mib: int) -> None:
    """Write an image of size_mib of which data_mib are random; the first MiB is left to the heartbeat ring."""
    step = max(1, (size_mib - 1) // max(1, data_mib))
    source = random.Random(str(path.name))
    with path.open("wb") as image:
        image.truncate(size_mib * _MIB)
        for number in range(data_mib):
            image.seek((1 + number * step) * _MIB)
            image.write(source.randbytes(_MIB))
