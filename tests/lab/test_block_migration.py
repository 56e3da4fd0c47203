"""Running VMs on local disks: QEMU mirrors them, the guest goes on writing, and no foreign image is ever touched."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest

from flows.migrate_vm import migrate_vm
from flows.recover_runs import recover_runs
from infra.lab import DiskFormat, DiskKind, GuestSpec, GuestState, Lab
from tasks import _wiring
from tests.lab.test_faults import assert_runs_at_source_only, wait_until
from vmferry.adapters.world import RealWorld, open_world
from vmferry.errors import Held, LeftBehind, PreflightBlocked
from vmferry.inventory import load_inventory
from vmferry.model.host import Inventory, Profile
from vmferry.model.migration import DomainChanges, MigrationMode, MigrationOutcome, OutcomeKind
from vmferry.model.transport import Encryption
from vmferry.progress import Event, MoveProgress, listening
from vmferry.settings import read_settings

pytestmark = pytest.mark.lab

IMAGES = "/var/lib/libvirt/images"
SIZE_MIB = 64
_MIB = 2**20


def plain(lab: Lab, inventory: Inventory, **fields: object) -> Inventory:
    """The inventory with a private network on which nothing is encrypted."""
    networks = (str(lab.subnet),)
    changes = {"encryption": Encryption.NONE, "plain_networks": networks, **fields}
    return inventory.model_copy(update={"hosts": tuple(h.model_copy(update=changes) for h in inventory.hosts)})


@pytest.fixture(autouse=True)
def mirroring(fleet: Lab, world: RealWorld) -> Iterator[None]:
    """Memory and disks travel on a plain network, and no image of a test stays."""
    world.inventory = plain(fleet, world.inventory)
    yield
    for host in fleet.hosts.values():
        host.link_up()
        host.run(["sh", "-c", f"rm -rf {IMAGES}/mir* {IMAGES}/other {IMAGES}/.vmferry-*"])


def move(vm: str, dest: str = "kvm2", **rest: object) -> MigrationOutcome:
    outcome = migrate_vm(vm=vm, dest=dest, **rest)
    assert isinstance(outcome, MigrationOutcome)
    return outcome


def content(lab: Lab, host: str, path: str) -> str:
    """The digest of what a guest sees of an image, without the first MiB: there its heartbeat goes on."""
    raw = f"{IMAGES}/mirror-content"
    image = "qcow2" if ".qcow2" in path else "raw"
    lab.hosts[host].run(["qemu-img", "convert", "-U", "-f", image, "-O", "raw", path, raw])
    found = lab.hosts[host].outer_path(raw)
    digest = hashlib.blake2b(found.read_bytes()[_MIB:]).hexdigest()
    found.unlink()
    return digest


def outer(lab: Lab, host: str, path: str) -> Path:
    return lab.hosts[host].outer_path(path)


def leftovers(lab: Lab, host: str) -> list[str]:
    return lab.hosts[host].run(["find", IMAGES, "-name", "mir*", "-o", "-name", ".vmferry-*"]).stdout.split()


def add_guest(lab: Lab, name: str, image: DiskFormat = DiskFormat.RAW, **fields: object) -> str:
    """Add a running guest with a local disk of 64 MiB, 12 of them written; return its path."""
    given = {"disk_mib": SIZE_MIB, "disk_data_mib": 12, "dirty_mib_s": 10, "working_set_mib": 16, **fields}
    lab.add_guest(GuestSpec.model_validate({"name": name, "disk": DiskKind.LOCAL, "disk_format": image, **given}))
    return f"{IMAGES}/{name}.{image.value}"


@pytest.mark.parametrize("image", [DiskFormat.RAW, DiskFormat.QCOW2])
def test_a_running_vm_takes_its_local_disk_along(fleet: Lab, world: RealWorld, image: DiskFormat) -> None:
    path = add_guest(fleet, "mir1", image)
    digest, taken = content(fleet, "kvm1", path), outer(fleet, "kvm1", path).stat().st_blocks
    shares: list[float] = []

    def share(event: Event) -> None:
        if isinstance(event, MoveProgress):
            shares.append(event.stats.percent)

    with listening(share), fleet.watch("mir1") as watch:
        outcome = move("mir1", bandwidth_mib_s=32)
    assert outcome.kind is OutcomeKind.MOVED and outcome.mode is MigrationMode.LIVE
    assert fleet.where("mir1") == {"kvm2": "running"}
    assert watch.alive_on("kvm2") and watch.overlap_s == 0 and watch.errors == 0
    assert content(fleet, "kvm2", path) == digest
    assert outer(fleet, "kvm2", path).stat().st_blocks <= taken + 2048, "sparse stays sparse, 1 MiB aside"
    aside = f"{path}.vmferry-moved-{outcome.run}"
    assert leftovers(fleet, "kvm1") == [aside] and content(fleet, "kvm1", aside) == digest
    assert leftovers(fleet, "kvm2") == [path]
    mirrored = [one for one in shares if 0 < one < 100]
    assert mirrored and mirrored[0] < 50, "while disks travel, the memory that is to come counts"
    fleet.hosts["kvm2"].virsh("destroy", "mir1")
    fleet.hosts["kvm2"].virsh("start", "mir1")
    assert fleet.where("mir1") == {"kvm2": "running"}, "the persistent definition names the image too"


def test_an_overlay_travels_as_an_overlay_and_its_base_before_it(fleet: Lab, world: RealWorld) -> None:
    base, path = f"{IMAGES}/mirbase.qcow2", f"{IMAGES}/mir2.qcow2"
    here = fleet.hosts["kvm1"]
    here.run(["qemu-img", "create", "-f", "qcow2", base, "64M"])
    here.run(["qemu-io", "-c", "write -P 0x5a 8M 4M", base])
    create = ["qemu-img", "create", "-f", "qcow2", "-b", base, "-F", "qcow2", "-o", "cluster_size=32k"]
    here.run([*create, path, "64M"])
    here.run(["qemu-io", "-c", "write -P 0xa5 16M 3M", path])
    add_guest(fleet, "mir2", DiskFormat.QCOW2)
    digest, taken = content(fleet, "kvm1", path), outer(fleet, "kvm1", path).stat().st_blocks
    with fleet.watch("mir2") as watch:
        outcome = move("mir2")
    assert outcome.kind is OutcomeKind.MOVED and fleet.where("mir2") == {"kvm2": "running"}
    assert watch.overlap_s == 0 and watch.errors == 0
    assert content(fleet, "kvm2", path) == digest
    assert outer(fleet, "kvm2", path).stat().st_blocks <= taken + 2048, "only the top layer is in the top layer"
    info = fleet.hosts["kvm2"].run(["qemu-img", "info", "-U", path]).stdout
    assert f"backing file: {base}" in info and "cluster_size: 32768" in info


def test_a_disk_goes_where_it_is_asked_to_in_both_definitions(fleet: Lab, world: RealWorld) -> None:
    path, there = add_guest(fleet, "mir3"), f"{IMAGES}/other/mir3.img"
    fleet.hosts["kvm2"].run(["mkdir", "-p", f"{IMAGES}/other"])
    digest = content(fleet, "kvm1", path)
    move("mir3", changes=DomainChanges(disk_sources={"hda": there}))
    for kind in ("--inactive", "--migratable"):
        assert f"<source file='{there}'" in fleet.hosts["kvm2"].virsh("dumpxml", kind, "mir3")
    assert content(fleet, "kvm2", there) == digest and not outer(fleet, "kvm2", path).exists()


def test_a_vm_that_a_user_paused_takes_its_disk_along_and_stays_paused(fleet: Lab, world: RealWorld) -> None:
    path = add_guest(fleet, "mir4", DiskFormat.QCOW2, state=GuestState.PAUSED)
    digest = content(fleet, "kvm1", path)
    outcome = move("mir4")
    assert outcome.mode is MigrationMode.NON_LIVE
    assert fleet.hosts["kvm2"].virsh("domstate", "--reason", "mir4").strip() == "paused (user)"
    assert content(fleet, "kvm2", path) == digest


def test_another_vms_image_at_the_same_path_is_never_written_to(fleet: Lab, world: RealWorld) -> None:
    path = add_guest(fleet, "mir5")
    foreign = outer(fleet, "kvm2", path)
    foreign.write_bytes(b"somebody else's" + bytes(SIZE_MIB * _MIB - 15))
    before = foreign.stat()
    with pytest.raises(PreflightBlocked, match="never writes over an image"):
        migrate_vm(vm="mir5", dest="kvm2")
    assert foreign.stat() == before and foreign.read_bytes()[:15] == b"somebody else's"
    assert_runs_at_source_only(fleet, "mir5")


def test_an_image_that_appears_after_preflight_is_never_written_to(
    fleet: Lab, world: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add_guest(fleet, "mir6")
    foreign, tools = outer(fleet, "kvm2", path), world.tools("kvm2")
    publish = tools.publish

    def race(staging: str, final: str) -> None:
        foreign.write_bytes(b"somebody else's" + bytes(SIZE_MIB * _MIB - 15))
        publish(staging, final)

    monkeypatch.setattr(tools, "publish", race)
    monkeypatch.setattr(world, "tools", lambda host, ask=world.tools: tools if host == "kvm2" else ask(host))
    with pytest.raises(LeftBehind):
        migrate_vm(vm="mir6", dest="kvm2")
    assert foreign.read_bytes()[:15] == b"somebody else's" and not foreign.read_bytes()[15:].strip(b"\0")
    assert leftovers(fleet, "kvm2") == [path]
    assert_runs_at_source_only(fleet, "mir6")


def test_a_destination_that_fills_up_costs_the_vm_nothing(fleet: Lab, world: RealWorld) -> None:
    path = add_guest(fleet, "mir7", disk_data_mib=30, dirty_mib_s=0.4)  # kvm3 has 48 MiB
    hog = f"{IMAGES}/mirhog"
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(copy_context().run, migrate_vm, vm="mir7", dest="kvm3", bandwidth_mib_s=8)
        wait_until(lambda: is_mirroring(fleet, "mir7") or future.done(), "disks travel")
        assert not future.done(), future.result()
        fleet.hosts["kvm3"].run(["sh", "-c", f"head -c 40M /dev/urandom > {hog}"], check=False)
        error = future.exception()
    assert isinstance(error, LeftBehind) and "No space left" in str(error)
    assert leftovers(fleet, "kvm3") == [hog]
    assert leftovers(fleet, "kvm1") == [path]
    assert_runs_at_source_only(fleet, "mir7")
    assert not world.journal.unsettled()


def is_mirroring(lab: Lab, guest: str) -> bool:
    """Whether the disks of a guest travel, its memory not yet."""
    job = lab.hosts["kvm1"].run(["virsh", "domjobinfo", guest], check=False).stdout
    return "File processed:" in job and "Memory processed:" not in job


def test_a_link_that_dies_while_disks_travel_holds_nobody(
    fleet: Lab, world: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add_guest(fleet, "mir8")
    hasty = open_world(load_inventory(fleet.inventory_path), read_settings(connect_timeout_s=5, move_stall_s=4))
    hasty.inventory = plain(fleet, hasty.inventory)
    with _wiring.use(hasty), ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(copy_context().run, migrate_vm, vm="mir8", dest="kvm2", bandwidth_mib_s=4)
        wait_until(lambda: is_mirroring(fleet, "mir8") or future.done(), "disks travel")
        assert not future.done(), future.result()
        fleet.hosts["kvm2"].link_down()
        error = future.exception()
        assert isinstance(error, Held | LeftBehind), error
        fleet.hosts["kvm2"].link_up()
        if isinstance(error, Held):
            wait_until(lambda: recovered(), "both hosts answer", timeout_s=90)
    hasty.close()
    run = world.journal.recent(1)[0]
    notes = " ".join(row.note for row in world.journal.rows(run.run))
    assert "no byte was sent" in notes and "yank of" in notes, notes
    assert leftovers(fleet, "kvm2") == [] and leftovers(fleet, "kvm1") == [path]
    assert_runs_at_source_only(fleet, "mir8")


def recovered() -> bool:
    return [outcome.kind for outcome in recover_runs()] == [OutcomeKind.ROLLED_BACK]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"profile": Profile.RHEL8}, "live storage migration cannot be performed .reference 9.3"),
        ({"encryption": Encryption.TUNNELLED}, "certificates for QEMU's TLS"),
    ],
)
def test_what_cannot_be_mirrored_is_refused_with_the_way_out(
    fleet: Lab, world: RealWorld, fields: dict[str, object], why: str
) -> None:
    add_guest(fleet, "mir9")
    world.inventory = plain(fleet, world.inventory, **fields)
    with pytest.raises(PreflightBlocked, match=why):
        migrate_vm(vm="mir9", dest="kvm2")
    assert fleet.where("mir9") == {"kvm1": "running"} and leftovers(fleet, "kvm2") == []
