"""Cases of the rules in vmferry/rules/mounts.py; options as Linux 6.1 shows them in /proc/self/mountinfo."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import IMAGES
from tests.unit.rules.cases.making import RHEL8, Makers, on
from tests.unit.rules.cases.real import block_disk, file_disk, written
from vmferry.model.facts import Mount, SystemFacts
from vmferry.rules.case import Case

V3 = "rw,relatime,vers=3,rsize=1048576,wsize=1048576,namlen=255,{how},proto=tcp,timeo=600,retrans=2,sec=sys,{lock}"
V4 = "rw,relatime,vers=4.2,rsize=524288,wsize=524288,namlen=255,{how},proto=tcp,timeo=600,retrans=2,sec=sys,{lock}"
LOCKING, LOCAL_LOCKS = "local_lock=none,addr=10.0.0.9", "nolock,local_lock=all,addr=10.0.0.9"


def system(options: str = V3, *, how: str = "hard", lock: str = LOCAL_LOCKS, fstype: str = "nfs") -> dict[str, Any]:
    shown = options.format(how=how, lock=lock).split(",")
    mount = Mount(path=IMAGES, source="cargo-bay:/images", fstype=fstype, options=tuple(shown))
    return {"system": SystemFacts(mounts=(mount,))}


def on_nfs(here: dict[str, Any], there: dict[str, Any] | None = None, **case: Any) -> Case:
    """A VM whose image lies on NFS, under the profile of the reference."""
    return written(file_disk(), source=here, dest=there or here, **{"source_host": RHEL8, **case})


CASES: dict[str, tuple[Makers, Makers]] = {
    "nfs-locking": (
        (
            lambda: on_nfs(system(lock=LOCKING)),
            lambda: on_nfs(system(V4, lock=LOCKING, fstype="nfs4")),
            lambda: on_nfs(system(lock="local_lock=flock,addr=10.0.0.9")),
            lambda: on_nfs(system(), system(lock=LOCKING)),
            lambda: on_nfs(system(lock=LOCKING), system()),
        ),
        (
            on,
            lambda: on_nfs(system()),
            lambda: on_nfs(system(lock="local_lock=posix,addr=10.0.0.9")),
            lambda: on_nfs(system(lock=LOCKING), source_host={}),
            lambda: on_nfs(system(lock=LOCKING, fstype="ext4")),
            lambda: written(block_disk(), source=system(lock=LOCKING), source_host=RHEL8),
        ),
    ),
    "nfs-soft": (
        (
            lambda: on_nfs(system(how="soft")),
            lambda: on_nfs(system(V4, how="softerr"), source_host={}),
            lambda: on_nfs(system(), system(how="soft")),
        ),
        (
            on,
            lambda: on_nfs(system()),
            lambda: on_nfs(system(V3.replace("rw", "ro"), how="soft")),
            lambda: written(file_disk(f"{IMAGES}/a.iso", device="cdrom", target="sda"), source=system(how="soft")),
        ),
    ),
}
