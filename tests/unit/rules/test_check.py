"""check_move: total, independent of order, profiles, broken rules."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.builders import LOCAL, build_disk, build_off_vm, build_pair, build_vm
from tests.unit.rules.cases.making import DEST, RHEL8, SOURCE, make
from vmferry.model.facts import Reach
from vmferry.model.findings import Severity
from vmferry.model.host import Profile
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import Device, Nic, Vm
from vmferry.rules import check as check_module
from vmferry.rules.case import Case
from vmferry.rules.check import check_move
from vmferry.rules.rule import Rule, always
from vmferry.rules.table import RULES

# Faults of a VM that do not touch each other: name → fields.
FAULTS: dict[str, dict[str, object]] = {
    "snapshots": {"snapshots": 2},
    "checkpoints": {"checkpoints": 1},
    "active-job": {"has_active_job": True},
    "numa-pinning": {"numa_pinned": ("numatune",)},
    "launch-security": {"launch_security": "sev"},
    "machine-type": {"machine": "pc-q35-9.9"},
    "hugepages-unread": {"hugepages": True},
    # So much that QEMU's overhead alone is too much beside huge pages.
    "memory": {"memory_kib": 1 << 32, "max_memory_kib": 1 << 32},
    "vcpu-ratio": {"vcpus": 200},
    "architecture": {"arch": "aarch64"},
    "xml-unreadable": {"problems": ("no <name>",)},
    "storage-not-shared": {"disks": (build_disk(f"{LOCAL}/a"),)},
    "bridge-missing": {"nics": (Nic(kind="bridge", source="br9"),)},
    "passthrough": {"devices": (Device(kind="hostdev", detail="pci 0000:01:00.0"),)},
}


def faulty(names: frozenset[str]) -> Vm:
    fields: dict[str, object] = {}
    for name in sorted(names):
        fields |= FAULTS[name]
    return build_vm(**fields)


faults = st.frozensets(st.sampled_from(sorted(FAULTS)))


@given(faults, faults)
@settings(max_examples=60, deadline=None)
def test_a_finding_never_disappears_because_another_is_there(few: frozenset[str], more: frozenset[str]) -> None:
    first = {f.rule for f in check_move(make(faulty(few))).findings}
    both = {f.rule for f in check_move(make(faulty(few | more))).findings}
    assert few <= first
    assert first <= both


@given(faults, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_rules_does_not_matter(names: frozenset[str], shuffle: random.Random) -> None:
    case = make(faulty(names))
    shuffled = list(RULES)
    shuffle.shuffle(shuffled)
    found = [f for r in shuffled for f in r.judge(case, r.severity(case.profile, case.mode)) if _asked(r, case)]
    key = lambda f: (f.rule, f.message)  # noqa: E731
    assert sorted(found, key=key) == sorted(check_move(case).findings, key=key)


def _asked(rule: Rule, case: Case) -> bool:
    return rule.severity(case.profile, case.mode) is not Severity.IGNORE


@given(faults)
@settings(max_examples=20, deadline=None)
def test_the_same_case_gives_the_same_report(names: frozenset[str]) -> None:
    assert check_move(make(faulty(names))) == check_move(make(faulty(names)))


def test_a_rule_that_raises_blocks_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> Iterator[str]:
        yield "a message that is lost with the rule"
        raise ZeroDivisionError("no")

    row = Rule("broken", broken, always(Severity.WARN), "test")
    monkeypatch.setattr(check_module, "RULES", (row, *RULES))
    check_module._asked.cache_clear()
    try:
        report = check_move(make(build_vm(snapshots=1)))
    finally:
        monkeypatch.undo()
        check_module._asked.cache_clear()
    assert [f.rule for f in report.blockers] == ["broken", "snapshots"]
    assert "rule broken failed" in report.blockers[0].message


def test_the_stricter_profile_of_the_two_hosts_counts() -> None:
    upstream = make(dest={"qemu_version": 6_000_000})
    mixed = make(dest={"qemu_version": 6_000_000}, dest_host=RHEL8)
    assert (upstream.profile, mixed.profile) == (Profile.UPSTREAM, Profile.RHEL8)
    assert [f.severity for f in check_move(upstream).findings] == [Severity.WARN]
    assert [f.severity for f in check_move(mixed).findings] == [Severity.BLOCK]


@pytest.mark.parametrize("profile", [{}, RHEL8])
def test_a_local_disk_of_a_running_vm_names_the_ways_out(profile: dict[str, object]) -> None:
    case = make(build_vm(disks=(build_disk(f"{LOCAL}/a.qcow2"),)), source_host=profile)
    (finding,) = check_move(case).blockers
    assert "shut the VM down for an offline move" in finding.message
    assert ("9.3" in finding.message) is bool(profile)


def test_a_passed_through_device_blocks_with_memory_and_warns_without() -> None:
    device = Device(kind="hostdev", detail="pci 0000:01:00.0", attributes={"type": "pci"})
    live = check_move(make(build_vm(devices=(device,))))
    offline = check_move(make(build_off_vm(devices=(device,))))
    assert [f.rule for f in live.blockers] == ["passthrough"]
    assert [f.rule for f in offline.warnings] == ["passthrough"]


def test_an_offline_move_of_a_running_vm_is_refused_in_both_profiles() -> None:
    for profile in (Profile.RHEL8, Profile.UPSTREAM):
        case = make(source_host={"profile": profile}, mode=MigrationMode.OFFLINE)
        assert "mode-state" in [f.rule for f in check_move(case).blockers]


def test_everything_wrong_is_said_at_once() -> None:
    bad = Reach(is_ok=False, detail="refused")
    vm = build_vm(snapshots=1, disks=(build_disk(f"{LOCAL}/x"),), nics=(Nic(kind="bridge", source="br9"),))
    report = check_move(make(vm, pair=build_pair(SOURCE, DEST, ping=bad, libvirt=bad)))
    expected = {"ping", "libvirt-reach", "snapshots", "storage-not-shared", "bridge-missing"}
    assert expected <= {f.rule for f in report.blockers}


def test_messages_name_vm_host_and_a_number_with_its_unit() -> None:
    report = check_move(make(dest={"memory_available_kib": 2 << 20}))
    assert report.blockers[0].message.startswith("vm wanderer1: dest-example has 2048 MiB free, needs 2153 MiB")
