"""What a real offline move leaves is purged only when it may be: the images on the hosts are the proof."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.migrate_vm import migrate_vm
from flows.purge_files import purge_files
from infra.lab import DiskFormat, DiskKind, GuestSpec, GuestState, Lab
from vmferry.adapters.world import RealWorld
from vmferry.model.journal import Mark
from vmferry.model.migration import MigrationOutcome
from vmferry.model.purge import Fate, LeftFile

pytestmark = pytest.mark.lab

IMAGES = "/var/lib/libvirt/images"


@dataclass(frozen=True)
class Moved:
    """A VM that went offline from kvm1 to kvm2."""

    lab: Lab
    run: str

    @property
    def image(self) -> str:
        """Its image's name, on both hosts."""
        return f"{IMAGES}/purge1.qcow2"

    @property
    def aside(self) -> str:
        """The old image on kvm1."""
        return f"{self.image}.vmferry-moved-{self.run}"

    def outer(self, host: str, path: str) -> Path:
        """Return the file as the machine sees it."""
        return self.lab.hosts[host].outer_path(path)


@pytest.fixture
def moved(fleet: Lab, world: RealWorld) -> Iterator[Moved]:
    fleet.add_guest(
        GuestSpec(name="purge1", disk=DiskKind.LOCAL, disk_format=DiskFormat.QCOW2, state=GuestState.SHUTOFF)
    )
    outcome = migrate_vm(vm="purge1", dest="kvm2")
    assert isinstance(outcome, MigrationOutcome)
    made = Moved(fleet, outcome.run)
    assert made.outer("kvm1", made.aside).exists()
    yield made
    for host in ("kvm1", "kvm2"):
        fleet.hosts[host].run(["sh", "-c", f"rm -rf {IMAGES}/*purge1.qcow2.vmferry-moved-* {IMAGES}/overlay.qcow2"])


def purge(**given: float | bool) -> dict[str, LeftFile]:
    """Purge the lab's hosts; return what became of this VM's files: other tests' moves have left theirs."""
    report = purge_files(**given)
    assert report.problems == ()
    return {file.path: file for file in report.files if "purge1" in file.path}


def test_what_is_young_stays_and_with_no_grace_time_only_the_old_image_goes(moved: Moved, world: RealWorld) -> None:
    foreign = f"{IMAGES}/other-purge1.qcow2.vmferry-moved-{moved.run}"
    moved.outer("kvm1", foreign).write_bytes(b"precious")
    there = moved.outer("kvm2", moved.image).read_bytes()

    young = purge(dry_run=False)
    assert "the grace time is 7 d" in young[moved.aside].reason
    listed = purge(older_than_days=0)
    assert {path: file.fate for path, file in listed.items()} == {moved.aside: Fate.REMOVABLE, foreign: Fate.KEPT}
    assert "did not leave a file of this name" in listed[foreign].reason
    assert moved.outer("kvm1", moved.aside).exists()

    removed = purge(older_than_days=0, dry_run=False)
    assert {path: file.fate for path, file in removed.items()} == {moved.aside: Fate.REMOVED, foreign: Fate.KEPT}
    assert not moved.outer("kvm1", moved.aside).exists()
    assert moved.outer("kvm1", foreign).read_bytes() == b"precious"
    assert moved.outer("kvm2", moved.image).read_bytes() == there
    rows = [row.mark for row in world.journal.rows(moved.run) if row.step == "purge"]
    assert rows == [Mark.INTENDED, Mark.DONE]
    moved.lab.hosts["kvm2"].virsh("start", "purge1")
    assert moved.lab.where("purge1") == {"kvm2": "running"}


def test_an_image_that_somebody_builds_on_or_links_to_stays(moved: Moved) -> None:
    """A clone that was linked to the image before the move, and a domain that reaches it through a symbolic link."""
    host, overlay, link = moved.lab.hosts["kvm1"], f"{IMAGES}/overlay.qcow2", "/srv/purge-link"
    host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "purge1.qcow2", "-F", "qcow2", overlay, "64M"])
    built_on = purge(older_than_days=0, dry_run=False)[moved.aside]
    assert built_on.fate is Fate.KEPT
    assert f"{overlay} on kvm1 builds on it by its former name" in built_on.reason
    host.run(["rm", overlay])

    host.run(["ln", "-s", moved.aside, link])
    disk = f"<disk type='file'><source file='{link}'/><target dev='vda' bus='virtio'/></disk>"
    xml = f"<domain type='qemu'><name>rescue</name><memory>65536</memory><os><type>hvm</type></os><devices>{disk}"
    host.virsh("define", "/dev/stdin", input=f"{xml}</devices></domain>")
    try:
        linked = purge(older_than_days=0, dry_run=False)[moved.aside]
    finally:
        host.virsh("undefine", "rescue")
        host.run(["rm", link])
    assert linked.fate is Fate.KEPT
    assert f"vm rescue on kvm1 ({link}) uses the very same file" in linked.reason
    assert moved.outer("kvm1", moved.aside).exists()
    assert purge(older_than_days=0, dry_run=False)[moved.aside].fate is Fate.REMOVED


def test_the_only_image_is_never_taken(moved: Moved) -> None:
    """The copy is gone, then the VM too, then a symbolic link stands where the image was: each time it stays."""
    kvm2 = moved.lab.hosts["kvm2"]
    kvm2.run(["mv", moved.image, f"{IMAGES}/elsewhere"])
    assert "is missing" in purge(older_than_days=0, dry_run=False)[moved.aside].reason
    kvm2.run(["mv", f"{IMAGES}/elsewhere", moved.image])

    xml = kvm2.virsh("dumpxml", "purge1")
    kvm2.virsh("undefine", "purge1")
    assert "vm purge1 is on no host" in purge(older_than_days=0, dry_run=False)[moved.aside].reason
    kvm2.virsh("define", "/dev/stdin", input=xml)

    kvm1 = moved.lab.hosts["kvm1"]
    kvm1.run(["sh", "-c", f"mv {moved.aside} {IMAGES}/real && ln -s real {moved.aside}"])
    assert moved.aside not in purge(older_than_days=0, dry_run=False)
    assert moved.outer("kvm1", f"{IMAGES}/real").exists()
    kvm1.run(["sh", "-c", f"rm {moved.aside} {IMAGES}/real"])
