"""check_move: total, profiles, scopes, broken rules; test_properties.py holds what is true of every report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import NoReturn

import pytest

from tests.unit.builders import LOCAL, build_disk, build_off_vm, build_pair, build_vm
from tests.unit.rules.cases.making import DEST, RHEL8, SOURCE, make
from tests.unit.rules.mixing import known_cases, real_vms
from vmferry.model.facts import Reach
from vmferry.model.findings import Severity
from vmferry.model.host import Profile
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import Device, Nic
from vmferry.rules import check as check_module
from vmferry.rules.case import Case
from vmferry.rules.check import check_move
from vmferry.rules.rule import Rule, Scope, always
from vmferry.rules.table import RULES


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
    severities = [
        [f.severity for f in check_move(case).findings if f.rule == "qemu-older"] for case in (upstream, mixed)
    ]
    assert severities == [[Severity.WARN], [Severity.BLOCK]]


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


class Forbidden:
    """Something that a rule must not look at."""

    def __init__(self, what: str, **allowed: object) -> None:
        self.__dict__.update(allowed, _what=what)

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"looked at {self._what}.{name}")

    def _refuse(self, *_: object) -> NoReturn:
        raise AssertionError(f"looked at {self._what}")

    __str__ = __repr__ = __format__ = __bool__ = __len__ = __iter__ = __eq__ = __contains__ = __getitem__ = _refuse
    __hash__ = None  # type: ignore[assignment]


def forbidden(scope: Scope, case: Case) -> Case:
    """The case with everything raising that rules of this scope must not depend on; the profile is theirs to know."""
    if scope is Scope.HOSTS:
        names = ("vm", "arriving", "open_run", "copies", "defined_on")
        return replace(case, **{name: Forbidden(name) for name in names})
    profile = SimpleNamespace(profile=case.dest.host.profile)
    names = ("pair", "reserved", "cordon", "copies", "defined_on")
    return replace(case, dest=Forbidden("dest", host=profile), **{name: Forbidden(name) for name in names})


@pytest.mark.parametrize("rule", [r for r in RULES if r.scope is not Scope.MOVE], ids=lambda rule: rule.id)
def test_a_rule_looks_at_nothing_outside_its_scope(rule: Rule) -> None:
    """Its answers are remembered for other destinations, or other VMs: they must not depend on them."""
    for name, case in known_cases().items():
        usual = list(rule.check(case))
        assert list(rule.check(forbidden(rule.scope, case))) == usual, name


@pytest.mark.parametrize("rule", [r for r in RULES if r.scope is Scope.VM], ids=lambda rule: rule.id)
def test_a_rule_of_the_vm_looks_at_nothing_else_for_any_real_domain(rule: Rule) -> None:
    for name, vm in real_vms().items():
        for case in (make(vm), make(vm, mode=MigrationMode.OFFLINE)):
            assert list(rule.check(forbidden(rule.scope, case))) == list(rule.check(case)), name
