"""Marks of runs: two vmferrys with journals of their own never have the same VM in hand."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.steps.voyage import DEST, SCENARIOS, SOURCE, Scenario, Voyage
from vmferry.adapters.journal import SqlJournal
from vmferry.errors import AlreadyMoving, PermanentError
from vmferry.model.disks import CopyStats
from vmferry.model.findings import Finding, Severity
from vmferry.model.mark import LEASE_S, SKEW_S, VmMark
from vmferry.model.migration import MigrationMode, MigrationPlan, OutcomeKind
from vmferry.model.vm import DomainState
from vmferry.rules.marks import STALE
from vmferry.steps.forward import run_step
from vmferry.steps.marks import claim, lease_s, telling_of_copy
from vmferry.steps.names import StepName
from vmferry.steps.recover import recover
from vmferry.steps.takeover import take_over

LIFTED = Finding(rule=STALE, severity=Severity.WARN, message="", source="", is_lifted=True)


def rival(voyage: Voyage, run: str, *, ago_s: float = 60, lasts_s: float = LEASE_S, dest: str = "kvm2") -> VmMark:
    """Mark the VM as another vmferry does."""
    since = voyage.world.clock.now() - timedelta(seconds=ago_s)
    until = since + timedelta(seconds=lasts_s)
    mark = VmMark(run=run, owner="ops@mgmt2:4711:99", source=SOURCE, dest=dest, since=since, until=until)
    voyage.world.hypervisor(SOURCE).mark(voyage.uuid, mark)
    return mark


def over(voyage: Voyage, dest: str = "kvm2") -> VmMark:
    """Mark the VM as another vmferry did that died long ago."""
    return rival(voyage, "20240101-000000-00000001", ago_s=LEASE_S + SKEW_S + 1, dest=dest)


def opened(scenario: str = "live", **given: object) -> Voyage:
    voyage = Voyage(SCENARIOS[scenario])
    voyage.plan = MigrationPlan(**{**dict(voyage.plan), **given})
    voyage.world.journal.open_run(voyage.plan)
    return voyage


def test_a_vm_that_another_vmferry_has_in_hand_is_let_alone_and_its_holder_is_named() -> None:
    voyage = opened()
    mark = rival(voyage, "20240101-000000-00000001")
    with pytest.raises(AlreadyMoving, match=r"ops@mgmt2:4711:99 .* run 20240101-000000-00000001 .* until .* recover"):
        run_step(voyage.run, StepName.RESERVE, voyage.world)
    outcome = recover(voyage.run, voyage.world, cause="it is marked")
    assert outcome.kind is OutcomeKind.ROLLED_BACK and "nothing was touched" in outcome.reason
    assert set(voyage.marks_on(SOURCE)) == {mark}


def test_of_two_that_come_at_the_same_moment_the_one_that_must_not_give_way_waits_for_the_other() -> None:
    voyage = opened()
    late = rival(voyage, "29990101-000000-ffffffff", ago_s=0)
    gone_at = voyage.world.clock.now() + timedelta(seconds=1)
    source = voyage.fleet.hypervisor(SOURCE)
    sleep = voyage.world.clock.sleep

    def sleep_and_give_way(seconds: float) -> None:
        sleep(seconds)
        if voyage.world.clock.now() >= gone_at:
            source.unmark(voyage.uuid, late.run)

    voyage.world.clock.sleep = sleep_and_give_way  # type: ignore[method-assign]
    claim(voyage.plan, voyage.world)
    assert {mark.run for mark in voyage.marks_on(SOURCE)} == {voyage.run}


def test_two_that_mark_a_vm_at_once_never_both_go_on() -> None:
    for _ in range(20):
        voyage = opened()
        other = Voyage(SCENARIOS["live"])
        other.fleet, other.uuid = voyage.fleet, voyage.uuid
        other.plan = other.plan.model_copy(update={"uuid": voyage.uuid})
        other.process().journal.open_run(other.plan)

        def try_to_claim(one: Voyage) -> bool:
            try:
                claim(one.plan, one.world)
            except AlreadyMoving:
                return False
            return True

        with ThreadPoolExecutor(max_workers=2) as pool:
            won = list(pool.map(try_to_claim, (voyage, other)))
        assert won != [True, True]


def test_a_mark_that_is_over_stays_in_the_way_until_the_operator_lifts_it() -> None:
    voyage = opened()
    over(voyage)
    with pytest.raises(AlreadyMoving):
        claim(voyage.plan, voyage.world)
    voyage = opened(warnings=(LIFTED,))
    over(voyage)
    claim(voyage.plan, voyage.world)
    assert {mark.run for mark in voyage.marks_on(SOURCE)} == {voyage.run}


def test_a_move_that_began_since_preflight_is_told_with_its_owner() -> None:
    voyage = opened()
    other = rival(voyage, "20240101-000000-00000001")
    domain = voyage.fleet.domain(SOURCE, voyage.uuid)
    assert domain is not None
    domain.job = "migration out"
    with pytest.raises(AlreadyMoving, match=f"a job has begun since preflight .*{re.escape(other.owner)}"):
        run_step(voyage.run, StepName.RESERVE, voyage.world)


def test_a_mark_that_lasts_is_never_lifted() -> None:
    voyage = opened(warnings=(LIFTED,))
    rival(voyage, "20240101-000000-00000001")
    with pytest.raises(AlreadyMoving):
        claim(voyage.plan, voyage.world)


def test_a_mark_that_is_over_is_not_taken_away_before_both_of_its_hosts_were_seen() -> None:
    voyage = opened(warnings=(LIFTED,))
    mark = over(voyage, dest="kvm9")
    with pytest.raises(PermanentError, match="kvm9 is not in the inventory"):
        claim(voyage.plan, voyage.world)
    assert mark in voyage.marks_on(SOURCE)
    voyage = opened(warnings=(LIFTED,))
    mark = over(voyage)
    voyage.fleet.add_vm(DEST, voyage.vm, state=DomainState.SHUTOFF)
    with pytest.raises(PermanentError, match="on kvm2 it is shut off"):
        claim(voyage.plan, voyage.world)
    assert mark in voyage.marks_on(SOURCE)


def test_an_operators_own_xml_arrives_marked_while_the_move_goes_on() -> None:
    voyage = Voyage(Scenario(MigrationMode.LIVE))
    xml = voyage.world.hypervisor(SOURCE).read_xml(voyage.uuid, is_inactive=False)
    voyage.plan = voyage.plan.model_copy(update={"given_xml": xml.replace("</name>", "</name><title>new</title>")})
    voyage.world.journal.open_run(voyage.plan)
    for step in (StepName.RESERVE, StepName.STORAGE, StepName.DEFINITION, StepName.MOVE, StepName.VERIFY):
        run_step(voyage.run, step, voyage.world)
    assert [mark.run for mark in voyage.marks_on(DEST)] == [voyage.run] * 2  # live and persistent
    run_step(voyage.run, StepName.FINISH, voyage.world)
    assert voyage.marks_on(DEST) == ()


def test_a_mark_that_cannot_be_taken_off_ends_the_run_held_and_the_next_recovery_takes_it() -> None:
    voyage = opened()
    run_step(voyage.run, StepName.RESERVE, voyage.world)
    voyage.fleet.cut_link(SOURCE)
    assert recover(voyage.run, voyage.world, cause="stop").kind is OutcomeKind.HELD
    voyage.fleet.heal()
    assert recover(voyage.run, voyage.world).kind is OutcomeKind.ROLLED_BACK
    assert voyage.marks_on(SOURCE) == ()


def test_the_mark_is_renewed_while_a_copy_lasts() -> None:
    voyage = opened("offline")
    claim(voyage.plan, voyage.world)
    (first, *_) = voyage.marks_on(SOURCE)
    on_copy = telling_of_copy(voyage.plan, voyage.world)
    for _ in range(2):
        on_copy(CopyStats(path="/x", total_bytes=1, done_bytes=1))
        assert set(voyage.marks_on(SOURCE)) == {first}
    voyage.fleet.advance(LEASE_S / 3)
    on_copy(CopyStats(path="/x", total_bytes=1, done_bytes=1))
    (second, *_) = voyage.marks_on(SOURCE)
    assert second.until - first.until >= timedelta(seconds=LEASE_S / 3) and second.since == first.since


def test_a_run_of_another_machine_is_taken_over_when_neither_journal_nor_mark_was_renewed_for_its_lease(
    tmp_path: Path,
) -> None:
    voyage = Voyage(SCENARIOS["live"])
    theirs = SqlJournal(f"sqlite:///{tmp_path}/journal.db", owner="ops@mgmt2:4711:99")
    theirs.open_run(voyage.plan)
    ours = voyage.fleet.world(journal=SqlJournal(f"sqlite:///{tmp_path}/journal.db"))
    record = ours.journal.find(voyage.run)
    lease = timedelta(seconds=lease_s(voyage.plan))
    voyage.fleet.advance((record.opened_at - ours.clock.now()).total_seconds())  # the journal has the true time
    run_step(voyage.run, StepName.RESERVE, voyage.fleet.world(journal=theirs))
    voyage.fleet.advance(lease.total_seconds())
    assert not take_over(record, ours)  # clocks may differ
    voyage.fleet.cut_link(DEST)
    voyage.fleet.advance(SKEW_S + 60)
    assert not take_over(record, ours)  # its owner may still reach what we do not
    voyage.fleet.heal()
    renewed = VmMark(**{**dict(voyage.marks_on(SOURCE)[0]), "until": ours.clock.now() + lease})
    ours.hypervisor(SOURCE).mark(voyage.uuid, renewed)
    assert not take_over(record, ours)  # it is alive: it has renewed its mark
    voyage.fleet.advance(lease.total_seconds() + SKEW_S + 1)
    assert take_over(record, ours)
    assert recover(voyage.run, ours).kind is OutcomeKind.ROLLED_BACK and voyage.marks_on(SOURCE) == ()
