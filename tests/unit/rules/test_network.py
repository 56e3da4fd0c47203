"""The rules on host networks, judged on real domain XML."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.builders import build_pair
from tests.unit.domxml.samples import sample
from tests.unit.rules.cases.making import DEST, SOURCE, make
from vmferry.domxml.read import parse_vm
from vmferry.model.facts import Link, SameNetwork, SystemFacts
from vmferry.model.vm import DomainState
from vmferry.rules.check import check_move

WEB1 = parse_vm(sample("web1-live.xml"), state=DomainState.RUNNING)  # cards in bridge br0 and network default


def rules(is_same: bool | None, dest: dict[str, Any]) -> set[str]:
    found = SameNetwork(bridge="br0", dest_bridge="br0", is_same=is_same)
    case = make(
        WEB1,
        pair=build_pair(SOURCE, DEST, (WEB1,), networks=(found,)),
        source={"system": SystemFacts(links=(Link(name="br0", kind="bridge", mtu=9000),))},
        dest=dest,
    )
    ours = ("bridge-", "network-", "same-network", "nic-")
    return {f.rule for f in check_move(case).findings if f.rule.startswith(ours)}


def there(**link: Any) -> dict[str, Any]:
    return {"system": SystemFacts(links=(Link(**{"name": "br0", "kind": "bridge", "mtu": 9000, **link}),))}


@pytest.mark.parametrize(
    ("is_same", "dest", "expected"),
    [
        (True, there(), set()),
        (False, there(), {"same-network"}),
        (None, there(), {"same-network-unproved"}),
        (True, there(mtu=1500), {"bridge-mtu"}),
        (True, there(is_up=False), {"bridge-down"}),
        (True, there(has_vlan_filtering=True), {"bridge-vlan"}),
        (False, there(mtu=1500, is_up=False), {"same-network", "bridge-mtu", "bridge-down"}),
        # a bridge that is missing is told once
        (False, {**there(), "bridges": ()}, {"bridge-missing"}),
        (True, {**there(), "networks": ()}, {"network-missing"}),
    ],
)
def test_a_captured_guest_is_judged_by_both_of_its_cards(
    is_same: bool | None, dest: dict[str, Any], expected: set[str]
) -> None:
    assert rules(is_same, dest) == expected
