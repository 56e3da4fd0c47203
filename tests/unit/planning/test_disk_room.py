"""What all planned moves write on a destination fits there at once, whatever it is written to; replay sees it too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.builders import (
    GIB,
    LOCAL,
    build_disk,
    build_facts,
    build_host,
    build_off_vm,
    build_pair,
    build_snapshot,
    build_vm,
)
from tests.unit.rules.cases.mirroring import PRIVATE, image
from vmferry.model.convergence import PolicyName
from vmferry.model.evacuation import EvacuationPlan, EvacuationRequest
from vmferry.model.facts import FileFacts, Mount, Pool, SystemFacts
from vmferry.model.host import FleetSnapshot
from vmferry.model.vm import DiskKind, Vm
from vmferry.planning.placement import plan_evacuation
from vmferry.planning.replay import replay

KEPT = {"mirrored": PolicyName.SUSPEND_IF_NEEDED}
SOURCE, DEST = "source-example", "dest-1"
BASE = f"{LOCAL}/golden.qcow2"
SRV = SystemFacts(mounts=(Mount(path="/srv", source="/dev/sdb1", fstype="xfs"),))


def fleet(vms: list[Vm], files: dict[str, FileFacts], **dest: Any) -> FleetSnapshot:
    """A source with these VMs and one destination, all of whose files take 1 GiB."""
    images = {d.source: image(d.source) for vm in vms if vm.is_active for d in vm.disks if d.source}
    pools = dest.get("pools", ())
    hosts = [
        (build_host(SOURCE, **PRIVATE), build_facts(SOURCE, vms, images=images, pools=pools)),
        (build_host(DEST, **PRIVATE), build_facts(DEST, **dest)),
    ]
    return build_snapshot(hosts, pairs=[build_pair(SOURCE, DEST, source_files=files)])


def plan(snapshot: FleetSnapshot) -> EvacuationPlan:
    return plan_evacuation(snapshot, EvacuationRequest(host=SOURCE))


def file(path: str, **fields: Any) -> dict[str, FileFacts]:
    return {path: FileFacts(**{"path": path, "size_bytes": 2 * GIB, "allocated_bytes": GIB, **fields})}


def with_groups(free: int) -> FleetSnapshot:
    """Two VMs on logical volumes of 1 GiB, of one group that two pools show."""
    vms, files = [], {}
    for name in ("a", "b"):
        path = f"/dev/vg0/{name}"
        vms.append(build_off_vm(name, disks=(build_disk(path, kind=DiskKind.BLOCK, driver="raw"),)))
        files |= file(path, size_bytes=GIB, allocated_bytes=0, is_block=True, device_id="here")
    pools = [Pool(name=name, kind="logical", target="/dev/vg0", available_bytes=free) for name in ("vg", "same")]
    return fleet(vms, files, pools=tuple(pools))


def with_volumes(free: int, *, read: bool) -> FleetSnapshot:
    """Two VMs on volumes of two directory pools of one file system, which the inventory knows by a third (`read`)."""
    vms, files, pools = [], {}, []
    for name in ("a", "b"):
        disk = build_disk(f"disk-{name}", kind=DiskKind.VOLUME, pool=name, driver="raw")
        vms.append(build_off_vm(name, disks=(disk,)))
        files |= file(f"/srv/{name}/disk-{name}")
        pools.append(Pool(name=name, kind="dir", target=f"/srv/{name}", available_bytes=free))
    directories = {"/srv/images": free} if read else {}
    return fleet(vms, files, pools=tuple(pools), storage_free_bytes=directories, system=SRV)


def with_mirrors(free: int) -> FleetSnapshot:
    """Two running VMs on images of their host alone, which QEMU mirrors."""
    vms = [build_vm(name, disks=(build_disk(f"{LOCAL}/{name}.qcow2"),)) for name in ("a", "b")]
    files = file(f"{LOCAL}/a.qcow2") | file(f"{LOCAL}/b.qcow2")
    return fleet(vms, files, storage_free_bytes={LOCAL: free})


CROWDS: dict[str, Callable[[int], FleetSnapshot]] = {
    "volume group": with_groups,
    "directory pools beside a directory": lambda free: with_volumes(free, read=True),
    "directory pools alone": lambda free: with_volumes(free, read=False),
    "mirrored disks": with_mirrors,
}


@pytest.mark.parametrize("crowd", CROWDS)
def test_two_vms_that_fit_singly_but_not_together_are_not_both_planned(crowd: str) -> None:
    made = plan(CROWDS[crowd](2 * GIB - 1))
    assert [move.copy_bytes for move in made.moves] == [GIB]
    assert "no-room-left: vm b" in made.stranded[0].summary() and "needs 1024 MiB" in made.stranded[0].summary()
    assert replay(made) == ()
    assert len(plan(CROWDS[crowd](2 * GIB)).moves) == 2


@pytest.mark.parametrize("crowd", CROWDS)
def test_replay_refuses_a_plan_that_puts_both_there(crowd: str) -> None:
    made = plan(CROWDS[crowd](2 * GIB))
    assert replay(made) == ()
    crowded = made.model_copy(update={"snapshot": CROWDS[crowd](2 * GIB - 1)})
    (problem,) = replay(crowded)
    assert f"{2 * GIB} bytes arrive" in problem


def test_only_the_vm_whose_mirrored_disks_forbid_post_copy_is_stranded_by_it() -> None:
    shared, mirrored = build_vm("shared"), build_vm("mirrored", disks=(build_disk(f"{LOCAL}/m.qcow2"),))
    files = file(f"{LOCAL}/m.qcow2") | file(shared.disks[0].source or "")
    asked = EvacuationRequest(host=SOURCE, policy=PolicyName.POST_COPY)
    made = plan_evacuation(fleet([shared, mirrored], files), asked)
    assert [move.vm for move in made.moves] == ["shared"]
    assert made.stranded[0].summary().startswith("postcopy-mirror: ") and replay(made) == ()
    spared = plan_evacuation(fleet([shared, mirrored], files), asked.model_copy(update={"policies": KEPT}))
    assert spared.stranded == ()


@pytest.mark.parametrize("is_running", [False, True])
def test_a_layer_that_several_vms_build_on_takes_its_bytes_once(is_running: bool) -> None:
    build = build_vm if is_running else build_off_vm
    vms = [build(n, disks=(build_disk(f"{LOCAL}/{n}.qcow2", backing=(BASE,)),)) for n in ("a", "b", "c")]
    files = file(BASE)
    for vm in vms:
        files |= file(vm.disks[0].source or "")

    def crowd(free: int) -> FleetSnapshot:
        made = fleet(vms, files, storage_free_bytes={LOCAL: free})
        layered = {p: image(p, backing=BASE, backing_format="qcow2") for p in files if p != BASE}
        hosts = (made.hosts[0].model_copy(update={"images": layered}), made.hosts[1])
        return made.model_copy(update={"hosts": hosts})

    assert len(plan(crowd(4 * GIB)).moves) == 3
    tight = plan(crowd(4 * GIB - 1))
    assert len(tight.moves) == 2
    assert replay(tight) == replay(plan(crowd(4 * GIB))) == ()
    crowded = plan(crowd(4 * GIB)).model_copy(update={"snapshot": tight.snapshot})
    assert f"{4 * GIB} bytes arrive" in " ".join(replay(crowded))
