"""Conditions of real fleets, made in the lab and found by `vmferry check` before anything is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.lab import DiskFormat, DiskKind, GuestSpec, GuestState, Lab
from infra.lab.conditions import closed_ports, other_host_key, second_address, unknown_cpu_model, unplugged_bridge

pytestmark = pytest.mark.lab
DONE, LEFT_BEHIND = 0, 4
IMAGES = "/var/lib/libvirt/images"
PCI = "<hostdev mode='subsystem' type='pci'><source><address bus='1' slot='0' function='0'/></source></hostdev>"


def check(inventory: Path, *args: str) -> dict[str, Any]:
    """Run `vmferry check … --json` as an operator does; return the document, the exit code added."""
    environment = os.environ | {"VMFERRY_INVENTORY": str(inventory), "VMFERRY_CONNECT_TIMEOUT_S": "5"}
    command = [Path(sys.executable).with_name("vmferry"), "check", *args, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return {**json.loads(done.stdout), "exit": done.returncode}


def findings(lab: Lab, vm: str, dest: str, severity: str = "block") -> dict[str, str]:
    """Return rule → message of one VM and one destination."""
    document = check(lab.inventory_path, vm, "--to", dest)
    found = document["hosts"][dest]["findings"]
    assert document["exit"] == (LEFT_BEHIND if any(f["severity"] == "block" for f in found) else DONE)
    return {f["rule"]: f["message"] for f in found if f["severity"] == severity}


@pytest.fixture
def calm(fleet: Lab) -> Iterator[Lab]:
    """A lab with one running guest on kvm1, shared disk, on the bridge br0: it is where it was after every check."""
    fleet.add_guest(GuestSpec(name="calm", disk=DiskKind.SHARED, network="br0"))
    yield fleet
    assert fleet.where("calm") == {"kvm1": "running"}


def test_a_healthy_pair_has_nothing_against_a_move(calm: Lab) -> None:
    document = check(calm.inventory_path, "calm", "--to", "kvm2")
    assert document["exit"] == DONE and document["movable_to"] == ["kvm2"]
    assert document["hosts"]["kvm2"]["findings"] == []


def test_a_missing_bridge_is_found(calm: Lab) -> None:
    said = findings(calm, "calm", "kvm3")
    assert list(said) == ["bridge-missing"] and "br0" in said["bridge-missing"]


def test_a_bridge_on_another_network_is_found(calm: Lab) -> None:
    with unplugged_bridge(calm.hosts["kvm2"], "br0"):
        said = findings(calm, "calm", "kvm2")
    assert list(said) == ["same-network"] and "br0" in said["same-network"]


def test_closed_migration_ports_are_found(calm: Lab) -> None:
    with closed_ports(calm.hosts["kvm2"], 49152, 49215):
        said = findings(calm, "calm", "kvm2")
    assert list(said) == ["migration-ports"] and "49152-49215" in said["migration-ports"]


def test_packets_that_the_way_does_not_carry_are_found(calm: Lab) -> None:
    source = calm.hosts["kvm1"]
    source.run(["ip", "link", "set", "eth0", "mtu", "9000"])
    try:
        said = findings(calm, "calm", "kvm2")
    finally:
        source.run(["ip", "link", "set", "eth0", "mtu", "1500"])
    assert list(said) == ["path-mtu"] and "9000" in said["path-mtu"]


def test_a_stopped_libvirtd_is_told_and_hides_no_other_host(calm: Lab) -> None:
    calm.hosts["kvm2"].stop_libvirtd()
    try:
        document = check(calm.inventory_path, "calm")
    finally:
        calm.hosts["kvm2"].start_libvirtd()
    assert "kvm2" in document["unread"] and "kvm2" not in document["hosts"]
    assert "kvm3" in document["hosts"]


def test_a_host_key_that_nobody_knows_is_told(calm: Lab) -> None:
    with other_host_key(calm.hosts["kvm2"]):
        document = check(calm.inventory_path, "calm", "--to", "kvm2")
    assert "host key" in document["unread"]["kvm2"].lower() and document["exit"] == LEFT_BEHIND


def test_a_host_key_that_only_the_source_does_not_know_is_found(calm: Lab) -> None:
    known = calm.hosts["kvm1"].outer_path("/root/.ssh/known_hosts")
    text = known.read_text()
    known.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("kvm2,")))
    try:
        said = findings(calm, "calm", "kvm2")
    finally:
        known.write_text(text)
    assert list(said) == ["libvirt-reach"] and "Host key verification failed" in said["libvirt-reach"]


def test_a_different_file_behind_the_same_path_is_found(fleet: Lab) -> None:
    fleet.add_guest(GuestSpec(name="local1", disk=DiskKind.LOCAL))
    path = f"{IMAGES}/local1.raw"
    fleet.hosts["kvm2"].run(["truncate", "-s", "1M", path])
    try:
        said = findings(fleet, "local1", "kvm2")
    finally:
        fleet.hosts["kvm2"].run(["rm", path])
    assert path in said["mirror-target-exists"] and "1048576 bytes" in said["mirror-target-exists"]


def test_a_foreign_image_at_the_destination_is_never_overwritten(fleet: Lab) -> None:
    fleet.add_guest(GuestSpec(name="archive1", disk=DiskKind.LOCAL, state=GuestState.SHUTOFF))
    path = f"{IMAGES}/archive1.raw"
    assert findings(fleet, "archive1", "kvm2") == {}
    fleet.hosts["kvm2"].run(["truncate", "-s", "1M", path])
    try:
        said = findings(fleet, "archive1", "kvm2")
    finally:
        fleet.hosts["kvm2"].run(["rm", path])
    assert list(said) == ["copy-target-exists"] and path in said["copy-target-exists"]


def test_the_base_of_a_shut_off_overlay_travels_with_it_or_is_found_missing(fleet: Lab) -> None:
    fleet.add_guest(
        GuestSpec(name="over1", disk=DiskKind.LOCAL, disk_format=DiskFormat.QCOW2, state=GuestState.SHUTOFF)
    )
    source, path, base = fleet.hosts["kvm1"], f"{IMAGES}/over1.qcow2", f"{IMAGES}/golden.qcow2"
    assert findings(fleet, "over1", "kvm2") == {}
    source.run(["mv", path, base])
    source.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", path])
    try:
        with_base = findings(fleet, "over1", "kvm2")
    finally:
        source.run(["rm", base])
    assert with_base == {}
    without_base = findings(fleet, "over1", "kvm2")
    assert list(without_base) == ["copy-source-missing"] and base in without_base["copy-source-missing"]


def test_a_full_disk_is_found_with_numbers(fleet: Lab) -> None:
    guest = GuestSpec(name="big1", disk=DiskKind.LOCAL, disk_mib=96, disk_data_mib=80, state=GuestState.SHUTOFF)
    fleet.add_guest(guest)
    said = findings(fleet, "big1", "kvm3")
    assert list(said) == ["copy-space"] and "MiB" in said["copy-space"] and IMAGES in said["copy-space"]


def test_a_name_that_another_vm_has_is_found(calm: Lab) -> None:
    xml = calm.hosts["kvm1"].virsh("dumpxml", "--inactive", "calm")
    uuid = calm.hosts["kvm1"].virsh("domuuid", "calm")
    other = xml.replace(uuid, "11111111-2222-4333-8444-555555555555")
    calm.hosts["kvm2"].virsh("define", "/dev/stdin", input=other)
    try:
        said = findings(calm, uuid, "kvm2")
    finally:
        calm.hosts["kvm2"].virsh("undefine", "calm")
    assert list(said) == ["name-taken"] and "11111111" in said["name-taken"]


def test_an_old_definition_of_the_same_vm_is_told_apart_from_a_foreign_one(calm: Lab) -> None:
    xml = calm.hosts["kvm1"].virsh("dumpxml", "--inactive", "calm")
    calm.hosts["kvm2"].virsh("define", "/dev/stdin", input=xml)
    try:
        said = findings(calm, "calm", "kvm2")
        lifted = check(calm.inventory_path, "calm", "--to", "kvm2", "--lift", "stale-definition")
    finally:
        calm.hosts["kvm2"].virsh("undefine", "calm")
    assert list(said) == ["stale-definition"]
    assert lifted["movable_to"] == ["kvm2"]
    assert [f["rule"] for f in lifted["hosts"]["kvm2"]["findings"] if f["is_lifted"]] == ["stale-definition"]


def test_an_iso_of_the_source_only_is_found(fleet: Lab) -> None:
    iso = f"{IMAGES}/rescue.iso"
    fleet.hosts["kvm1"].run(["truncate", "-s", "1M", iso])
    drive = f"<disk type='file' device='cdrom'><source file='{iso}'/><target dev='hdc' bus='ide'/></disk>"
    try:
        fleet.add_guest(GuestSpec(name="media1", disk=DiskKind.SHARED, devices=drive))
        said = findings(fleet, "media1", "kvm2")
        assert list(said) == ["local-media"]
        assert iso in said["local-media"] and "change-media media1 hdc --eject --live" in said["local-media"]
        fleet.hosts["kvm1"].virsh("change-media", "media1", "hdc", "--eject", "--live")
        assert findings(fleet, "media1", "kvm2") == {}
    finally:
        fleet.hosts["kvm1"].run(["rm", iso])


def test_a_snapshot_is_found(fleet: Lab) -> None:
    disk = {"disk": DiskKind.SHARED, "disk_format": DiskFormat.QCOW2}
    fleet.add_guest(GuestSpec(name="snap1", state=GuestState.SHUTOFF, **disk))
    fleet.hosts["kvm1"].virsh("snapshot-create-as", "snap1", "before-update")
    try:
        said = findings(fleet, "snap1", "kvm2")
    finally:
        fleet.hosts["kvm1"].virsh("snapshot-delete", "snap1", "before-update")
    assert list(said) == ["snapshots"] and "1 snapshot" in said["snapshots"]


def test_a_device_of_the_host_is_found(fleet: Lab) -> None:
    fleet.add_guest(GuestSpec(name="gpu1", disk=DiskKind.SHARED, state=GuestState.SHUTOFF, devices=PCI))
    assert findings(fleet, "gpu1", "kvm2") == {}
    said = findings(fleet, "gpu1", "kvm2", "warn")
    assert "passed through" in said["passthrough"]


def test_numa_pinning_is_found(fleet: Lab) -> None:
    fleet.add_guest(GuestSpec(name="pinned1", disk=DiskKind.SHARED, numa_pinned=True))
    said = findings(fleet, "pinned1", "kvm2")
    assert list(said) == ["numa-pinning"] and "vcpupin" in said["numa-pinning"]


def test_a_cpu_model_that_the_destination_does_not_know_is_found(fleet: Lab) -> None:
    fleet.add_guest(GuestSpec(name="cpu1", disk=DiskKind.SHARED, cpu="Westmere"))
    assert findings(fleet, "cpu1", "kvm2") == {}
    with unknown_cpu_model(fleet.hosts["kvm2"], "Westmere"):
        said = findings(fleet, "cpu1", "kvm2")
    assert list(said) == ["cpu-incompatible"] and "Unknown CPU model Westmere" in said["cpu-incompatible"]


def test_one_host_under_two_names_is_found(fleet: Lab, tmp_path: Path) -> None:
    fleet.add_guest(GuestSpec(name="twin1", host="kvm2", disk=DiskKind.SHARED))
    with second_address(fleet.hosts["kvm2"]) as address:
        said = check(_listed_twice(fleet, address, tmp_path), "kvm2", "--to", "kvm2b")
    reasons = said["plan"]["stranded"][0]["reasons"]["kvm2b"]
    assert {"same-machine", "two-copies"} <= {finding["rule"] for finding in reasons}
    assert said["exit"] == LEFT_BEHIND


def _listed_twice(lab: Lab, address: str, place: Path) -> Path:
    """Write the lab's inventory with kvm2 once more, as kvm2b under its second address."""
    config, known = place / "ssh_config", place / "known_hosts"
    key = next(line for line in lab.known_hosts.read_text().splitlines() if line.startswith("kvm2,")).split()[1:]
    known.write_text(f"{lab.known_hosts.read_text()}kvm2b,{address} {' '.join(key)}\n")
    text = lab.ssh_config.read_text().replace(str(lab.known_hosts), str(known))
    config.write_text(f"Host kvm2b {address}\n    HostName {address}\n    HostKeyAlias kvm2b\n{text}")
    wrapper = place / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec ssh -F {config} "$@"\n')
    wrapper.chmod(0o755)
    entry = (
        f"  kvm2b:\n    uri: qemu+ssh://root@kvm2b/system?command={wrapper}\n"
        f"    peer_uri: qemu+ssh://root@{address}/system\n    ssh: {{address: kvm2b, user: root}}\n"
        f"    migration_address: {address}\n    hypervisors: [qemu, kvm]\n    profile: upstream\n"
        "    storage:\n      - {path: /srv/shared, shared: lab-shared, locks: true}\n"
    )
    inventory = place / "inventory.yaml"
    before = lab.inventory_path.read_text().replace(str(lab.ssh_config), str(config))
    inventory.write_text(before + entry)
    return inventory
