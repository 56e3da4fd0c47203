"""What QEMU mirrors, what has to lie there before, and how much time and progress that makes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.builders import GIB, IMAGES, LOCAL, build_disk, build_pair, build_uuid, build_vm
from tests.unit.rules.cases.making import DEST, RHEL8, SOURCE, make
from tests.unit.rules.cases.mirroring import BASE, DISK, image, mirror, overlay, with_overlay
from vmferry.model.convergence import DEFAULT_POLICY, POLICIES
from vmferry.model.disks import CopyKind, LiveDisk
from vmferry.model.facts import FileFacts
from vmferry.model.migration import DomainChanges, JobStats, MigrationMode, MigrationPlan
from vmferry.model.transport import Encryption
from vmferry.model.vm import DomainState
from vmferry.planning.mirroring import (
    backing_copies,
    live_disks,
    mirror_deadline_s,
    mirrored_copies,
    whole_job,
)

POLICY = POLICIES[DEFAULT_POLICY]


def plan(**fields: Any) -> MigrationPlan:
    given: dict[str, Any] = {
        "run": "r",
        "vm": "web1",
        "uuid": build_uuid("web1"),
        "source": SOURCE,
        "dest": DEST,
        "mode": MigrationMode.LIVE,
        "mode_reason": "",
        "state_before": DomainState.RUNNING,
        "is_persistent": True,
        "is_autostart": False,
        "memory_kib": 1 << 20,
        "reserved_kib": 0,
        "encryption": Encryption.NONE,
        "peer_uri": "",
        "migration_uri": "",
        "deadline_s": 100,
        "disks": (LiveDisk(target="vda", source_path=DISK, dest_path=DISK, size_bytes=10 * GIB, allocated_bytes=GIB),),
    }
    return MigrationPlan(**{**given, **fields})


def test_an_image_is_made_as_its_original_is() -> None:
    options = {"cluster_size": "131072", "compat": "1.1"}
    case = mirror(images=(image(virtual_bytes=3 * GIB + 512, options=options, owner="qemu:qemu", mode=0o640),))
    assert live_disks(case) == (
        LiveDisk(
            target="vda",
            source_path=DISK,
            dest_path=DISK,
            size_bytes=3 * GIB + 512,
            allocated_bytes=GIB,
            format="qcow2",
            options=options,
            owner="qemu:qemu",
            mode=0o640,
        ),
    )
    assert backing_copies(case) == ()


def test_it_goes_where_it_is_asked_to() -> None:
    (disk,) = live_disks(mirror(changes=DomainChanges(disk_sources={"vda": f"{LOCAL}/else.qcow2"})))
    assert (disk.source_path, disk.dest_path) == (DISK, f"{LOCAL}/else.qcow2")


def test_of_an_overlay_only_the_top_is_mirrored_and_its_base_is_copied_before() -> None:
    (disk,), (base,) = live_disks(with_overlay()), backing_copies(with_overlay())
    assert (disk.backing, disk.backing_format) == (BASE, "qcow2")
    assert (base.source_path, base.dest_path, base.kind, base.format) == (BASE, BASE, CopyKind.BACKING, "qcow2")
    assert not base.is_kept


def test_the_lowest_layer_is_copied_first_and_one_that_others_build_on_stays() -> None:
    middle = f"{LOCAL}/middle.qcow2"
    disk = build_disk(DISK, backing=(middle, BASE))
    clone = build_vm("clone", disks=(build_disk(f"{LOCAL}/clone.qcow2", backing=(BASE,)),))
    case = mirror((disk,), (image(backing=middle, backing_format="qcow2"),), others=(clone,))
    assert [(copy.source_path, copy.is_kept) for copy in backing_copies(case)] == [(BASE, True), (middle, False)]


def test_a_base_on_shared_storage_is_not_copied() -> None:
    base = f"{IMAGES}/golden.qcow2"
    vm = build_vm(disks=(build_disk(DISK, backing=(base,)),))
    files = {path: FileFacts(path=path, size_bytes=GIB, allocated_bytes=GIB) for path in (DISK, base)}
    pair = build_pair(SOURCE, DEST, (vm,), source_files=files)
    case = make(vm, pair=pair, source={"images": {DISK: image(backing=base, backing_format="raw")}})
    assert [disk.backing for disk in live_disks(case)] == [base] and backing_copies(case) == ()


@pytest.mark.parametrize(
    "case",
    [
        mirror(host=RHEL8),
        mirror(images=()),  # not read
        mirror(images=(image(is_encrypted=True),)),
        mirror(images=(image(data_file="/x"),)),
        mirror(images=(image(backing=BASE, backing_format="qcow2"),)),  # the running VM has nothing below it
        mirror((overlay()[0],), (image(),)),  # and the other way round
        mirror((overlay()[0],), (image(backing=BASE),)),  # format unknown: it would be probed
        mirror((build_disk(DISK, backing=("nbd:host:10809",)),), (image(backing="nbd:host:10809"),)),
        mirror((build_disk(DISK, driver="vmdk"),)),
        mirror((build_disk(DISK, is_readonly=True),)),
        mirror((build_disk(DISK, is_shareable=True),)),
        mirror(changes=DomainChanges(disk_sources={"vda": "/dev/vg/lv"})),
        make(build_vm(disks=(build_disk(f"{IMAGES}/shared.qcow2"),))),
    ],
)
def test_what_is_shared_or_cannot_be_made_again_is_not_mirrored(case: Any) -> None:
    assert live_disks(case) == () and backing_copies(case) == ()


def test_the_time_of_disks_counts_holes_only_under_a_cap() -> None:
    disks = plan().disks
    assert mirror_deadline_s((), POLICY, 10) == 0
    assert mirror_deadline_s(disks, POLICY, None) == POLICY.s_per_gib
    assert mirror_deadline_s(disks, POLICY, 100) == POLICY.s_per_gib + 2 * 10 * 1024 / 100


def test_the_memory_that_is_to_come_counts_while_disks_travel() -> None:
    begun = JobStats(
        data_total_bytes=10 * GIB,
        data_processed_bytes=5 * GIB,
        data_remaining_bytes=5 * GIB,
        disk_total_bytes=10 * GIB,
        disk_processed_bytes=5 * GIB,
        disk_remaining_bytes=5 * GIB,
    )
    assert whole_job(JobStats(), plan()).percent == 0
    assert whole_job(begun, plan()).percent == pytest.approx(100 * 5 / 11)
    memory = begun.model_copy(update={"iteration": 1, "data_total_bytes": 11 * GIB})
    assert whole_job(memory, plan()) is memory
    assert whole_job(begun, plan(disks=())) is begun


def test_a_mirrored_image_is_the_copy_of_the_one_that_was_set_aside() -> None:
    raw, qcow2 = mirrored_copies(plan(disks=(*plan().disks, plan().disks[0].model_copy(update={"format": "qcow2"}))))
    assert raw.size_bytes == 10 * GIB and qcow2.size_bytes == 0, "a qcow2 file is as large as it has to be"
