"""Offline moves between real hosts bring layers and TPM state along; nothing is replaced."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from flows.migrate_vm import migrate_vm
from infra.lab import DiskFormat, DiskKind, GuestSpec, GuestState, Lab
from infra.lab.proc import run
from vmferry.adapters.world import RealWorld
from vmferry.errors import LeftBehind, PreflightBlocked
from vmferry.model.effects import FileMade
from vmferry.model.journal import Mark
from vmferry.model.migration import DomainChanges, MigrationOutcome, OutcomeKind
from vmferry.model.purge import Fate
from vmferry.steps import storage
from vmferry.steps.purge import list_left

pytestmark = pytest.mark.lab

IMAGES = "/var/lib/libvirt/images"
TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"


def digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes()).hexdigest()


def add_layered(fleet: Lab, name: str, base: str) -> None:
    """Make a shut-off guest whose image is an overlay on `base`, which is made of its own image at first."""
    fleet.add_guest(
        GuestSpec(name=name, disk=DiskKind.LOCAL, disk_format=DiskFormat.QCOW2, disk_mib=16, state=GuestState.SHUTOFF)
    )
    host, top = fleet.hosts["kvm1"], f"{IMAGES}/{name}.qcow2"
    host.run(["sh", "-c", f"[ -e {base} ] && rm {top} || mv {top} {base}"])
    host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top])
    host.run(["qemu-io", "-f", "qcow2", "-c", f"write -P {len(name)} 8M 64k", top])


def clean(fleet: Lab, *names: str) -> None:
    for host in ("kvm1", "kvm2"):
        fleet.hosts[host].run(["sh", "-c", "rm -rf " + " ".join(f"{IMAGES}/{name}*" for name in names)])


def test_layers_travel_with_their_image_and_a_common_one_is_kept_and_reused(fleet: Lab, world: RealWorld) -> None:
    base = f"{IMAGES}/chain-base.qcow2"
    try:
        for name in ("chain1", "chain-two"):
            add_layered(fleet, name, base)
        here = {p: digest(fleet.hosts["kvm1"].outer_path(p)) for p in (base, f"{IMAGES}/chain1.qcow2")}
        assert isinstance(first := migrate_vm(vm="chain1", dest="kvm2"), MigrationOutcome)
        assert {p: digest(fleet.hosts["kvm2"].outer_path(p)) for p in here} == here
        assert fleet.hosts["kvm1"].outer_path(base).exists(), "the other VM of the source builds on it"
        inode = fleet.hosts["kvm2"].outer_path(base).stat().st_ino

        second = migrate_vm(vm="chain-two", dest="kvm2")
        assert isinstance(second, MigrationOutcome) and second.kind is OutcomeKind.MOVED
        assert fleet.hosts["kvm2"].outer_path(base).stat().st_ino == inode
        made = {row.effect.path for row in world.journal.rows(second.run) if isinstance(row.effect, FileMade)}
        assert base not in made
        fleet.hosts["kvm2"].virsh("start", "chain1")
        assert fleet.where("chain1") == {"kvm2": "running"} and first.kind is OutcomeKind.MOVED
    finally:
        fleet.hosts["kvm2"].run(["virsh", "destroy", "chain1"], check=False)
        clean(fleet, "chain")


def test_the_state_of_a_tpm_arrives_with_owner_and_mode(fleet: Lab, world: RealWorld) -> None:
    spec = GuestSpec(name="tpm1", disk=DiskKind.NONE, state=GuestState.SHUTOFF, devices=TPM)
    fleet.add_guest(spec)
    kvm1, kvm2 = fleet.hosts["kvm1"], fleet.hosts["kvm2"]
    uuid = kvm1.virsh("domuuid", "tpm1")
    state = f"/var/lib/libvirt/swtpm/{uuid}/tpm2/tpm2-00.permall"
    kvm1.virsh("start", "tpm1")
    kvm1.virsh("destroy", "tpm1")
    assert kvm1.outer_path(state).exists(), "swtpm made no state"
    kvm1.run(["chmod", "0600", state])
    kvm1.run(["chown", "1234:2345", state])
    before = kvm1.outer_path(state).stat()
    content = digest(kvm1.outer_path(state))
    try:
        outcome = migrate_vm(vm="tpm1", dest="kvm2")
        assert isinstance(outcome, MigrationOutcome)
        after = kvm2.outer_path(state).stat()
        assert digest(kvm2.outer_path(state)) == content
        assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
        assert digest(kvm1.outer_path(f"{state}.vmferry-moved-{outcome.run}")) == content
        assert not kvm1.outer_path(state).exists()
        kvm2.run(["chown", "root:root", state])
        kvm2.virsh("start", "tpm1")
        assert fleet.where("tpm1") == {"kvm2": "running"}
    finally:
        kvm2.run(["virsh", "destroy", "tpm1"], check=False)
        for host in (kvm1, kvm2):
            host.run(["rm", "-rf", f"/var/lib/libvirt/swtpm/{uuid}"])


def test_the_firmware_variables_of_a_uefi_vm_arrive_to_the_byte(fleet: Lab, world: RealWorld) -> None:
    fleet.add_guest(GuestSpec(name="uefi1", disk=DiskKind.NONE, state=GuestState.SHUTOFF))
    kvm1, kvm2 = fleet.hosts["kvm1"], fleet.hosts["kvm2"]
    firmware, variables = f"{IMAGES}/uefi-code.fd", "/var/lib/libvirt/qemu/nvram/uefi1_VARS.fd"
    try:
        for host in (kvm1, kvm2):
            host.outer_path(firmware).write_bytes(b"code")
        kvm1.outer_path(variables).parent.mkdir(parents=True, exist_ok=True)
        kvm1.outer_path(variables).write_bytes(os.urandom(540_672))  # as OVMF_VARS.fd, and no byte to guess
        kvm1.run(["chown", "1234:2345", variables])
        content = digest(kvm1.outer_path(variables))
        loader = f"<loader readonly='yes' type='pflash'>{firmware}</loader><nvram>{variables}</nvram>"
        xml = kvm1.virsh("dumpxml", "--inactive", "uefi1")
        kvm1.virsh("define", "/dev/stdin", input=xml.replace("</type>", f"</type>{loader}"))
        outcome = migrate_vm(vm="uefi1", dest="kvm2")
        assert isinstance(outcome, MigrationOutcome) and outcome.kind is OutcomeKind.MOVED
        assert digest(kvm2.outer_path(variables)) == content
        after = kvm2.outer_path(variables).stat()
        assert (after.st_uid, after.st_gid) == (1234, 2345)
        assert f"<nvram>{variables}</nvram>" in kvm2.virsh("dumpxml", "uefi1")
        assert digest(kvm1.outer_path(f"{variables}.vmferry-moved-{outcome.run}")) == content
        assert not kvm1.outer_path(variables).exists() and fleet.where("uefi1") == {"kvm2": "shut off"}
    finally:
        for host in (kvm1, kvm2):
            host.run(["virsh", "undefine", "uefi1", "--nvram"], check=False)
            host.run(["sh", "-c", f"rm -f {firmware} {variables}*"])


@pytest.mark.parametrize("is_late", [False, True], ids=["before preflight", "before its name is given"])
def test_an_image_of_another_vm_is_never_written_to(
    fleet: Lab, world: RealWorld, monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    fleet.add_guest(GuestSpec(name="alien1", disk=DiskKind.LOCAL, disk_mib=8, state=GuestState.SHUTOFF))
    theirs = fleet.hosts["kvm2"].outer_path(f"{IMAGES}/alien1.raw")
    stage = storage._stage

    def stage_late(*given: object) -> int:
        inode = stage(*given)  # type: ignore[arg-type]
        theirs.write_bytes(b"precious")
        return inode

    try:
        if is_late:
            monkeypatch.setattr(storage, "_stage", stage_late)
        else:
            theirs.write_bytes(b"precious")
        with pytest.raises(LeftBehind if is_late else PreflightBlocked):
            migrate_vm(vm="alien1", dest="kvm2")
        assert theirs.read_bytes() == b"precious"
        assert fleet.where("alien1") == {"kvm1": "shut off"}
        assert not list(theirs.parent.glob(".vmferry-*"))
        assert not is_late or any(row.mark is Mark.UNDONE for row in world.journal.rows(world.journal.recent(1)[0].run))
    finally:
        theirs.unlink(missing_ok=True)


def redefine(fleet: Lab, name: str, kind: str, source: str) -> None:
    """Make the only disk of a shut-off guest of kvm1 one of another type."""
    host = fleet.hosts["kvm1"]
    xml = host.virsh("dumpxml", "--inactive", name)
    changed = re.sub(
        r"<source file=[^>]*/>", f"<source {source}/>", xml.replace("<disk type='file'", f"<disk type='{kind}'")
    )
    assert changed != xml
    host.virsh("define", "/dev/stdin", input=changed)


def add_local(fleet: Lab, name: str) -> Path:
    """Make a shut-off guest on a raw image of kvm1 with something in it; return the image."""
    fleet.add_guest(GuestSpec(name=name, disk=DiskKind.LOCAL, disk_mib=8, state=GuestState.SHUTOFF))
    image = fleet.hosts["kvm1"].outer_path(f"{IMAGES}/{name}.raw")
    with image.open("r+b") as file:
        file.seek(5 << 20)
        file.write(name.encode() * 1000)
    return image


def test_a_volume_of_a_pool_arrives_as_one(fleet: Lab, world: RealWorld) -> None:
    image = add_local(fleet, "vol1")
    content, kvm2 = digest(image), fleet.hosts["kvm2"]
    pools = {"kvm1": IMAGES, "kvm2": f"{IMAGES}/deep"}
    try:
        for host, target in pools.items():
            fleet.hosts[host].run(["mkdir", "-p", target])
            fleet.hosts[host].virsh("pool-create-as", "vols", "dir", "--target", target)
        redefine(fleet, "vol1", "volume", "pool='vols' volume='vol1.raw'")
        outcome = migrate_vm(vm="vol1", dest="kvm2")
        assert isinstance(outcome, MigrationOutcome) and outcome.kind is OutcomeKind.MOVED
        assert digest(kvm2.outer_path(f"{IMAGES}/deep/vol1.raw")) == content
        assert kvm2.virsh("vol-path", "--pool", "vols", "vol1.raw") == f"{IMAGES}/deep/vol1.raw"
        assert "pool='vols'" in kvm2.virsh("dumpxml", "vol1")
        assert f"vol1.raw.vmferry-moved-{outcome.run}" in fleet.hosts["kvm1"].virsh("vol-list", "vols")
        kvm2.virsh("start", "vol1")
        assert fleet.where("vol1") == {"kvm2": "running"}
    finally:
        kvm2.run(["virsh", "destroy", "vol1"], check=False)
        for host in pools:
            fleet.hosts[host].run(["virsh", "pool-destroy", "vols"], check=False)
        clean(fleet, "vol1", "deep")


def test_a_block_device_becomes_a_file_and_is_left_as_it_is(fleet: Lab, world: RealWorld) -> None:
    image = add_local(fleet, "blk1")
    content, kvm2, there = digest(image), fleet.hosts["kvm2"], f"{IMAGES}/from-device.raw"
    device = run(["losetup", "--find", "--show", str(image)]).stdout.strip()
    try:
        redefine(fleet, "blk1", "block", f"dev='{device}'")
        with pytest.raises(PreflightBlocked, match="--disk hda="):
            migrate_vm(vm="blk1", dest="kvm2")
        outcome = migrate_vm(vm="blk1", dest="kvm2", changes=DomainChanges(disk_sources={"hda": there}))
        assert isinstance(outcome, MigrationOutcome) and outcome.kind is OutcomeKind.MOVED
        assert digest(kvm2.outer_path(there)) == digest(image) == content
        kept = [file for file in list_left(world, ["kvm1"], 0).files if file.path == device]
        assert [(file.fate, "vmferry deletes no devices" in file.reason) for file in kept] == [(Fate.KEPT, True)]
        kvm2.virsh("start", "blk1")
        assert f"<source file='{there}'" in kvm2.virsh("dumpxml", "blk1")
    finally:
        kvm2.run(["virsh", "destroy", "blk1"], check=False)
        run(["losetup", "--detach", device])
        clean(fleet, "blk1", "from-device")
