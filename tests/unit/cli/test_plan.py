"""`vmferry plan …` on the simulated fleet: nothing is moved; plans are files that are checked and compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tasks import _wiring
from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated.fleet import SimulatedFleet
from vmferry.cli import app
from vmferry.inventory import load_inventory

RUNNER = CliRunner()
HOST = "{profile: upstream, storage: [{path: /images, shared: cargo-bay, locks: true}]}"
TEXT = "hosts:\n" + "".join(f"  kvm{n}: {HOST}\n" for n in (1, 2, 3))


class Door:
    """The command line before a simulated fleet with three VMs."""

    def __init__(self, room: Path, more: str = "") -> None:
        self.file = room / "inventory.yaml"
        self.file.write_text(TEXT + more)
        self.fleet = SimulatedFleet(load_inventory(self.file))
        for host, name in (("kvm1", "web1"), ("kvm1", "web2"), ("kvm2", "db")):
            self.fleet.add_vm(host, name, disks=[f"/images/{name}.qcow2"])

    def run(self, *args: object) -> Result:
        with _wiring.use(self.fleet.world(journal=SqlJournal("sqlite://"))):
            return RUNNER.invoke(app, ["-i", str(self.file), "plan", *(str(arg) for arg in args)])


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_a_plan_is_shown_saved_replayed_and_compared(door: Door, tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    made = door.run("evacuate", "kvm1", "--out", first)
    assert made.exit_code == 0, made.output
    assert "web1" in made.stdout and "2 moves (0 only to make room)" in made.stdout
    replayed = door.run("replay", first)
    assert (replayed.exit_code, "gives the same plan" in replayed.stdout) == (0, True)
    door.run("evacuate", "kvm1", "--to", "kvm3", "--out", second)
    told = door.run("diff", first, second).stdout
    assert "request: dests: [] → ['kvm3']" in told
    assert door.run("diff", first, first).stdout == "the plans are equal\n"


def test_a_plan_that_was_changed_by_hand_is_refused(door: Door, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    door.run("evacuate", "kvm1", "--out", file)
    document = json.loads(file.read_text())
    document["plan"]["moves"][0]["dest"] = "kvm1"
    file.write_text(json.dumps(document))
    found = door.run("replay", file)
    assert found.exit_code == 3
    assert "to itself" in found.stderr


def test_consolidation_and_balance_are_planned(door: Door) -> None:
    made = json.loads(door.run("consolidate", "--json", "--cost", "kvm1=5").stdout)
    assert made["plan"]["freed"] == ["kvm1"]
    assert door.run("balance").exit_code == 0
    assert door.run("consolidate", "--cost", "kvm1=much").exit_code == 2


def test_constraints_of_the_inventory_and_of_one_run_bind(tmp_path: Path) -> None:
    door = Door(tmp_path, "constraints:\n  apart: {spread: ['web*', db]}\n")
    left = door.run("evacuate", "kvm1")
    assert left.exit_code == 4
    assert "has no place: closed by spread apart (" in left.stdout
    assert "is dropped: then on kvm" in left.stdout
    fenced = json.loads(
        Door(tmp_path).run("evacuate", "kvm1", "--json", "--constraint", "ban: [web1], hosts: [kvm2]").stdout
    )
    assert {m["vm"]: m["dest"] for m in fenced["plan"]["moves"]}["web1"] == "kvm3"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("evacuate", "kvm9"), "no host kvm9"),
        (("evacuate", "kvm1", "--constraint", "sprad: [a]"), "did you mean 'spread'"),
        (("evacuate", "kvm1", "--constraint", "ban: [ghost], hosts: [kvm2]"), "no VM ghost"),
        (("evacuate", "kvm1", "--out", "/nowhere/at/all.json"), "there is no directory /nowhere/at"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_planned(door: Door, args: tuple[str, ...], told: str) -> None:
    found = door.run(*args)
    assert (found.exit_code, told in found.stderr) == (3, True), found.output
