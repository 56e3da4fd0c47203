"""What is asked about VMs before they move: files on both hosts, places for markers, ports, bridges, CPUs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.builders import IMAGES, LOCAL, build_disk, build_facts, build_host, build_off_vm, build_vm
from vmferry.model.facts import BridgeQuestion, Link, Pool, SystemFacts
from vmferry.model.host import Storage
from vmferry.model.migration import DomainChanges
from vmferry.model.transport import Encryption
from vmferry.model.vm import DiskKind, Nic, Vm
from vmferry.rules.case import apply_changes
from vmferry.steps.read_questions import End, Questions

EMULATOR, LOADER, OTHER_LOADER = "/usr/bin/qemu", "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_CODE.fd"
V6 = "fe80::5054:ff:fe00:1"


def end(name: str, *, system: SystemFacts | None = None, pools: tuple[Pool, ...] = (), **entry: Any) -> End:
    return End(build_host(name, **entry), build_facts(name, system=system or SystemFacts(), pools=pools))


def asked(*vms: Vm, source: End | None = None, arriving: Vm | None = None) -> Questions:
    return Questions(source or end("a"), vms, {str(arriving.uuid): arriving} if arriving is not None else {})


def links(*given: Link, **facts: Any) -> SystemFacts:
    return SystemFacts(links=given, **facts)


def bridge(name: str = "br0", *addresses: str, mac: str = "52:54:00:00:00:02") -> Link:
    return Link(name=name, kind="bridge", mtu=1500, addresses=addresses, mac=mac)


# files


def test_all_files_of_a_vm_are_looked_for_on_both_hosts() -> None:
    vm = build_off_vm("a", nvram="/n/a.fd", emulator=EMULATOR, disks=(build_disk(f"{LOCAL}/a", backing=("/b/a",)),))
    questions = asked(vm)
    assert {f"{LOCAL}/a", "/b/a", "/n/a.fd", EMULATOR} <= set(questions.paths)
    assert questions.dest_paths(end("b")) == questions.paths


def test_what_gets_another_path_is_looked_for_there() -> None:
    vm = build_vm("a", firmware=LOADER, nvram="/n/a.fd")
    there = apply_changes(vm, DomainChanges(disk_sources={"vda": f"{IMAGES}/other.qcow2"}))
    there = there.model_copy(update={"firmware": OTHER_LOADER, "nvram": "/n/b.fd"})
    questions = asked(vm, arriving=there)
    assert {f"{IMAGES}/other.qcow2", OTHER_LOADER, "/n/b.fd"} <= set(questions.dest_paths(end("b")))
    assert not {f"{IMAGES}/other.qcow2", OTHER_LOADER, "/n/b.fd"} & set(questions.paths)


def test_a_volume_is_looked_for_where_the_pool_of_each_host_is() -> None:
    volume = build_disk("p/a.raw", kind=DiskKind.VOLUME, pool="p")
    source = end("a", pools=(Pool(name="p", kind="dir", target="/srv/here"),))
    dest = end("b", pools=(Pool(name="p", kind="dir", target="/srv/there"),))
    questions = asked(build_vm("a", disks=(volume,)), build_vm("b"), source=source)
    assert "/srv/here/a.raw" in questions.paths
    assert "/srv/there/a.raw" in questions.dest_paths(dest)
    assert ("/srv/here", "/srv/there") in questions.directories(dest)
    assert (IMAGES, IMAGES) in questions.directories(dest)


# markers


def test_markers_go_where_images_lie_and_where_the_inventory_says_shared() -> None:
    vm = build_off_vm("a", nvram="/n/a.fd", disks=(build_disk(f"{LOCAL}/sub/a", backing=("/b/a", "relative")),))
    assert asked(vm).directories(end("b")) == (
        (IMAGES, IMAGES),
        (f"{LOCAL}/sub", f"{LOCAL}/sub"),
        ("/b", "/b"),
        ("/n", "/n"),
    )


def test_a_shared_group_is_looked_for_where_the_destination_has_it() -> None:
    dest = end("b", storage=(Storage(path="/mnt/bay/", shared="cargo-bay"),))
    assert asked().directories(dest) == ((IMAGES, "/mnt/bay"),)


@pytest.mark.parametrize(
    "disk",
    [
        build_disk("/usr/share/iso/cd.iso", device="cdrom", is_readonly=True),
        build_disk("/dev/vg/lv", kind=DiskKind.BLOCK),
        build_disk("/dev/sda"),  # a device under a file's name
        build_disk("pool/x", kind=DiskKind.VOLUME, pool="unknown"),
        build_disk("server/x", kind=DiskKind.NETWORK),
    ],
)
def test_no_marker_is_made_where_nothing_of_ours_lies(disk: Any) -> None:
    bare = end("a", storage=())
    assert asked(build_vm("a", disks=(disk,)), source=bare).directories(end("b", storage=())) == ()


def test_a_disk_that_moves_to_another_directory_is_to_be_proved_there() -> None:
    vm = build_vm("a")
    there = apply_changes(vm, DomainChanges(disk_sources={"vda": "/mnt/bay/a.qcow2"}))
    assert (IMAGES, "/mnt/bay") in asked(vm, arriving=there).directories(end("b", storage=()))


# ports


@pytest.mark.parametrize(
    ("ours", "theirs", "ports"),
    [
        (Encryption.TLS, Encryption.TLS, (49152, 49153, 49154, 49155, 49215)),
        (Encryption.NONE, Encryption.NONE, (49152, 49153, 49154, 49155, 49215)),
        (Encryption.TLS, Encryption.NONE, (49152, 49153, 49154, 49155, 49215)),  # one of them requires TLS
        (Encryption.AUTO, Encryption.AUTO, ()),  # neither has certificates
        (Encryption.TUNNELLED, Encryption.TUNNELLED, ()),
        (Encryption.NONE, Encryption.TUNNELLED, ()),
    ],
)
def test_ports_are_tried_where_memory_travels_outside_the_libvirt_connection(
    ours: Encryption, theirs: Encryption, ports: tuple[int, ...]
) -> None:
    allowed = {"plain_networks": ("10.7.0.0/24",)}
    source = end("a", encryption=ours, migration_address="10.7.0.1", **allowed)
    peer = asked(source=source).peer(end("b", encryption=theirs, migration_address="10.7.0.2", **allowed))
    assert (peer.host, peer.address, peer.uri, peer.ports) == ("b", "10.7.0.2", "qemu+ssh://b/system", ports)


@pytest.mark.parametrize(
    ("given", "ports"),
    [((50000, 50002), (50000, 50001, 50002)), ((5, 5), (5,)), ((9, 5), ())],
)
def test_the_ports_are_the_first_and_the_last_of_the_destinations_range(
    given: tuple[int, int], ports: tuple[int, ...]
) -> None:
    dest = end("b", encryption=Encryption.TLS, system=SystemFacts(migration_ports=given))
    assert asked(source=end("a", encryption=Encryption.TLS)).peer(dest).ports == ports


# bridges


def test_the_addresses_of_the_destinations_bridge_are_the_targets_link_local_ones_first() -> None:
    dest = end("b", system=links(bridge("br0", "10.0.0.2/24", f"{V6}/64")))
    assert asked(build_vm("a"), build_vm("b")).peer(dest).bridges == (
        BridgeQuestion(bridge="br0", dest_bridge="br0", targets=(V6, "10.0.0.2"), mac="52:54:00:00:00:02"),
    )


def test_an_address_that_the_source_has_too_is_no_target() -> None:
    """virbr0 is 192.168.122.1 on every host: the source would answer itself."""
    source = end(
        "a", system=links(bridge("virbr0", "192.168.122.1/24"), Link(name="x", mtu=1, addresses=("fe80::1/64",)))
    )
    dest = end("b", system=links(bridge("virbr0", "192.168.122.1/24", "fe80::1/64", "10.0.0.2/24")))
    vm = build_vm("a", nics=(Nic(kind="bridge", source="virbr0"),))
    (question,) = asked(vm, source=source).peer(dest).bridges
    assert question.targets == ("10.0.0.2",)


def test_a_bridge_without_an_address_is_asked_for_all_the_same_and_a_missing_one_is_not() -> None:
    (question,) = asked(build_vm("a")).peer(end("b", system=links(bridge("br0")))).bridges
    assert question.targets == ()
    assert asked(build_vm("a")).peer(end("b")).bridges == ()


def test_cards_in_libvirts_networks_are_not_asked_about() -> None:
    vm = build_vm("a", nics=(Nic(kind="network", source="br0"), Nic(kind="bridge", source=None)))
    assert asked(vm).peer(end("b", system=links(bridge("br0")))).bridges == ()


def test_a_bridge_that_is_mapped_is_asked_for_under_its_name_there() -> None:
    nics = (
        Nic(kind="bridge", source="br0", mac="1"),
        Nic(kind="bridge", source="br1", mac="2"),
        Nic(kind="user", mac="3"),
    )
    vm = build_vm("a", nics=nics)
    there = apply_changes(vm, DomainChanges(bridges={"br0": "br7"}))
    dest = end("b", system=links(bridge("br7"), bridge("br1")))
    assert [(b.bridge, b.dest_bridge) for b in asked(vm, arriving=there).peer(dest).bridges] == [
        ("br0", "br7"),
        ("br1", "br1"),
    ]
    # The operator's own XML may name the cards in another order, or without their addresses.
    turned = vm.model_copy(update={"nics": (nics[1], nics[0].model_copy(update={"source": "br7"}))})
    assert {(b.bridge, b.dest_bridge) for b in asked(vm, arriving=turned).peer(dest).bridges} == {
        ("br0", "br7"),
        ("br1", "br1"),
    }
    nameless = vm.model_copy(update={"nics": (Nic(kind="bridge", source="br7"),)})
    assert [(b.bridge, b.dest_bridge) for b in asked(vm, arriving=nameless).peer(dest).bridges] == [("br0", "br7")]


# CPUs


def test_equal_cpus_are_asked_about_once_and_shut_off_vms_have_one_too() -> None:
    same = "<cpu mode='custom'><model>Nehalem</model></cpu>"
    vms = (build_vm("a", cpu_xml=same), build_off_vm("b", cpu_xml=same), build_vm("c", cpu_xml="<cpu/>"), build_vm("d"))
    assert [cpu.xml for cpu in asked(*vms).cpus.values()] == [same, "<cpu/>"]
