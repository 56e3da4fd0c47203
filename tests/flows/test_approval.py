"""Approval on a real server: people agree, skip, refuse or stay silent, and the fleet may change meanwhile."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import OrchestrationResult

from flows.evacuate_host import evacuate_host
from tests.flows.yard import Yard
from tests.prefect_side import PrefectServer, run_id, wait_until
from vmferry.model.approval import ApprovalRule
from vmferry.model.evacuation import EvacuationReport
from vmferry.model.options import ApprovalOptions
from vmferry.model.vm import DomainState

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]


class Waiting:
    """An evacuation in a thread of its own, which waits for people."""

    def __init__(self, server: PrefectServer) -> None:
        self.server = server
        self.since = datetime.now(UTC)
        self.ended: list[State[Any]] = []

    def run(self) -> FlowRun:
        """Return the run as soon as its form is there."""

        def look() -> FlowRun | None:
            wanted = FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])),
                start_time=FlowRunFilterStartTime(after_=self.since),
            )
            with self.server.client() as client:
                return next(iter(client.read_flow_runs(flow_run_filter=wanted)), None)

        return wait_until(look, "a run waits for approval", 30)

    def form(self) -> tuple[UUID, dict[str, Any], str]:
        """Return the run, the form's schema and the text above it; a run that pauses anew has another form."""

        def look() -> tuple[UUID, dict[str, Any], str] | None:
            run = self.run()
            assert run.state is not None
            keyset = run.state.state_details.run_input_keyset
            assert keyset is not None
            description = self._read(run.id, keyset["description"])
            return (run.id, self._read(run.id, keyset["schema"]), description) if description else None

        found = wait_until(look, "a form")
        assert found is not None
        return found

    def _read(self, run: UUID, key: str) -> Any:
        with self.server.client() as client:
            answer = client._client.post(f"/flow_runs/{run}/input/filter", json={"prefix": key})
        return next((json.loads(found["value"]) for found in answer.json()), None)

    def answer(self, **given: Any) -> OrchestrationResult[Any]:
        """Fill in the form, as the browser does."""
        run, _, _ = self.form()
        with self.server.client() as client:
            return client.resume_flow_run(run, run_input={"decision": "approve", "approved_by": "alice", **given})


@contextmanager
def evacuating(
    yard: Yard,
    server: PrefectServer,
    who: ApprovalRule = ApprovalRule.ONE_PERSON,
    minutes: float = 60.0,
    **given: Any,
) -> Iterator[Waiting]:
    """Evacuate kvm1 beside the test; `ended` holds its state after the block."""
    waiting = Waiting(server)

    def run() -> None:
        with yard.process():
            asked = ApprovalOptions(who=who, minutes=minutes)
            waiting.ended.append(evacuate_host("kvm1", approval=asked, return_state=True, **given))

    thread = threading.Thread(target=copy_context().run, args=(run,))
    thread.start()
    try:
        yield waiting
    finally:
        thread.join(60)
    assert not thread.is_alive()


def _report(waiting: Waiting) -> EvacuationReport:
    (state,) = waiting.ended
    report = state.result(raise_on_failure=False)
    assert isinstance(report, EvacuationReport), state
    return report


