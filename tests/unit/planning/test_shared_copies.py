"""Planner and replay agree on which files an offline move copies, however sharing was proved or refuted."""

from __future__ import annotations

import pytest

from tests.unit.builders import IMAGES, LOCAL, build_disk, build_facts, build_host, build_off_vm, build_pair
from tests.unit.builders import build_snapshot as snapshot_of
from vmferry.model.evacuation import EvacuationRequest
from vmferry.model.facts import FileFacts, Mount, SystemFacts
from vmferry.model.host import FleetSnapshot, PairFacts
from vmferry.planning.placement import plan_evacuation
from vmferry.planning.replay import replay

GIB = 1 << 30
FREE = {LOCAL: 100 * GIB, IMAGES: 101 * GIB, "/data": 102 * GIB}
WWN = "naa.600140544a2f3b6c9e84d1fa0c7b1d22"
NESTED = SystemFacts(
    mounts=(
        Mount(path="/data", source="nas:/data", fstype="nfs4"),
        Mount(path="/data/fast", source="/dev/sdb1", fstype="xfs"),
    )
)


def fleet(path: str, pair: PairFacts, system: SystemFacts) -> FleetSnapshot:
    """A shut-off VM with its disk at this path, and one host that it may go to."""
    vm = build_off_vm(disks=(build_disk(path),))
    hosts = [
        (build_host("source-example"), build_facts("source-example", [vm], system=system)),
        (build_host("dest-1"), build_facts("dest-1", system=system, storage_free_bytes=FREE)),
    ]
    return snapshot_of(hosts, pairs=[pair])


def pair(path: str, *, is_there: bool, **fields: object) -> PairFacts:
    facts = FileFacts.model_validate({"path": path, "size_bytes": GIB, "allocated_bytes": GIB, **fields})
    there, proved = {path: facts} if is_there else {}, (IMAGES, "/data")
    return build_pair("source-example", "dest-1", source_files={path: facts}, dest_files=there, same_storage=proved)


@pytest.mark.parametrize(
    ("path", "files", "system", "copied"),
    [
        (f"{LOCAL}/a", {"is_there": False}, SystemFacts(), GIB),
        (f"{IMAGES}/a", {"is_there": True}, SystemFacts(), 0),
        # A marker is not the last word.
        ("/data/fast/a", {"is_there": False}, NESTED, GIB),
        (f"{LOCAL}/lun", {"is_there": True, "is_block": True, "device_id": WWN}, SystemFacts(), 0),
    ],
)
def test_what_is_copied_is_what_replay_adds_up(
    path: str, files: dict[str, bool], system: SystemFacts, copied: int
) -> None:
    plan = plan_evacuation(fleet(path, pair(path, **files), system), EvacuationRequest(host="source-example"))
    assert [move.copy_bytes for move in plan.moves] == [copied]
    assert replay(plan) == ()
