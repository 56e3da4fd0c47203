"""The inventory's `vms`: read, and every mistake told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmferry.errors import InventoryError
from vmferry.inventory import load_inventory
from vmferry.model.operation import VmHandling, WayOut

HOSTS = "hosts: {kvm1: , kvm2: }\n"


def load(tmp_path: Path, text: str) -> dict[str, VmHandling]:
    file = tmp_path / "inventory.yaml"
    file.write_text(HOSTS + text)
    return load_inventory(file).vms


def test_what_holds_for_vms_is_read(tmp_path: Path) -> None:
    text = """vms:
  web1: {priority: 5, blackouts: ["Mon-Fri 08:00-18:00 Europe/Berlin"], probes: [agent, "tcp 10.0.0.5:443"]}
  old: {way_out: stop-and-start}
"""
    assert load(tmp_path, text) == {
        "web1": VmHandling(
            priority=5, blackouts=("Mon-Fri 08:00-18:00 Europe/Berlin",), probes=("agent", "tcp 10.0.0.5:443")
        ),
        "old": VmHandling(way_out=WayOut.STOP_AND_START),
    }


def test_every_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    text = """vms:
  web1: {rank: 5}
  web2: {priority: high}
  web3: {way_out: fly}
  web4: {blackouts: [at night]}
  web5: {probes: [smell]}
  web6: 7
"""
    with pytest.raises(InventoryError) as caught:
        load(tmp_path, text)
    told = "\n".join(caught.value.problems)
    words = ("vm web1: field rank: unknown field", "'high' is not right", "one of live", "'at night' is no blackout")
    assert len(caught.value.problems) == 6
    assert all(word in told for word in (*words, "'smell' is no probe", "vm web6: 7 must be a mapping"))
