"""Entries against what hosts say: each difference blocks or warns, and names its host."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from vmferry.inventory import check_inventory
from vmferry.model.facts import Reach
from vmferry.model.findings import Severity
from vmferry.model.host import (
    FleetSnapshot,
    Host,
    HostFacts,
    Inventory,
    PairFacts,
    Reserves,
    SshAddress,
    Storage,
    Unreachable,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SHARED = Storage(path="/images", shared="cargo-bay")
OK = Reach(is_ok=True)


def host(name: str, **fields: Any) -> Host:
    given = {"storage": (SHARED,)} | fields
    return Host(
        name=name, uri=f"u-{name}", peer_uri=f"p-{name}", ssh=SshAddress(address=name), migration_address=name, **given
    )


def facts(name: str, **fields: Any) -> HostFacts:
    given: dict[str, Any] = {
        "uuid": UUID(int=sum(name.encode())),
        "hostname": f"{name}.example.org",
        "uri": "qemu:///system",
        "libvirt_version": 9_000_000,
        "qemu_version": 7_002_000,
        "arch": "x86_64",
        "domain_types": ("kvm", "qemu"),
        "machines": (),
        "cpus": 8,
        "memory_total_kib": 16 << 20,
        "memory_available_kib": 8 << 20,
        "storage_free_bytes": {"/images": 1 << 30},
        "read_at": NOW,
    }
    return HostFacts(name=name, **given | fields)


def pair(source: str = "kvm1", dest: str = "kvm2", **fields: Any) -> PairFacts:
    return PairFacts(source=source, dest=dest, **{"ping": OK, "libvirt": OK, "same_storage": ("/images",)} | fields)


def rules(found: dict[str, Any], name: str = "kvm1") -> list[tuple[str, Severity]]:
    return [(finding.rule.removeprefix("inventory-"), finding.severity) for finding in found[name]]


def judge(one: Host | None = None, seen: HostFacts | None = None, **snapshot: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "inventory": Inventory(hosts=(one or host("kvm1"), host("kvm2"))),
        "hosts": (seen or facts("kvm1"), facts("kvm2")),
        "pairs": (pair(),),
        "taken_at": NOW,
    }
    return check_inventory(FleetSnapshot(**given | snapshot))


def test_hosts_that_are_as_the_inventory_says_have_no_findings() -> None:
    assert judge() == {"kvm1": (), "kvm2": ()}


def test_a_host_that_does_not_answer_blocks_with_its_reason() -> None:
    found = judge(hosts=(facts("kvm2"),), unreachable=(Unreachable(host="kvm1", reason="no route to host"),))
    assert rules(found) == [("unreachable", Severity.BLOCK)]
    assert found["kvm1"][0].message == "no route to host"


BLOCK, WARN = Severity.BLOCK, Severity.WARN
ENTRY_AGAINST_FACTS = [
    (host("kvm1"), {"domain_types": ("qemu",)}, ("hypervisor", BLOCK)),
    (host("kvm1", hypervisors=("kvm", "qemu")), {"domain_types": ("qemu",)}, ("hypervisor", WARN)),
    (host("kvm1"), {"uri": "qemu:///session"}, ("session", BLOCK)),
    (host("kvm1"), {"hostname": "localhost"}, ("hostname", WARN)),
    (host("kvm1", reserves=Reserves(memory_mib=16384)), {}, ("reserves", BLOCK)),
    (host("kvm1"), {"storage_free_bytes": {}}, ("storage", BLOCK)),
    (host("kvm1"), {"uuid": facts("kvm2").uuid}, ("same-uuid", BLOCK)),
    (host("kvm1"), {"hostname": "kvm2.example.org"}, ("same-hostname", WARN)),
]


@pytest.mark.parametrize(("entry", "said", "finding"), ENTRY_AGAINST_FACTS)
def test_an_entry_that_its_host_contradicts_is_told(
    entry: Host, said: dict[str, Any], finding: tuple[str, Severity]
) -> None:
    assert rules(judge(entry, facts("kvm1", **said))) == [finding]


def test_two_hosts_with_one_uuid_are_both_told() -> None:
    found = judge(seen=facts("kvm1", uuid=facts("kvm2").uuid))
    assert "of kvm2" in found["kvm1"][0].message
    assert "of kvm1" in found["kvm2"][0].message


@pytest.mark.parametrize(
    ("seen", "rule"),
    [
        (pair(ping=Reach(is_ok=False, detail="no answer")), "ping"),
        (pair(libvirt=Reach(is_ok=False, detail="refused")), "peer"),
        (pair(same_storage=()), "not-shared"),
    ],
)
def test_a_host_that_does_not_see_another_as_listed_blocks(seen: PairFacts, rule: str) -> None:
    assert rules(judge(pairs=(seen,))) == [(rule, Severity.BLOCK)]


def test_storage_of_different_groups_need_not_be_the_same() -> None:
    alone = host("kvm1", storage=(Storage(path="/images", shared="other"),))
    assert rules(judge(alone, pairs=(pair(same_storage=()),))) == []
