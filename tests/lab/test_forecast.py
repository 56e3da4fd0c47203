"""The forecast on real hosts: said before, measured after, both in the outcome."""

from __future__ import annotations

import pytest

from flows.migrate_vm import migrate_vm
from infra.lab import DiskKind, GuestSpec, Lab
from tests.lab.test_faults import wait_until
from vmferry.adapters.world import RealWorld
from vmferry.model.convergence import PolicyName
from vmferry.model.findings import PreflightReport
from vmferry.model.forecast import Ending
from vmferry.model.migration import MigrationOutcome

pytestmark = pytest.mark.lab

LINK_MIB_S = 16


def add_writer(lab: Lab, name: str, *, dirty_mib_s: float, working_set_mib: int) -> None:
    """Add a guest that has touched its memory, behind a slow link."""
    lab.add_guest(
        GuestSpec(
            name=name,
            memory_mib=128,
            dirty_mib_s=dirty_mib_s,
            working_set_mib=working_set_mib,
            disk=DiskKind.NOLOCK,
        )
    )
    wait_until(lambda: _passes(lab, name) > 1, "the guest has touched all of its memory")
    lab.hosts["kvm1"].cap_link(LINK_MIB_S)


def _passes(lab: Lab, name: str) -> int:
    """Return the pass over its working set that the guest is in, from 1 on."""
    beat = lab.heartbeats(name).get("kvm1")
    return beat.passes if beat is not None else 0


def test_forecast_and_measured_are_both_in_the_outcome(fleet: Lab, world: RealWorld) -> None:
    """48 MiB over a slow link: a few seconds."""
    add_writer(fleet, "foretold1", dirty_mib_s=8, working_set_mib=48)
    outcome = migrate_vm(vm="foretold1", dest="kvm2")
    assert isinstance(outcome, MigrationOutcome) and outcome.forecast is not None
    said, took = outcome.forecast.seconds, outcome.move_seconds
    assert said is not None and took is not None
    assert said > 48 / LINK_MIB_S / 2 and took > 48 / LINK_MIB_S
    assert outcome.forecast.downtime_ms is not None and outcome.downtime_ms is not None
    (note,) = [note for note in outcome.notes if note.startswith("forecast ")]
    assert ", measured " in note and "MiB in use" in note and "MiB/s written" in note


def test_a_dry_run_says_that_a_vm_will_not_converge_and_which_policy_would_move_it(
    fleet: Lab, world: RealWorld
) -> None:
    add_writer(fleet, "foretold2", dirty_mib_s=60, working_set_mib=100)
    report = migrate_vm(vm="foretold2", dest="kvm2", dry_run=True)
    assert isinstance(report, PreflightReport) and report.forecast is not None
    assert report.forecast.ending is Ending.NEVER
    (finding,) = [one for one in report.findings if one.rule == "forecast-never"]
    assert "suspend-if-needed" in finding.message and str(finding.severity) == "warn"
    helped = migrate_vm(vm="foretold2", dest="kvm2", dry_run=True, policy=PolicyName.SUSPEND_IF_NEEDED)
    assert isinstance(helped, PreflightReport) and helped.forecast is not None
    assert (helped.forecast.ending, helped.forecast.help) == (Ending.WITH_HELP, "suspend")
    assert helped.forecast.downtime_ms is not None and helped.forecast.downtime_ms > 2000
    assert fleet.where("foretold2") == {"kvm1": "running"}


def test_what_a_move_reached_tells_the_next_forecast(fleet: Lab, world: RealWorld) -> None:
    add_writer(fleet, "foretold3", dirty_mib_s=39, working_set_mib=100)
    fleet.set_rate("foretold3", 2)
    outcome = migrate_vm(vm="foretold3", dest="kvm2")
    assert isinstance(outcome, MigrationOutcome) and outcome.bytes_sent > 64 << 20, outcome
    add_writer(fleet, "foretold4", dirty_mib_s=39, working_set_mib=48)
    report = migrate_vm(vm="foretold4", dest="kvm2", dry_run=True)
    assert isinstance(report, PreflightReport) and report.forecast is not None
    assert "as the last move" in report.forecast.basis
    assert report.forecast.rate_mib_s is not None and LINK_MIB_S / 2 < report.forecast.rate_mib_s < LINK_MIB_S * 1.2
