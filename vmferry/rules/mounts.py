"""Rules about how the file systems with a VM's images are mounted."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.facts import Mount
from vmferry.model.findings import Severity
from vmferry.rules.case import Case, Side, once_per_case
from vmferry.rules.rule import Rule, always
from vmferry.rules.sharing import is_media, places

# QEMU locks images with fcntl (open file description locks), and the kernel keeps those on the client with these
# options (fs/nfs: nolock sets both local_lock flags, nfs_lock asks for the POSIX one). local_lock=flock is not among
# them, and a v4 mount clears them all (nfs4_validate_mount_flags): it always locks on the server. /proc shows what
# is in force.
_LOCAL_LOCKS = ("nolock", "local_lock=all", "local_lock=posix")
_SOFT = ("soft", "softerr")


def nfs_locking(case: Case) -> Iterator[str]:
    """No image lies on NFS with file locking, which the reference says KVM does not support."""
    for side, mount in _nfs_mounts(case):
        if not any(option in _LOCAL_LOCKS for option in mount.options):
            version = next((o.removeprefix("vers=") for o in mount.options if o.startswith("vers=")), "")
            how = (
                "NFS 4 cannot do without locks, so mount it with vers=3,nolock"
                if version.startswith("4") or mount.fstype == "nfs4"
                else "mount it with nolock"
            )
            yield (
                f"vm {case.vm.name}: {mount.path} on {side.name} is NFS with file locking ({mount.source}, "
                f"version {version or 'unknown'}), which the reference does not support; {how} on every host that "
                "sees it, or set `profile: upstream`, where locks count as protection against a second copy"
            )


def nfs_soft(case: Case) -> Iterator[str]:
    """No image lies on a soft NFS mount: when the server is slow, writes fail that the guest believes done."""
    for side, mount in _nfs_mounts(case):
        if any(option in _SOFT for option in mount.options) and "ro" not in mount.options:
            yield (
                f"vm {case.vm.name}: {mount.path} on {side.name} is a soft NFS mount ({mount.source}): writes are "
                "given up when the server does not answer in time; change `soft` to `hard` in /etc/fstab and mount "
                "it anew while no VM uses it"
            )


@once_per_case
def _nfs_mounts(case: Case) -> tuple[tuple[Side, Mount], ...]:
    """Return the NFS mounts that hold the VM's images, each once, on the source and where they are to lie."""
    if not (case.source.has_nfs or case.dest.has_nfs):
        return ()
    images = [place for place in places(case) if not is_media(place.disk)]
    found: list[tuple[Side, Mount]] = []
    for side, paths in ((case.source, [i.path for i in images]), (case.dest, [i.dest_path for i in images])):
        if side.has_nfs:
            mounts = {m.path: m for path in paths if (m := side.mount_of(path)) is not None and m.is_nfs}
            found += ((side, mount) for mount in mounts.values())
    return tuple(found)


RULES: tuple[Rule, ...] = (
    Rule(
        "nfs-locking",
        nfs_locking,
        always(Severity.WARN, upstream=Severity.IGNORE),
        "reference 9.4: NFS file locking; Linux fs/nfs: nfs_lock",
    ),
    Rule("nfs-soft", nfs_soft, always(Severity.WARN), "nfs(5): soft"),
)
