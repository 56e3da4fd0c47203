"""Every single fault at every touch point of every scenario: no double run, no lost VM, nothing left behind.

The matrix is enumerated from a run without faults, so a new step is covered by itself. Nothing is sampled.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.unit.steps.promises import wrongs_of
from tests.unit.steps.voyage import SCENARIOS, Scenario, Voyage, enumerate_faults, memory_journal
from vmferry.adapters.simulated import Blow, Fault
from vmferry.errors import VmferryError

FLIGHT_S = 120  # libvirt's longest own timeout is 40 s
CRASHES = (Blow.CRASH_BEFORE, Blow.CRASH_AFTER)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="vmferry.steps")


def strike(voyage: Voyage, fault: Fault) -> list[str]:
    """Sail with one fault, heal, recover; return the broken promises."""
    voyage.fleet.inject(fault)
    try:
        voyage.sail_or_settle()
        voyage.fleet.advance(FLIGHT_S)
        voyage.fleet.heal()
        voyage.process()
        voyage.recover_all()
    except VmferryError as error:
        return [f"raised {error!r}"]
    return list(wrongs_of(voyage, fault))


def words(fault: Fault) -> str:
    """Say where a fault strikes, for a failing test."""
    where = " ".join(word for word in (fault.host or "journal", fault.op, fault.phase, f"#{fault.nth}") if word)
    return f"{where} ← {fault.does} {fault.target}".rstrip()


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_no_single_fault_runs_a_vm_twice_loses_it_or_leaves_anything_behind(scenario: Scenario) -> None:
    journal = memory_journal()
    faults = enumerate_faults(scenario, journal)
    broken = {words(fault): strike(Voyage(scenario, journal), fault) for fault in faults}
    assert len(broken) == len(faults) > 100
    assert not (wrong := {where: what for where, what in broken.items() if what}), "\n".join(map(str, wrong.items()))


@pytest.mark.parametrize("scenario", [SCENARIOS["live"], SCENARIOS["offline"]], ids=["live", "offline"])
def test_a_process_that_dies_anywhere_is_replaced_by_one_that_knows_only_the_journals_file(
    scenario: Scenario, tmp_path: Path
) -> None:
    crashes = [fault for fault in enumerate_faults(scenario) if fault.does in CRASHES]
    broken = {
        words(fault): strike(Voyage(scenario, tmp_path / f"{number}.db"), fault) for number, fault in enumerate(crashes)
    }
    assert not (wrong := {where: what for where, what in broken.items() if what}), "\n".join(map(str, wrong.items()))
