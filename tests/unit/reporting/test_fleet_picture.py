"""The fleet's memory before and after, as a picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from tests.unit.builders import build_fleet, build_vm
from vmferry.model.evacuation import EvacuationPlan, EvacuationRequest
from vmferry.planning.placement import plan_evacuation
from vmferry.reporting.fleet_picture import fleet_svg
from vmferry.reporting.risks import risks


def _plan() -> EvacuationPlan:
    return plan_evacuation(
        build_fleet([build_vm("web1"), build_vm("web2")], 1), EvacuationRequest(host="source-example")
    )


def _words(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]


def test_every_host_has_its_vms_before_and_after() -> None:
    plan = _plan()
    assert len(plan.moves) == 2, plan.stranded
    assert {"2 → 0 VMs", "0 → 2 VMs"} <= set(_words(fleet_svg(plan)))


def test_only_what_has_moved_counts() -> None:
    words = _words(fleet_svg(_plan(), ["web1"]))
    assert {"2 → 1 VMs", "0 → 1 VMs"} <= set(words)
    assert any(word.endswith("before and after") for word in words)


def test_a_plan_for_a_roomy_host_has_no_risk_of_room() -> None:
    assert [line for line in risks(_plan()) if re.match("dest-1: keeps", line)] == []
