"""A VM judged by its XML alone: every mode as if the VM were in the state that it needs, and nothing invented."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.domxml.samples import FILES, domain, sample
from vmferry.domxml.read import parse_vm
from vmferry.model.findings import Severity
from vmferry.model.host import Profile
from vmferry.model.migration import MigrationMode
from vmferry.rules.alone import Inspection, inspect_vm
from vmferry.rules.rule import Scope
from vmferry.rules.table import BY_ID

LIVE, NON_LIVE, OFFLINE = MigrationMode
PLAIN = domain("<disk type='file'><source file='/images/a.qcow2'/><target dev='vda'/></disk>")
TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
USB = "<hostdev type='usb'><source><address bus='1' device='2'/></source></hostdev>"


def inspect(xml: str, profile: Profile = Profile.RHEL8) -> Inspection:
    return inspect_vm(parse_vm(xml), profile)


def may(inspection: Inspection) -> set[MigrationMode]:
    return {mode for mode, answer in inspection.modes.items() if answer.may_move}


def assumed(xml: str) -> str:
    return "\n".join(inspect(xml).assumes)


def test_a_plain_vm_may_move_in_every_mode() -> None:
    inspection = inspect(PLAIN)
    assert may(inspection) == {LIVE, NON_LIVE, OFFLINE}
    assert inspection.findings == ()


def test_the_state_that_xml_does_not_hold_forbids_no_mode() -> None:
    for file in FILES:
        found = {finding.rule for finding in inspect(file.read_text()).findings}
        assert not found & {"mode-state", "state-unmovable", "transient-offline", "already-moving"}, file.name


def test_a_passed_through_device_forbids_the_modes_with_memory() -> None:
    inspection = inspect(domain(USB))
    assert may(inspection) == {OFFLINE}
    assert inspection.modes[LIVE].blocked_by == ("passthrough",)
    assert inspection.modes[OFFLINE].warned_by == ("passthrough",)


def test_an_emulated_tpm_whose_state_is_encrypted_forbids_the_offline_mode_alone() -> None:
    assert may(inspect(domain(TPM))) == {LIVE, NON_LIVE, OFFLINE}
    secret = "<backend type='emulator' version='2.0'><encryption secret='6dd3e4a5-1d76-44ce-961f-f119f5aad935'/>"
    sealed = f"<tpm model='tpm-crb'>{secret}</backend></tpm>"
    assert may(inspect(domain(sealed))) == {LIVE, NON_LIVE}


def test_a_finding_stands_once_with_the_modes_in_which_it_holds() -> None:
    block, warn = inspect(domain(USB)).findings
    assert (block.severity, block.modes) == (Severity.BLOCK, (LIVE, NON_LIVE))
    assert (warn.severity, warn.modes) == (Severity.WARN, (OFFLINE,))
    assert block.message == warn.message


def test_findings_stand_in_the_order_of_the_rules() -> None:
    order = [finding.rule for finding in inspect(domain(TPM + USB + "<shmem name='a'/>")).findings]
    assert order == sorted(order, key=list(BY_ID).index)


def test_everything_wrong_is_said_at_once() -> None:
    inspection = inspect(domain(USB + "<shmem name='a'/>", before="<vcpu cpuset='1-2'>2</vcpu>"))
    assert set(inspection.modes[LIVE].blocked_by) == {"passthrough", "shmem", "numa-pinning"}


@pytest.mark.parametrize("kind", ["xen", "lxc", "vmware", "test", "bhyve"])
def test_a_guest_of_another_hypervisor_may_not_move_at_all(kind: str) -> None:
    inspection = inspect(domain(head=f"type='{kind}'"))
    assert may(inspection) == set()
    assert "domain-type" in inspection.modes[LIVE].blocked_by


def test_only_rules_of_the_vm_alone_are_asked() -> None:
    for file in FILES:
        for finding in inspect(file.read_text()).findings:
            assert BY_ID[finding.rule].scope is Scope.VM


@pytest.mark.parametrize("profile", Profile)
def test_messages_name_no_host_that_does_not_exist(profile: Profile) -> None:
    for file in FILES:
        for finding in inspect(file.read_text(), profile).findings:
            assert "None" not in finding.message, finding.message
            assert "qemu+ssh" not in finding.message, finding.message


def test_the_commands_of_a_message_work_on_the_vms_host() -> None:
    mirror = "<mirror type='file'><source file='/b'/></mirror>"
    disk = f"<disk type='file'><source file='/a'/><target dev='vda'/>{mirror}</disk>"
    (finding,) = inspect(domain(disk)).findings
    assert "`virsh -c qemu:///system blockjob vm1 vda --abort`" in finding.message


def test_the_profile_decides_what_a_finding_does() -> None:
    vm = parse_vm(PLAIN, checkpoints=1)
    blocked = {profile: inspect_vm(vm, profile).modes[LIVE].blocked_by for profile in Profile}
    assert blocked == {Profile.RHEL8: ("checkpoints",), Profile.UPSTREAM: ()}


def test_xml_without_a_uuid_is_told_and_shows_none() -> None:
    inspection = inspect(PLAIN.replace("<uuid>", "<!--").replace("</uuid>", "-->"))
    assert inspection.uuid is None
    assert inspection.modes[LIVE].blocked_by == ("xml-unreadable",)


def test_two_lists_of_devices_are_no_way_to_hide_one() -> None:
    xml = PLAIN.replace("</domain>", f"<devices>{USB}</devices></domain>")
    assert may(inspect(xml)) == set()


# what the answer takes for granted


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"devices": "<disk type='file'><source file='/i/a'/><target dev='vda'/></disk>"}, "storage of vda (/i/a)"),
        ({"devices": "<disk type='block'><source dev='/dev/vg/a'/><target dev='vdb'/></disk>"}, "same vdb (/dev/vg/a)"),
        (
            {"devices": "<disk type='file' device='cdrom'><source file='/a.iso'/><target dev='sda'/></disk>"},
            "media sda (/a.iso)",
        ),
        (
            {
                "devices": "<disk type='file'><source file='/i/a'/><backingStore type='file'><source file='/i/base'/>"
                "</backingStore><target dev='vda'/></disk>"
            },
            "backing files /i/base",
        ),
        (
            {"devices": "<disk type='file'><driver cache='writeback'/><source file='/a'/><target dev='vda'/></disk>"},
            "4.0 or newer",
        ),
        ({"devices": "<interface type='bridge'><source bridge='br7'/></interface>"}, "bridge br7"),
        ({"devices": "<interface type='network'><source network='lan'/></interface>"}, "network lan"),
        ({"devices": "<interface type='network'><source network='lan'/></interface>"}, "forward mode='hostdev'"),
        ({"before": "<cpu mode='host-passthrough'/>"}, "the same CPU (CPU mode host-passthrough)"),
        ({}, "machine type q35"),
        ({}, "snapshots"),
    ],
)
def test_what_xml_shows_and_cannot_decide_is_listed(given: dict[str, Any], sentence: str) -> None:
    assert sentence in assumed(domain(**given))


def test_an_ejected_drive_and_a_card_handed_through_are_not_assumed_to_be_anywhere() -> None:
    xml = domain("<disk type='file' device='cdrom'><target dev='sda'/></disk><interface type='hostdev'/>")
    assert "media" not in assumed(xml)
    assert "network" not in assumed(xml).replace("same network", "")


def test_raw_arguments_are_named() -> None:
    assert "raw QEMU arguments" in assumed(sample("web1-live.xml"))


def test_a_thousand_disks_are_not_listed_one_by_one() -> None:
    disks = "".join(f"<disk><source file='/d/{i}'/><target dev='vd{i}'/></disk>" for i in range(1000))
    assert "and 992 more" in assumed(domain(disks))
    assert len(assumed(domain(disks))) < 2000
