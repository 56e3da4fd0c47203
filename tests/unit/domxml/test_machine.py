"""Firmware, huge pages and the guest agent of a domain."""

from __future__ import annotations

import pytest

from tests.unit.domxml.samples import domain, sample
from vmferry.domxml.read import parse_vm
from vmferry.model.vm import Device, Vm


def secure_boot_of(vm: Vm) -> list[Device]:
    return [device for device in vm.devices if device.kind == "secure-boot"]


@pytest.mark.parametrize(
    ("file", "by"),
    [
        ("firmware-auto-efi-secboot", "feature"),
        ("firmware-auto-efi-loader-secure", "loader"),
        ("firmware-manual-efi-secure", "loader"),
    ],
)
def test_a_vm_that_wants_secure_boot_says_by_what(file: str, by: str) -> None:
    assert [d.attributes for d in secure_boot_of(parse_vm(sample(f"libvirt/{file}.xml")))] == [{"by": by}]


@pytest.mark.parametrize("file", ["firmware-auto-efi-no-secboot", "firmware-auto-efi-nvram"])
def test_a_vm_that_does_not_ask_for_secure_boot_does_not_want_it(file: str) -> None:
    assert secure_boot_of(parse_vm(sample(f"libvirt/{file}.xml"))) == []


def test_enrolled_keys_are_keys_of_secure_boot() -> None:
    os = "<os firmware='efi'><firmware><feature enabled='yes' name='enrolled-keys'/></firmware></os>"
    assert [d.attributes for d in secure_boot_of(parse_vm(domain(before=os)))] == [{"by": "feature"}]


@pytest.mark.parametrize(
    ("pages", "kib"),
    [
        ("", None),
        ("<page size='2' unit='M'/>", 2048),
        ("<page size='2048'/>", 2048),
        ("<page size='2048' unit='KiB' nodeset='1'/><page size='1' unit='GiB' nodeset='0'/>", 1048576),
    ],
)
def test_the_largest_huge_page_that_is_asked_for_counts(pages: str, kib: int | None) -> None:
    vm = parse_vm(domain(before=f"<memoryBacking><hugepages>{pages}</hugepages></memoryBacking>"))
    assert (vm.hugepages, vm.hugepage_kib, vm.problems) == (True, kib, ())


@pytest.mark.parametrize("page", ["<page size='2' unit='parsec'/>", "<page size='two'/>", "<page/>"])
def test_a_huge_page_whose_size_cannot_be_understood_is_a_problem(page: str) -> None:
    vm = parse_vm(domain(before=f"<memoryBacking><hugepages>{page}</hugepages></memoryBacking>"))
    assert (vm.hugepage_kib, len(vm.problems)) == (None, 1)


@pytest.mark.parametrize(
    ("file", "agent"),
    [
        ("web1-live.xml", (True, True)),
        ("agent1-live.xml", (True, False)),
        ("libvirt/chardev-tcp.xml", (False, False)),
        ("test-default.xml", (False, False)),
    ],
)
def test_the_channel_of_the_guest_agent_and_whether_an_agent_is_at_its_end(file: str, agent: tuple[bool, bool]) -> None:
    vm = parse_vm(sample(file))
    assert (vm.has_agent_channel, vm.is_agent_connected) == agent
