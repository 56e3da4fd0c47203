"""What changed since the last audit: told by VM and rule, and nothing is said of what could not be seen."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.builders import build_cordon, build_facts, build_host, build_snapshot, build_vm
from vmferry.model.audit import Changes, SavedAudit
from vmferry.model.host import FleetSnapshot
from vmferry.model.vm import DomainState, Vm
from vmferry.planning.audit import audit
from vmferry.planning.movability import movability


def fleet(vms: dict[str, Sequence[Vm]], *lost: str, **given: object) -> FleetSnapshot:
    hosts = [(build_host(name), build_facts(name, there)) for name, there in vms.items()]
    return build_snapshot([*hosts, *((build_host(name), None) for name in lost)], **given)  # type: ignore[arg-type]


def changes(before: FleetSnapshot, now: FleetSnapshot) -> Changes:
    # Through its text: an audit is compared with a file.
    saved = SavedAudit.model_validate_json(SavedAudit.of(movability(before)).model_dump_json())
    found = audit(now, before=saved).changes
    assert found is not None
    return found


A, B = build_vm("a"), build_vm("b")
HOSTS: dict[str, Sequence[Vm]] = {"kvm1": [A, B], "kvm2": [], "kvm3": []}


def test_the_same_fleet_has_not_changed() -> None:
    assert changes(fleet(HOSTS), fleet(HOSTS)).is_empty


def test_without_an_earlier_audit_nothing_is_compared() -> None:
    assert audit(fleet(HOSTS)).changes is None


def test_a_vm_that_became_unmovable_is_told_with_the_rule() -> None:
    now = fleet({**HOSTS, "kvm1": [build_vm("a", snapshots=1), B]})
    (found,) = changes(fleet(HOSTS), now).unmovable
    assert (found.vm, found.host, found.rules) == ("a", "kvm1", ("snapshots",))


def test_only_rules_count_that_block_where_it_could_go_before() -> None:
    before = fleet(HOSTS, cordons=[build_cordon("kvm3")])
    now = fleet({**HOSTS, "kvm1": [build_vm("a", snapshots=1), B]}, cordons=[build_cordon("kvm3")])
    assert [vm.rules for vm in changes(before, now).unmovable] == [("snapshots",)]


def test_a_vm_that_is_blocked_to_one_more_host_but_not_to_all_has_not_become_unmovable() -> None:
    assert changes(fleet(HOSTS), fleet(HOSTS, cordons=[build_cordon("kvm3")])).is_empty


def test_a_vm_whose_last_host_cannot_be_read_became_unmovable_by_that() -> None:
    before = fleet({"kvm1": [A], "kvm2": [], "kvm3": []}, cordons=[build_cordon("kvm3")])
    now = fleet({"kvm1": [A], "kvm3": []}, "kvm2", cordons=[build_cordon("kvm3")])
    found = changes(before, now)
    assert [(vm.vm, vm.rules) for vm in found.unmovable] == [("a", ("host-unreachable",))]
    assert found.hosts_lost == ("kvm2",)


def test_a_vm_that_can_move_again_is_told() -> None:
    found = changes(fleet({**HOSTS, "kvm1": [build_vm("a", snapshots=1), B]}), fleet(HOSTS))
    assert ([vm.vm for vm in found.movable], found.unmovable) == (["a"], ())


def test_moved_new_and_gone_vms_are_told() -> None:
    found = changes(fleet(HOSTS), fleet({"kvm1": [], "kvm2": [A], "kvm3": [build_vm("c")]}))
    assert [(vm.vm, vm.before, vm.host) for vm in found.moved] == [("a", "kvm1", "kvm2")]
    assert [(vm.vm, vm.host) for vm in found.added] == [("c", "kvm3")]
    assert [(vm.vm, vm.host) for vm in found.gone] == [("b", "kvm1")]


def test_vms_of_a_host_that_is_not_read_any_more_are_not_gone() -> None:
    found = changes(fleet(HOSTS), fleet({"kvm2": [], "kvm3": []}, "kvm1"))
    assert (found.gone, found.hosts_lost) == ((), ("kvm1",))


def test_vms_of_a_host_that_was_not_read_before_are_not_new() -> None:
    found = changes(fleet({"kvm2": [], "kvm3": []}, "kvm1"), fleet(HOSTS))
    assert (found.added, found.hosts_back) == ((), ("kvm1",))


def test_a_vm_that_appears_elsewhere_while_its_host_is_not_read_is_not_called_moved() -> None:
    assert changes(fleet(HOSTS), fleet({"kvm2": [A], "kvm3": []}, "kvm1")).moved == ()


def test_hosts_that_joined_and_left_the_inventory_are_told() -> None:
    found = changes(fleet(HOSTS), fleet({"kvm1": [A, B], "kvm2": [], "kvm9": []}))
    assert (found.hosts_added, found.hosts_gone) == (("kvm9",), ("kvm3",))


def test_a_vm_defined_twice_counts_where_it_is_active() -> None:
    stale = build_vm("a", state=DomainState.SHUTOFF)
    twice = fleet({"kvm1": [stale, B], "kvm2": [A], "kvm3": []})
    found = changes(twice, fleet({"kvm1": [B], "kvm2": [A], "kvm3": []}))
    assert (found.moved, found.added, found.gone) == ((), (), ())
