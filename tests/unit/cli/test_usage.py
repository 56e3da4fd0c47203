"""`vmferry usage`: what was kept, as tables and as JSON; without Prefect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tasks import _wiring
from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import SimulatedFleet, SimulatedWorld
from vmferry.cli import app


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("VMFERRY_STATE_DIR", str(tmp_path / "state"))
    file = tmp_path / "inventory.yaml"
    file.write_text("hosts: {kvm1: , kvm2: }\n")
    return str(file)


@pytest.fixture
def world() -> Iterator[SimulatedWorld]:
    fleet = SimulatedFleet.of("kvm1", "kvm2")
    fleet.add_vm("kvm1", "web", vcpus=4, load_cpus=1.5)
    fleet.add_vm("kvm2", "db", vcpus=2, load_cpus=0.25)
    made = fleet.world(journal=SqlJournal("sqlite://"))
    with _wiring.use(made):
        yield made


def usage(inventory: str, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["-i", inventory, "usage", *words])
    return result.exit_code, result.output


def observe(world: SimulatedWorld, count: int = 14) -> None:
    for _ in range(count):
        for host in ("kvm1", "kvm2"):
            world.usage.take(world.hypervisor(host).read_counters())
        world.clock.sleep(300)


def rows_of(output: str) -> dict[str, list[str]]:
    return {row[1]: row for line in output.splitlines() if len(row := line.split()) > 6}


def test_without_samples_it_says_how_to_get_them(inventory: str, world: SimulatedWorld) -> None:
    code, output = usage(inventory)
    assert code == 0 and "no samples; take the first two with `vmferry usage --sample`" in output


def test_hosts_and_vms_are_shown_with_what_is_expected(inventory: str, world: SimulatedWorld) -> None:
    observe(world)
    code, output = usage(inventory)
    rows = rows_of(output)
    assert code == 0 and set(rows) == {"name", "kvm1", "kvm2", "web", "db"}
    assert "1.50 of 4" in output and "0.25 of 2" in output and "(vCPUs)" not in output


def test_a_vm_that_is_not_known_for_an_hour_is_expected_to_use_its_vcpus(inventory: str, world: SimulatedWorld) -> None:
    observe(world, count=3)
    assert "4.00 (vCPUs)" in usage(inventory)[1]


def test_a_host_shows_its_own_vms_and_a_vm_its_samples(inventory: str, world: SimulatedWorld) -> None:
    observe(world)
    assert set(rows_of(usage(inventory, "kvm1")[1])) == {"name", "kvm1", "web"}
    code, output = usage(inventory, "web")
    assert code == 0 and output.count("2025-01-01") == 13
    assert "expected in the next 6 hours: 1.50 CPUs at its peak" in output


def test_an_unknown_name_is_refused_with_the_nearest(inventory: str, world: SimulatedWorld) -> None:
    observe(world)
    code, output = usage(inventory, "weg")
    assert code == 3 and "did you mean 'web'?" in output


def test_sampling_by_hand_names_hosts_without_an_answer(inventory: str, world: SimulatedWorld) -> None:
    world._fleet.kill_libvirtd("kvm2")
    code, output = usage(inventory, "--sample")
    assert code == 3 and "1 hosts, 1 VMs: 0 samples; did not answer: kvm2" in output


def test_the_document_holds_samples_and_expectation(inventory: str, world: SimulatedWorld) -> None:
    observe(world)
    code, output = usage(inventory, "db", "--json")
    document: dict[str, Any] = json.loads(output)
    (found,) = document["usage"]
    assert code == 0 and found["subject"]["name"] == "db" and len(found["samples"]) == 13
    assert found["expected"]["cpus"] == 0.25
