"""A run that is to be aborted ends wherever the request is heard: at every moment of every kind of move."""

from __future__ import annotations

import pytest

from tests.unit.steps.promises import wrongs_of
from tests.unit.steps.voyage import SCENARIOS, Scenario, Voyage
from vmferry.adapters.simulated import Blow, Fault
from vmferry.adapters.steering import Steering
from vmferry.errors import PermanentError
from vmferry.model.cancelling import OnCancel
from vmferry.model.migration import JobStats, OutcomeKind
from vmferry.stopping import Stop, stoppable

NOTHING = Fault(does=Blow.TRANSIENT)  # none was injected; a HELD run would be a wrong


class Later(Stop):
    """A request that comes after it was asked for so often; it counts what is asked afterwards too."""

    def __init__(self, after: int) -> None:
        super().__init__(OnCancel.ABORT)
        self._after = after
        self.asked = 0

    def reason_to_end(self) -> str:
        self.asked += 1
        if self.asked > self._after:
            self.why = "the test"
        return super().reason_to_end()


def sail(scenario: Scenario, after: int) -> tuple[Voyage, Later]:
    voyage, stop = Voyage(scenario), Later(after)
    with stoppable(stop):
        voyage.sail_or_settle()
    return voyage, stop


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run_that_is_to_be_aborted_is_rolled_back_or_has_moved_and_leaves_nothing(name: str) -> None:
    scenario = SCENARIOS[name]
    moments = sail(scenario, after=10_000)[1].asked
    assert moments >= 4, "a run asks before each step up to the pivot"
    step = max(1, moments // 8)
    kinds = set()
    for after in (*range(0, min(moments, 6)), *range(6, moments, step)):
        voyage, _ = sail(scenario, after)
        assert list(wrongs_of(voyage, NOTHING)) == [], f"asked for the {after + 1}. time"
        record = voyage.record()
        assert record is not None
        kinds.add(record.outcome)
        if after < 4 and record.outcome is OutcomeKind.ROLLED_BACK:
            assert "cancelled by the test" in record.reason
    assert OutcomeKind.ROLLED_BACK in kinds


def test_a_job_in_post_copy_is_not_aborted_and_a_refused_abort_is_asked_for_again() -> None:
    plan = Voyage(SCENARIOS["post-copy"]).plan
    wheel = Hand(refuses=2)
    with stoppable(Later(0)):
        steering = Steering(plan, wheel, None)
        for second in range(5):
            steering.take(JobStats(iteration=1, data_remaining_bytes=1), second)
        assert (wheel.aborts, steering.abort_reason) == (3, "cancelled by the test")
        steering = Steering(plan, wheel, None)
        wheel.aborts = 0
        steering.take(JobStats(is_postcopy=True), 0)
        steering.take(JobStats(), 1)
        assert wheel.aborts == 0


class Hand:
    """A wheel that counts aborts, and refuses the first ones: no job is active."""

    def __init__(self, refuses: int) -> None:
        self._refuses = refuses
        self.aborts = 0

    def abort(self) -> None:
        self.aborts += 1
        if self.aborts <= self._refuses:
            raise PermanentError("no job is active")

    def set_max_downtime(self, limit_ms: int) -> None:
        raise AssertionError("helped, although it is to end")

    set_cap = set_max_downtime

    def lift_cap(self) -> None:
        raise AssertionError("helped, although it is to end")

    suspend = start_postcopy = lift_cap
