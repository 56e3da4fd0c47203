"""Evacuations that are cancelled, killed, or lose their Prefect server: every VM ends as it was, on one host.

`make cancel-test` does the cancelling 50 times; here is a handful of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cancelling.rounds import Moment, Plan, Way, sail
from tests.cancelling.yard import HOSTS, Yard, flow_process, kill, wait_until
from tests.prefect_side import PrefectServer
from vmferry.model.cancelling import OnCancel
from vmferry.model.migration import OutcomeKind

pytestmark = [pytest.mark.lab, pytest.mark.prefect]


@pytest.fixture(scope="module")
def yard(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    with Yard.built(f"t{os.getpid()}-cancel", prefect_server, tmp_path_factory.mktemp("cancel")) as made:
        yield made


@pytest.fixture(scope="module")
def working(yard: Yard) -> Iterator[Yard]:
    """The yard with a worker."""
    with yard.worker():
        yield yard


def where_all_are(yard: Yard) -> tuple[str, str]:
    """Return the host that has the guests, and the other one."""
    source = next(host for host in HOSTS if "locked" in yard.lab.hosts[host].list_domains())
    return source, HOSTS[1 - HOSTS.index(source)]


@pytest.mark.usefixtures("prefect")
@pytest.mark.parametrize(
    "plan",
    [
        Plan(Way.SIGINT, OnCancel.FINISH, Moment.MOVE, which=1, delay_s=0.5, second_after_s=0.2, parallel=2),
        Plan(Way.SIGTERM, OnCancel.ABORT, Moment.MOVE, which=2, delay_s=0.5, second_after_s=0.1, parallel=2),
    ],
    ids=lambda plan: f"{plan.way} {plan.on_cancel}",
)
def test_a_signal_lets_no_further_move_start_and_the_next_evacuation_ends_the_work(yard: Yard, plan: Plan) -> None:
    done = sail(yard, plan)
    assert not done.problems
    assert done.end == "exit 4" and done.open_after == 0
    ended = {OutcomeKind.MOVED} if plan.on_cancel is OnCancel.FINISH else {OutcomeKind.MOVED, OutcomeKind.ROLLED_BACK}
    assert set(done.outcomes) <= ended  # the first of two may have moved before the abort
    assert (OutcomeKind.ROLLED_BACK in done.outcomes) == (plan.on_cancel is OnCancel.ABORT)


@pytest.mark.usefixtures("prefect")
def test_a_cancel_in_prefect_ends_the_run_as_cancelled(working: Yard) -> None:
    done = sail(working, Plan(Way.API, OnCancel.ABORT, Moment.MOVE, 1, delay_s=0.2, second_after_s=None, parallel=1))
    assert not done.problems
    assert done.end == "Cancelled" and done.open_after == 0


@pytest.mark.usefixtures("prefect")
def test_a_run_whose_process_is_killed_is_settled_by_its_heir(working: Yard) -> None:
    source, dest = where_all_are(working)
    working.refresh_paused(source)
    known = working.known()
    run = working.deploy_run(source, dest, OnCancel.FINISH, parallel=2)

    def is_moving() -> bool:
        return any(working.step_of(record.run) == "move" for record in working.new_runs(known))

    wait_until(is_moving, "memory flows")
    process = flow_process(run)
    assert process is not None
    kill(process)
    wait_until(lambda: not working.journal.unsettled(), "the heir has settled all")
    assert working.problems({}) == []
    assert working.empty(source, dest) == []


def test_moves_end_well_when_the_prefect_server_is_lost(yard: Yard, tmp_path: Path) -> None:
    source, dest = where_all_are(yard)
    yard.refresh_paused(source)
    known = yard.known()
    yard.reopen(dest)
    with PrefectServer.running(tmp_path) as lost:
        command = yard.start_anew("evacuate", source, "--to", dest, PREFECT_API_URL=lost.api_url)
        try:
            wait_until(lambda: yard.new_runs(known), "a run is open")
            kill(lost.pid)
            output = command.communicate(timeout=150)[0]
        finally:
            command.kill()
    assert command.returncode == 0, output
    assert f"{source} is empty" in output and "Prefect does not know it" in output
    assert yard.problems({}) == [] and not yard.journal.unsettled()
    assert {record.outcome for record in yard.new_runs(known)} == {OutcomeKind.MOVED}
