"""The disk that all machines start from: made once by recipe.sh, and kept outside of the labs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from pathlib import Path

from infra.lab.proc import LabError, run
from infra.lab.state import LabDir

RECIPE = Path(__file__).with_name("recipe.sh")
KERNEL = Path("/usr/bin/linux.uml")
MODULES = Path("/usr/lib/uml/modules")
_KEPT = Path(__file__).resolve().parents[3] / ".cache" / "machines"


def cache_dir() -> Path:
    """Give where the disk is kept: VMFERRY_LAB_CACHE, else .cache/machines of this checkout."""
    return Path(os.environ.get("VMFERRY_LAB_CACHE") or _KEPT).resolve()


def base_image() -> Path:
    """Give the disk for this recipe and this kernel; make it (about a minute) when it is not there.

    It is never changed once it has its name: the machines' own disks hold only what differs from it.
    """
    if not KERNEL.exists():
        raise LabError("user-mode-linux is not installed; see infra/lab/packages.txt")
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    image = cache / f"debian-{_digest()}.img"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.exists():
            _make(image, cache)
    return image


def base_link(directory: LabDir) -> Path:
    """Give a lab's own name of the disk it was made from: a newer recipe must not slip below its machines' disks."""
    link = directory.path / "machine.img"
    if not link.exists():
        image = base_image()
        link.unlink(missing_ok=True)
        try:
            link.hardlink_to(image)
        except OSError:  # another file system
            run(["cp", "--sparse=always", "--preserve=timestamps", image, link], timeout=600)
    return link


def _digest() -> str:
    versions = ",".join(sorted(path.name for path in MODULES.iterdir()))
    return hashlib.sha256(RECIPE.read_bytes() + versions.encode()).hexdigest()[:16]


def _make(image: Path, cache: Path) -> None:
    for old in cache.glob("debian-*.img*"):  # labs that were made from one have a link of their own
        old.unlink()
    new = image.with_suffix(".img-new")
    # Not below the cache: mmdebstrap refuses a place that others may not enter.
    with tempfile.TemporaryDirectory(prefix="vmferry-machine-", dir="/var/tmp") as work:
        Path(work).chmod(0o755)
        run(["bash", RECIPE, new, work], timeout=1500)
    new.chmod(0o444)
    new.replace(image)