def test_until_somebody_agrees_nothing_is_touched_then_the_host_is_emptied(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    yard.add("wanderer2")
    with evacuating(yard, prefect) as waiting:
        waiting.form()
        assert (yard.writes(), yard.runs(), yard.journal.cordons()) == ((), (), ())
        waiting.answer(comment="ticket 7")
    assert yard.names_on("kvm1") == set()
    (approval,) = _report(waiting).approvals
    assert (approval.by, approval.comment) == ("alice", "ticket 7")
    assert yard.is_sound()


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A terminal at which this process was started; what is given is typed there."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        yield lambda text: [os.write(ours, text.encode())].clear()
    os.close(ours)


def test_who_typed_the_command_is_asked_at_the_terminal(
    yard: Yard, typing: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    yard.add("wanderer1")
    yard.add("wanderer2")
    typing("approve\n\n\n\napprove\nalice\nwanderer2\nticket 7\n")  # without a name it is asked again
    with yard.process():
        state = evacuate_host("kvm1", approval=ApprovalOptions(who=ApprovalRule.ONE_PERSON), return_state=True)
    assert state.is_completed(), state.message
    (approval,) = state.result().approvals
    assert (approval.by, approval.skipped, approval.comment) == ("alice", ("wanderer2",), "ticket 7")
    assert yard.names_on("kvm1") == {"wanderer2"}
    said = capfd.readouterr().err
    assert "wanderer1: kvm1 → " in said and "approved_by: String should have at least 2 characters" in said


@pytest.mark.parametrize("typed", ["refuse\n", ""], ids=["refused", "time is over"])
def test_without_a_yes_at_the_terminal_nothing_is_touched(
    yard: Yard, typing: Callable[[str], None], typed: str
) -> None:
    yard.add("wanderer1")
    typing(typed)
    asked = ApprovalOptions(who=ApprovalRule.ONE_PERSON, minutes=0.02)
    with yard.process():
        state = evacuate_host("kvm1", approval=asked, return_state=True)
    assert state.is_failed() and "nothing was touched" in str(state.message)
    assert (yard.writes(), yard.runs(), yard.journal.cordons()) == ((), (), ())


def test_the_form_offers_the_vms_and_tells_the_risks(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    yard.add_local("stuck", host="kvm1", state=DomainState.RUNNING)
    with evacuating(yard, prefect) as waiting:
        _, form, text = waiting.form()
        assert form["properties"]["skip"]["items"] in (
            {"const": "wanderer1", "type": "string"},
            {"enum": ["wanderer1"]},
        )
        assert form["required"] == ["decision", "approved_by"]
        assert [name for name, field in form["properties"].items() if not field.get("description")] == []
        assert "1 VM to move" in text and "stuck cannot leave" in text and "60 min" in text
        waiting.answer(decision="refuse")


def test_a_vm_that_is_skipped_stays_and_is_told(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    yard.add("wanderer2")
    with evacuating(yard, prefect) as waiting:
        waiting.answer(skip=["wanderer2"])
    assert yard.names_on("kvm1") == {"wanderer2"}
    report = _report(waiting)
    assert (report.staying, report.left, report.approvals[0].skipped) == (("wanderer2",),) * 3
    assert yard.is_sound()


def test_wrong_input_is_refused_and_the_run_waits_on(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    with evacuating(yard, prefect) as waiting:
        for wrong in ({"approved_by": " "}, {"skip": ["nobody"]}, {"decision": "perhaps"}, {"unknown": 1}):
            assert str(waiting.answer(**wrong).status.value) == "REJECT"
        assert waiting.run().state_type is StateType.PAUSED
        waiting.answer()
    assert yard.names_on("kvm1") == set()


def lose_answers(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let the server pause the run, and its answer be lost: the client asks again, as it does after a time-out."""
    left = iter(range(times))
    propose = SyncPrefectClient.set_flow_run_state

    def retried(self: SyncPrefectClient, flow_run_id: Any, state: State[Any], force: bool = False) -> Any:
        answer = propose(self, flow_run_id, state, force)
        is_lost = state.is_paused() and next(left, None) is not None
        return propose(self, flow_run_id, state, force) if is_lost else answer

    monkeypatch.setattr(SyncPrefectClient, "set_flow_run_state", retried)


def test_a_lost_answer_to_the_pause_leaves_no_run_that_waits_for_ever(
    yard: Yard, prefect: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_answers(monkeypatch, 2)
    yard.add("wanderer1")
    with evacuating(yard, prefect, who=ApprovalRule.TWO_PEOPLE) as waiting:
        waiting.answer()
        wait_until(lambda: "second person" in waiting.form()[2], "the second form")
        waiting.answer(approved_by="bob")
    assert [approval.by for approval in _report(waiting).approvals] == ["alice", "bob"]
    assert yard.names_on("kvm1") == set()


def test_a_server_whose_answers_are_always_lost_ends_the_run(
    yard: Yard, prefect: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_answers(monkeypatch, 99)
    yard.add("wanderer1")
    with evacuating(yard, prefect) as waiting:
        pass
    (state,) = waiting.ended
    assert state.is_failed() and "answer to its pause was lost 5 times" in str(state.message)
    assert (yard.writes(), yard.runs(), yard.journal.cordons()) == ((), (), ())


def test_a_refusal_touches_nothing(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    with evacuating(yard, prefect) as waiting:
        waiting.answer(decision="refuse", comment="payday")
    (state,) = waiting.ended
    assert state.is_failed() and "alice refused the plan: payday; nothing was touched" in str(state.message)
    assert (yard.writes(), yard.runs(), yard.journal.cordons()) == ((), (), ())


def test_without_an_answer_nothing_moves(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    with evacuating(yard, prefect, minutes=0.05) as waiting:
        pass
    (state,) = waiting.ended
    assert state.is_failed() and "nobody answered within 0.05 min, nothing was touched" in str(state.message)
    assert (yard.writes(), yard.runs(), yard.journal.cordons()) == ((), (), ())


def test_two_people_must_be_two(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    with evacuating(yard, prefect, who=ApprovalRule.TWO_PEOPLE) as waiting:
        waiting.answer()
        wait_until(lambda: "second person" in waiting.form()[2], "the second form")
        assert str(waiting.answer(approved_by="alice").status.value) == "REJECT"
        waiting.answer(approved_by="bob")
    assert [approval.by for approval in _report(waiting).approvals] == ["alice", "bob"]
    assert yard.names_on("kvm1") == set()


def test_a_plan_that_no_longer_holds_is_asked_for_again(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    with evacuating(yard, prefect) as waiting:
        first, _, _ = waiting.form()
        yard.add("latecomer")
        waiting.answer()
        text = wait_until(lambda: t if "latecomer" in (t := waiting.form()[2]) else "", "a form that tells the change")
        assert "The fleet changed" in text
        assert yard.names_on("kvm1") == {"wanderer1", "latecomer"}
        waiting.answer(approved_by="bob")
    assert yard.names_on("kvm1") == set()
    assert run_id(waiting.ended[0]) == first
    assert [approval.by for approval in _report(waiting).approvals] == ["bob"]


def test_a_host_without_vms_asks_nobody(yard: Yard, prefect: PrefectServer) -> None:
    with evacuating(yard, prefect) as waiting:
        pass
    assert _report(waiting).is_empty
