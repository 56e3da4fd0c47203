"""Cases of the rules in vmferry/rules/volumes.py."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import GIB, IMAGES, LOCAL, build_pair
from tests.unit.rules.cases.making import DEST, SOURCE, Makers, on
from tests.unit.rules.cases.real import captured, volume_disk, written
from vmferry.model.facts import FileFacts, Pool
from vmferry.model.migration import DomainChanges
from vmferry.rules.case import Case

SHARED = Pool(name="images", kind="netfs", target=IMAGES)
OWN = Pool(name="images", kind="dir", target=LOCAL)
STOPPED = Pool(name="images", kind="netfs", target=IMAGES, is_active=False)
OTHER = Pool(name="other", kind="dir", target="/srv/other")
CEPH = Pool(name="images", kind="rbd")
GROUP = Pool(name="images", kind="logical", target="/dev/vg0")
LV = "LVM-06UgP52rhbw3BoMdRWeoLpytOSAa2ky6M1sjh4UkEtSPBxPSZUUXUwz8oPYVPn"


def volume(source: Pool | None, dest: Pool | None, *, device: str = "disk", **case: Any) -> Case:
    """A VM on volume vm1.qcow2 of pool `images` that is this on the source and that on the destination."""
    pools = [() if pool is None else (pool,) for pool in (source, dest)]
    return written(volume_disk(device=device), source={"pools": pools[0]}, dest={"pools": pools[1]}, **case)


def remapped(place: str) -> DomainChanges:
    return DomainChanges(disk_sources={"vda": place})


def logical(there: str) -> Case:
    path = "/dev/vg0/vm1.qcow2"
    facts = {
        name: FileFacts(path=path, size_bytes=GIB, allocated_bytes=GIB, is_block=True, device_id=name)
        for name in (LV, there)
    }
    pair = build_pair(SOURCE, DEST, source_files={path: facts[LV]}, dest_files={path: facts[there]})
    return volume(GROUP, GROUP, pair=pair)


CASES: dict[str, tuple[Makers, Makers]] = {
    "volume-disk": (
        (
            lambda: volume(SHARED, None),
            lambda: volume(SHARED, STOPPED),
            lambda: volume(STOPPED, SHARED),
            lambda: volume(SHARED, OWN),
            lambda: volume(OWN, OWN),
            lambda: volume(OWN, GROUP, is_off=True),  # a qcow2 image in a volume of fixed size
            lambda: volume(OWN, CEPH, is_off=True),
            lambda: volume(OWN, STOPPED, is_off=True),
            lambda: volume(OWN, None, is_off=True),
            lambda: volume(CEPH, OWN, is_off=True),
            lambda: volume(SHARED, CEPH),
            lambda: volume(CEPH, None),
            lambda: volume(Pool(name="images", kind="zfs"), Pool(name="images", kind="zfs")),
            lambda: volume(OWN, OWN, device="cdrom"),
            lambda: logical(""),
            lambda: captured("disk-source-pool"),
        ),
        (
            on,
            lambda: volume(SHARED, SHARED),
            lambda: volume(SHARED, SHARED, pair=None),
            lambda: volume(SHARED, SHARED, is_off=True),
            lambda: volume(CEPH, CEPH),
            lambda: logical(LV),
            # copied
            lambda: volume(OWN, OWN, is_off=True),
            lambda: volume(OWN, SHARED, is_off=True),
            lambda: volume(GROUP, GROUP, is_off=True),
            lambda: volume(GROUP, OWN, is_off=True),
            lambda: volume(OWN, OTHER, is_off=True, changes=remapped("other/vm1.qcow2")),
            lambda: volume(OWN, None, is_off=True, changes=remapped(f"{LOCAL}/new.qcow2")),
        ),
    ),
    "volume-network": (
        (lambda: volume(CEPH, CEPH), lambda: volume(CEPH, CEPH, is_off=True)),
        (on, lambda: volume(SHARED, SHARED), lambda: volume(CEPH, None)),
    ),
}
