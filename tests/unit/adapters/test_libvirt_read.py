"""Reading through libvirt: capabilities documents, all domains with few calls, CPUs that cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from tests.unit.domxml.samples import domain
from vmferry.adapters.libvirt_calls import open_connection
from vmferry.adapters.libvirt_capabilities import Capabilities, hugepages, parse_firmware
from vmferry.adapters.libvirt_cpus import compare_cpus
from vmferry.adapters.libvirt_domains import read_vms
from vmferry.adapters.libvirt_facts import read_firmware, read_hugepages, read_pools
from vmferry.errors import PermanentError
from vmferry.model.facts import CpuFit, Firmware, GuestCpu, HostCpu, HugePages, Pool
from vmferry.model.vm import DomainState
from vmferry.settings import Settings

DATA = Path(__file__).parent / "data"


def data(name: str) -> str:
    return (DATA / name).read_text()


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[libvirt.virConnect]:
    """A test driver of its own with nothing on it; the default one is shared by the whole process."""
    path = tmp_path / "node.xml"
    path.write_text("<node/>")
    opened = open_connection(f"test://{path}", "kvm1", Settings())
    yield opened
    opened.close()


# capabilities


def test_the_capabilities_of_a_debian_12_host_are_read() -> None:
    found = Capabilities(data("capabilities-debian12.xml"))
    machines = {machine.name: machine for machine in found.machines}
    assert str(found.uuid) == "b9f2c162-b74c-566e-b75b-e3bd362c3f6b"
    assert (found.arch, found.domain_types) == ("x86_64", ("kvm", "qemu"))
    assert (machines["q35"].canonical, machines["q35"].max_vcpus) == ("pc-q35-7.2", 288)
    assert machines["pc-i440fx-7.2"].canonical == "pc-i440fx-7.2"
    assert found.cpu == HostCpu(model="kvm64", vendor="AMD", tsc_hz=2445426000)
    assert (found.cells, found.hugepage_totals) == ((0,), {2048: 0, 1048576: 0})
    assert found.qemu_uid == 0


def test_the_user_of_qemu_is_told_by_the_dac_label_alone() -> None:
    text = data("capabilities-debian12.xml")
    assert Capabilities(text.replace("+0:+0", "+64055:+64055")).qemu_uid == 64055
    assert Capabilities(text.replace("<model>dac</model>", "<model>selinux</model>")).qemu_uid is None


def test_tsc_scaling_is_told_only_where_libvirt_says_yes() -> None:
    text = data("capabilities-debian12.xml").replace("scaling='no'", "scaling='yes'")
    cpu = Capabilities(text).cpu
    assert cpu is not None
    assert cpu.has_tsc_scaling


def test_huge_pages_of_all_numa_nodes_are_added_and_ordinary_pages_are_none() -> None:
    found = Capabilities(data("vircaps-x86_64-basic.xml"))
    assert found.cells == (0, 1, 2, 3)
    assert found.hugepage_totals == {2048: 28672, 1048576: 36864}


def test_a_host_whose_cpu_or_uuid_libvirt_does_not_know_says_so() -> None:
    found = Capabilities(data("vircaps-x86_64-basic.xml"))
    assert found.cpu is None
    with pytest.raises(PermanentError, match="host_uuid"):
        _ = found.uuid


def test_on_a_host_with_ordinary_pages_of_64_kib_only_larger_ones_are_huge() -> None:
    pages = "<pages unit='KiB' size='64'>900</pages><pages unit='KiB' size='524288'>3</pages>"
    cell = f"<topology><cells><cell id='0'>{pages}</cell></cells></topology>"
    assert Capabilities(f"<capabilities><host>{cell}</host></capabilities>").hugepage_totals == {524288: 3}


def test_free_huge_pages_stand_beside_the_totals_and_are_never_more() -> None:
    assert hugepages({2048: 8, 1048576: 2}, {2048: 5}) == (
        HugePages(size_kib=2048, total=8, free=5),
        HugePages(size_kib=1048576, total=2, free=0),
    )
    assert hugepages({2048: 0}, {2048: 4}) == (HugePages(size_kib=2048, total=4, free=4),)


# firmware


def test_a_host_without_uefi_packages_offers_none() -> None:
    assert parse_firmware([data("domcapabilities-debian12-pc.xml")]) == Firmware()


def test_secure_boot_that_only_q35_has_is_found_beside_pc() -> None:
    pc, q35 = data("qemu_7.2.0.x86_64.xml"), data("qemu_7.2.0-q35.x86_64.xml")
    assert not parse_firmware([pc]).has_secure_boot
    assert parse_firmware([pc, q35]) == Firmware(
        kinds=("bios", "efi"),
        loaders=(
            "/usr/share/AAVMF/AAVMF32_CODE.fd",
            "/usr/share/AAVMF/AAVMF_CODE.fd",
            "/usr/share/OVMF/OVMF_CODE.fd",
        ),
        has_secure_boot=True,
    )


# what a driver tells, and does not tell


def test_pools_are_read_whether_they_are_active_or_not(connection: libvirt.virConnect) -> None:
    assert read_pools(connection) == ()
    target = "<target><path>/srv/images</path></target>"
    connection.storagePoolCreateXML(f"<pool type='dir'><name>images</name>{target}</pool>", 0)
    source = "<source><name>vg0</name></source><target><path>/dev/vg0</path></target>"
    connection.storagePoolDefineXML(f"<pool type='logical'><name>fast</name>{source}</pool>", 0)
    assert read_pools(connection) == (
        Pool(name="fast", kind="logical", target="/dev/vg0", is_active=False),
        Pool(name="images", kind="dir", target="/srv/images", available_bytes=100 << 30),
    )


def test_what_a_driver_cannot_tell_is_unknown_and_no_error(connection: libvirt.virConnect) -> None:
    found = Capabilities(data("capabilities-debian12.xml"))
    assert read_firmware(connection, found) is None  # the test driver has no domain capabilities


def test_free_huge_pages_that_cannot_be_told_make_all_unknown(connection: libvirt.virConnect) -> None:
    two_nodes = Capabilities(data("vircaps-x86_64-basic.xml"))
    assert read_hugepages(connection, Capabilities("<capabilities/>")) == ()
    assert read_hugepages(connection, two_nodes) is None  # the test driver answers without a node


# domains


def make(connection: libvirt.virConnect, name: str) -> libvirt.virDomain:
    number = int.from_bytes(name.encode(), "big")
    xml = domain(head="type='test'").replace("vm1", name).replace("4dea22b3-1d52-d8f3-2516", "4dea22b3-1d52-d8f3-0000")
    return connection.defineXML(xml.replace("782e98ab3fa0", f"{number:012x}"))


def test_what_libvirt_says_beside_the_xml_is_read_of_each_domain(connection: libvirt.virConnect) -> None:
    plain, auto, saved, snapped = (make(connection, name) for name in ("plain", "auto", "saved", "snap"))
    auto.setAutostart(1)
    saved.create()
    saved.managedSave(0)
    for name in ("one", "two"):
        snapped.snapshotCreateXML(f"<domainsnapshot><name>{name}</name></domainsnapshot>", 0)
    vms = read_vms(connection)
    assert [vm.name for vm in vms] == ["auto", "plain", "saved", "snap"]
    assert [str(vm.uuid) for vm in vms] == [d.UUIDString() for d in (auto, plain, saved, snapped)]
    assert all(vm.state is DomainState.SHUTOFF and vm.is_persistent for vm in vms)
    assert [vm.is_autostart for vm in vms] == [True, False, False, False]
    assert [vm.has_managed_save for vm in vms] == [False, False, True, False]
    assert [vm.snapshots for vm in vms] == [0, 0, 0, 2]
    assert [vm.state_reason for vm in vms] == ["", "", "saved", ""]


def test_a_host_without_domains_has_none(connection: libvirt.virConnect) -> None:
    assert read_vms(connection) == ()


# CPUs


def test_a_libvirt_that_cannot_compare_says_so_of_each_cpu(connection: libvirt.virConnect) -> None:
    xmls = "<cpu mode='custom'><model>EPYC</model></cpu>", "<cpu", ""
    cpus = [GuestCpu(xml=xml, arch="x86_64", machine=None, domain_type="kvm") for xml in xmls]
    verdicts = compare_cpus(connection, [*cpus, cpus[0]])
    assert set(verdicts) == {cpu.key for cpu in cpus}
    for verdict in verdicts.values():
        assert verdict.fit is CpuFit.FAILED
        assert "not supported" in verdict.detail
