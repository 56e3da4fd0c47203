"""A share whose process was killed is settled by the next: taken back or finished; no VM stops, no image is lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.planning.shares import DEST, REQUEST, SERVER, SOURCE
from tests.unit.steps.share_yard import IMAGE, VM, Yard, lost
from vmferry.errors import InvalidInput, PermanentError
from vmferry.model.sharing import ShareOutcome, ShareState
from vmferry.model.vm import DomainState
from vmferry.steps.share_settle import settle_share

SHARED = f"{REQUEST.directory}/{VM}.qcow2"


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


def acts_of(work: str) -> int:
    """Count the acts of sharing, or of taking a share back."""
    yard = Yard()
    yard.share()
    done = len(yard.acts)
    yard.machines[SOURCE].vms[VM] = DomainState.SHUTOFF
    yard.unshare()
    return done if work == "share" else len(yard.acts) - done


@pytest.fixture
def yard() -> Yard:
    return Yard()


def kill_at(yard: Yard, number: int, work: Any) -> None:
    """Let the process be killed before an act, counted from now."""
    done = len(yard.acts)
    yard.fail = lambda now, _host, _words: Killed() if now == done + number else None  # type: ignore[assignment,return-value]
    with pytest.raises(Killed):
        work()
    yard.fail = lambda _now, _host, _words: None


def settle(yard: Yard) -> ShareOutcome:
    """Settle what is there as the next process."""
    yard.be("second", alive=())
    (record,) = yard.shares.shares()
    assert yard.shares.take_over(record.plan.share)
    return settle_share(record.plan.share, yard)  # type: ignore[arg-type]


def state_of(yard: Yard) -> list[ShareState]:
    return [record.state for record in yard.shares.shares()]


@pytest.mark.parametrize("number", range(1, acts_of("share") + 1))
def test_a_share_that_is_killed_anywhere_is_taken_back_or_finished(yard: Yard, number: int) -> None:
    before = yard.snapshot()
    kill_at(yard, number, yard.share)
    was_started = any("start" in words.split() for _, words in yard.acts)
    outcome = settle(yard)
    assert outcome.problems == ()
    if was_started:
        assert outcome.state is ShareState.SHARED
        assert yard.read(SOURCE, IMAGE) == yard.files[SERVER, SHARED][1]
        assert "vmferry migrate" in outcome.notes[0]
    else:
        assert outcome.state is ShareState.UNDONE
        assert yard.snapshot() == before


def test_a_vm_that_was_started_for_the_proof_runs_on(yard: Yard) -> None:
    yard.clock.sleep = lambda _seconds: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        yard.share()
    yard.clock.sleep = lambda _seconds: None
    outcome = settle(yard)
    assert (outcome.state, state_of(yard)) == (ShareState.SHARED, [ShareState.SHARED])
    assert yard.machines[SOURCE].vms[VM] is DomainState.RUNNING
    assert yard.read(SOURCE, IMAGE) == "first, booted"


@pytest.mark.parametrize("number", range(1, acts_of("unshare") + 1))
def test_taking_it_back_that_is_killed_anywhere_goes_on_to_its_end(yard: Yard, number: int) -> None:
    texts = {name: dict(one.texts) for name, one in yard.machines.items()}
    yard.share()
    yard.machines[SOURCE].vms[VM] = DomainState.SHUTOFF
    kill_at(yard, number, yard.unshare)
    outcome = settle(yard)
    assert (outcome.problems, outcome.state) == ((), ShareState.UNDONE)
    assert yard.read(SOURCE, IMAGE) == "first, booted"
    assert {name: one.texts for name, one in yard.machines.items()} == texts


def test_more_steps_of_a_share_in_use_are_taken_back_alone(yard: Yard) -> None:
    yard.share()
    yard.machines[DEST].mounted = ""
    yard.machines[DEST].texts.pop("/etc/fstab")
    there = yard.snapshot()
    kill_at(yard, 2, yard.share)
    assert yard.snapshot() != there
    assert settle(yard).state is ShareState.SHARED
    assert yard.snapshot() == there
    assert yard.machines[SOURCE].vms[VM] is DomainState.RUNNING


def test_a_server_that_is_down_holds_it_until_it_is_back(yard: Yard) -> None:
    before = yard.snapshot()
    kill_at(yard, acts_of("share") - 3, yard.share)
    yard.fail = lambda _now, host, _words: lost(host) if host == SERVER else None
    outcome = settle(yard)
    assert (outcome.state, state_of(yard)) == (ShareState.HELD, [ShareState.HELD])
    assert "no answer" in outcome.problems[0]
    yard.fail = lambda _now, _host, _words: None
    assert settle(yard).state is ShareState.UNDONE
    assert yard.snapshot() == before


def test_what_a_vm_has_written_while_its_share_was_held_comes_home(yard: Yard) -> None:
    """A mount could not be taken off, so the VM could be started by hand, and was."""
    busy = PermanentError("target is busy")
    yard.fail = lambda _now, host, words: busy if "umount" in words or (host, words) == (DEST, "mark") else None
    with pytest.raises(PermanentError):
        yard.share()
    assert state_of(yard) == [ShareState.HELD]
    yard.setup(SOURCE).run(("virsh", "start", VM), 1)
    yard.fail = lambda _now, _host, _words: None
    outcome = settle(yard)
    assert outcome.state is ShareState.HELD
    assert "a VM runs from it" in outcome.problems[0]
    assert yard.machines[SOURCE].vms[VM] is DomainState.RUNNING
    with pytest.raises(InvalidInput, match="runs from"):
        yard.unshare()
    assert state_of(yard) == [ShareState.HELD]
    yard.machines[SOURCE].vms[VM] = DomainState.SHUTOFF
    assert yard.unshare() == ()
    assert yard.read(SOURCE, IMAGE) == "first, booted"


def test_a_program_that_was_left_running_is_waited_for(yard: Yard) -> None:
    kill_at(yard, 3, yard.share)
    waits: list[float] = []
    yard.left, yard.clock.sleep = ["apt-get"] * 3, waits.append
    assert settle(yard).state is ShareState.UNDONE
    assert len(waits) == 3


def test_a_program_that_does_not_end_holds_it(yard: Yard) -> None:
    kill_at(yard, 3, yard.share)
    yard.left = ["apt-get"] * 10_000
    outcome = settle(yard)
    assert outcome.state is ShareState.HELD
    assert "a program still runs: `pgrep -af '[a]pt-get " in outcome.problems[0]


def test_a_share_whose_process_lives_is_left_alone(yard: Yard) -> None:
    yard.share()
    yard.machines[SOURCE].vms[VM] = DomainState.SHUTOFF
    kill_at(yard, 2, yard.unshare)
    yard.be("second", alive=("first",))
    (record,) = yard.shares.shares()
    assert record.state is ShareState.UNDOING
    assert not yard.shares.take_over(record.plan.share)
