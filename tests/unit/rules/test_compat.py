"""Firmware, machine type and versions, on real domains' XML."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.builders import build_pair
from tests.unit.domxml.samples import sample
from tests.unit.rules.cases.making import DEST, RHEL8, SOURCE, make
from tests.unit.rules.cases.releases import between, runs
from vmferry.domxml.read import parse_vm
from vmferry.model.facts import FileFacts, Firmware
from vmferry.model.findings import Finding, Severity
from vmferry.model.host import Machine
from vmferry.model.vm import DomainState, Vm
from vmferry.rules.case import Case
from vmferry.rules.check import check_move

LOADER = "/usr/share/OVMF/OVMF_CODE_4M.fd"  # that of web1
LOADER_FACTS = {LOADER: FileFacts(path=LOADER, size_bytes=1, allocated_bytes=1)}
EFI = "libvirt/firmware-auto-efi-nvram.xml"


def running(name: str) -> Vm:
    return parse_vm(sample(name), state=DomainState.RUNNING)


def of_rule(case: Case, *rules: str) -> list[Finding]:
    return [f for f in check_move(case).findings if f.rule in rules]


def booting(name: str, offered: Firmware | None, **pair: Any) -> list[Finding]:
    """What is said of a domain's firmware when the destination offers this."""
    vm = running(name)
    case = make(vm, dest={"firmware": offered}, pair=build_pair(SOURCE, DEST, **pair))
    return of_rule(case, "firmware-missing", "host-file-missing")


def test_efi_needs_a_host_that_offers_efi() -> None:
    assert booting(EFI, Firmware(kinds=("bios", "efi"))) == []
    (finding,) = booting(EFI, Firmware(kinds=("bios",)))
    assert finding.severity is Severity.BLOCK
    assert finding.message.startswith("vm fedora needs efi firmware; dest-example offers bios; install it there")
    assert "virsh -c qemu+ssh://dest-example/system domcapabilities" in finding.message


def test_a_loader_needs_no_more_than_its_file() -> None:
    assert booting("web1-live.xml", Firmware(), source_files=LOADER_FACTS, dest_files=LOADER_FACTS) == []
    assert booting("web1-live.xml", Firmware(loaders=(LOADER,)), dest_files={}) == []


def test_a_missing_loader_is_said_once() -> None:
    (finding,) = booting("web1-live.xml", Firmware(), source_files=LOADER_FACTS, dest_files={})
    assert (finding.rule, finding.severity) == ("host-file-missing", Severity.BLOCK)
    (finding,) = booting("web1-live.xml", Firmware(loaders=("/usr/share/ovmf.fd",)), source_files={}, dest_files={})
    assert (finding.rule, finding.severity) == ("firmware-missing", Severity.BLOCK)
    assert f"needs loader {LOADER}; dest-example has no such file and offers /usr/share/ovmf.fd" in finding.message


@pytest.mark.parametrize(("has_it", "count"), [(True, 0), (False, 1)])
def test_secure_boot_needs_a_host_that_offers_it(has_it: bool, count: int) -> None:
    xml = sample(EFI).replace("<os firmware='efi'>", "<os firmware='efi'><loader secure='yes'/>")
    vm = parse_vm(xml, state=DomainState.RUNNING)
    offered = Firmware(kinds=("bios", "efi"), has_secure_boot=has_it)
    findings = of_rule(make(vm, dest={"firmware": offered}), "firmware-missing")
    assert len(findings) == count
    assert all("needs firmware with secure boot; dest-example offers none" in f.message for f in findings)


def test_a_loader_of_the_operators_own_xml_is_judged_by_what_the_destination_has() -> None:
    vm, other = running("web1-live.xml"), "/usr/share/edk2/ovmf/OVMF_CODE.fd"
    arriving = vm.model_copy(update={"firmware": other})
    there = {other: FileFacts(path=other, size_bytes=1, allocated_bytes=1)}
    for dest_files, expected in ((there, 0), ({}, 1)):
        pair = build_pair(SOURCE, DEST, source_files=LOADER_FACTS, dest_files=dest_files)
        case = replace(make(vm, dest={"firmware": Firmware()}, pair=pair), arriving=arriving)
        assert len(of_rule(case, "firmware-missing", "host-file-missing")) == expected
        chosen = replace(case, vm=vm.model_copy(update={"firmware": "efi"}))  # nobody has looked for the file
        assert of_rule(chosen, "firmware-missing") == []


def test_firmware_that_was_not_read_is_not_judged() -> None:
    assert booting(EFI, None) == []


def test_every_cpu_that_may_be_plugged_in_counts() -> None:
    vm = running("web1-live.xml")  # 2 of 4
    for limit, expected in ((4, 0), (3, 1)):
        offers = (Machine(name="pc-q35-7.2", canonical="pc-q35-7.2", max_vcpus=limit),)
        findings = of_rule(make(vm, dest={"machines": offers}), "max-vcpus")
        assert len(findings) == expected
        assert all("may have 4 vCPUs (2 now); its machine type takes 3" in f.message for f in findings)


def test_a_backward_path_of_the_table_is_not_blocked_for_the_older_qemu_that_it_has_by_nature() -> None:
    older = {"qemu_version": 1_005_003, "libvirt_version": 4_005_000}
    newer = {"qemu_version": 4_001_000, "libvirt_version": 5_006_000}
    xml = sample("agent1-live.xml").replace("pc-i440fx-7.2", "pc-i440fx-rhel7.6.0")
    vm = parse_vm(xml, state=DomainState.RUNNING)
    case = between(runs("rhel", "8.1", **newer), runs("rhel", "7.6", **older), vm)
    rules = ("qemu-older", "libvirt-older", "release-path", "release-machine", "release-unknown", "machine-type")
    assert [(f.rule, f.severity) for f in of_rule(case, *rules)] == [("libvirt-older", Severity.WARN)]
    upstream = make(vm, source=runs("rhel", "8.1", **newer), dest=runs("rhel", "7.6", **older))
    assert {f.rule for f in of_rule(upstream, *rules)} == {"qemu-older", "libvirt-older"}


def test_a_machine_type_that_the_older_host_lacks_blocks_on_a_supported_path_too() -> None:
    vm = parse_vm(sample("agent1-live.xml").replace("pc-i440fx-7.2", "pc-q35-rhel8.1.0"), state=DomainState.RUNNING)
    lacks = runs("rhel", "7.6", machines=(Machine(name="pc-q35-rhel7.6.0", canonical="pc-q35-rhel7.6.0"),))
    case = make(vm, source=runs("rhel", "8.1"), dest=lacks, source_host=RHEL8)
    (finding,) = of_rule(case, "machine-type")
    assert finding.severity is Severity.BLOCK
    assert "has machine type pc-q35-rhel8.1.0; QEMU 7.2.0 on dest-example does not offer it" in finding.message
    assert "virsh -c qemu+ssh://dest-example/system capabilities" in finding.message
