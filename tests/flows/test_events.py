"""Events for automations: each once, in order, with their figures, in Prefect's feed and in a file of JSON lines."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.evacuate_host import evacuate_host
from flows.migrate_vm import migrate_vm
from flows.recover_runs import recover_runs
from tests.flows.yard import Yard
from tests.prefect_side import PrefectServer, run_id, wait_until
from vmferry.adapters.simulated import Blow, SimulatedCrash
from vmferry.model.convergence import PolicyName
from vmferry.model.vm import DomainState

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]

STEPS = ("reserve", "storage", "definition", "move", "verify", "finish")
OF_A_MOVE = ["move.started", *(f"step.{step}.{when}" for step in STEPS for when in ("started", "ended")), "move.moved"]


@pytest.fixture
def events_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that flows write their events to."""
    path = tmp_path / "events.jsonl"
    monkeypatch.setenv("VMFERRY_EVENTS_FILE", str(path))
    return path


def evacuate(yard: Yard, **given: Any) -> State[Any]:
    with yard.process():
        return evacuate_host("kvm1", return_state=True, **given)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def names(events: list[dict[str, Any]], **about: object) -> list[str]:
    """Return the names, without their common prefix, of events whose payload says so."""
    chosen = (event for event in events if about.items() <= event["payload"].items())
    return [event["event"].removeprefix("vmferry.") for event in chosen]


def feed(prefect: PrefectServer, run: object, count: int) -> list[dict[str, Any]]:
    """Return vmferry's events of a flow run in their order, once there are so many."""
    wanted = {
        "filter": {
            "event": {"prefix": ["vmferry."]},
            "any_resource": {"id": [f"prefect.flow-run.{run}"]},
            "occurred": {"since": (datetime.now(UTC) - timedelta(hours=1)).isoformat()},
            "order": "ASC",
        },
        "limit": 50,
    }

    def look() -> list[dict[str, Any]]:
        with prefect.client() as client:
            answer = client._client.post("/events/filter", json=wanted).json()
            found: list[dict[str, Any]] = answer["events"]
            while answer.get("next_page"):
                answer = client._client.get(answer["next_page"]).json()
                found += answer["events"]
        return found if len(found) >= count else []

    return wait_until(look, f"{count} events")


def test_an_evacuation_is_told_to_prefect_and_to_the_file_alike(
    yard: Yard, prefect: PrefectServer, events_file: Path
) -> None:
    uuid = yard.add("wanderer1")
    yard.add_local("stuck", DomainState.RUNNING)
    run = run_id(evacuate(yard, dests=["kvm2"], policy=PolicyName.AUTO_CONVERGE))
    written = lines(events_file)
    expected = ["evacuation.planned", "evacuation.started", *OF_A_MOVE, "evacuation.ended"]
    assert names(written) == expected
    heard = feed(prefect, run, len(expected))
    assert [(event["event"], event["payload"]) for event in heard] == [(e["event"], e["payload"]) for e in written]
    assert len({event["id"] for event in heard}) == len(expected)

    started = next(event for event in heard if event["event"] == "vmferry.move.started")
    assert started["resource"]["prefect.resource.id"] == f"vmferry.vm.{uuid}"
    assert started["resource"]["prefect.resource.name"] == "wanderer1"
    assert started["resource"]["vmferry.source"] == "kvm1"
    about = {"source": "kvm1", "dest": "kvm2", "mode": "live", "policy": "auto-converge", "vm": "wanderer1"}
    assert about.items() <= started["payload"].items()
    related = {(one["prefect.resource.role"], one["prefect.resource.id"]) for one in started["related"]}
    hosts = {("source", "vmferry.host.kvm1"), ("dest", "vmferry.host.kvm2")}
    assert hosts | {("flow-run", f"prefect.flow-run.{run}")} <= related
    moved = next(event["payload"] for event in heard if event["event"] == "vmferry.move.moved")
    assert moved["bytes_sent"] > 0 and moved["downtime_ms"] > 0 and moved["run"] == started["payload"]["run"]
    ended = heard[-1]["payload"]
    assert (ended["moved"], ended["stranded"], ended["is_empty"], ended["left"]) == (1, ["stuck"], False, ["stuck"])


def test_moves_at_the_same_time_are_each_told_in_order(yard: Yard, events_file: Path) -> None:
    for number in range(3):
        yard.add(f"wanderer{number}")
    evacuate(yard)
    for number in range(3):
        assert names(lines(events_file), vm=f"wanderer{number}") == OF_A_MOVE


def test_help_is_told_when_it_is_given(yard: Yard, events_file: Path) -> None:
    yard.add("restless", dirty_mib_s=400, working_set_mib=512)
    evacuate(yard, policy=PolicyName.SUSPEND_IF_NEEDED)
    written = lines(events_file)
    helped = [name for name in names(written, vm="restless") if name.startswith("help.")]
    assert helped == ["help.downtime-raised", "help.downtime-raised", "help.suspended"]
    payload = next(event["payload"] for event in written if event["event"] == "vmferry.help.downtime-raised")
    assert payload["limit_ms"] == 400 and payload["iteration"] > 1 and "MiB remain" in payload["reason"]


def test_a_held_run_is_told_with_what_to_type_and_its_recovery_too(yard: Yard, events_file: Path) -> None:
    yard.add("wanderer1")
    yard.break_at(Blow.ISOLATED, op="migrate", phase="arrived", target="kvm2")
    with yard.process():
        assert migrate_vm("wanderer1", "kvm2", return_state=True).is_failed()
    held = lines(events_file)[-1]
    assert held["event"] == "vmferry.move.held"
    assert "vmferry recover" in held["payload"]["next_commands"]
    with yard.process("vmferry-2"):
        assert recover_runs(return_state=True).is_failed()
    assert names(lines(events_file))[-2:] == ["run.taken-over", "move.still-held"]


def test_recovery_tells_the_end_of_a_run_whose_process_died(yard: Yard, events_file: Path) -> None:
    uuid = yard.add("wanderer1")
    yard.break_at(Blow.CRASH_BEFORE, op="migrate", phase="arrived")
    with yard.process("vmferry-1"), pytest.raises(SimulatedCrash):
        migrate_vm("wanderer1", "kvm2")
    before = len(lines(events_file))
    with yard.process("vmferry-2"):
        recover_runs()
    told = lines(events_file)[before:]
    assert names(told)[0] == "run.taken-over" and names(told)[-1].startswith("move.")
    assert {event["resource"] for event in told} == {f"vmferry.vm.{uuid}"}


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_touched(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    yard.add("wanderer1")
    monkeypatch.setenv("VMFERRY_EVENTS_FILE", str(tmp_path / "missing" / "events.jsonl"))
    state = evacuate(yard)
    assert state.is_failed()
    assert "VMFERRY_EVENTS_FILE=" in str(state.message) and "missing/events.jsonl" in str(state.message)
    assert (yard.writes(), yard.journal.cordons()) == ((), ())


def test_a_file_that_is_lost_on_the_way_fails_no_move(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    yard.add("wanderer1")
    directory = tmp_path / "log"
    directory.mkdir()
    monkeypatch.setenv("VMFERRY_EVENTS_FILE", str(directory / "events.jsonl"))
    monkeypatch.setattr("tasks.events.FileSink.__call__", _lose)
    assert evacuate(yard).is_completed()


def _lose(_sink: object, _told: object) -> None:
    raise OSError(28, "No space left on device")


def test_events_hold_no_xml(yard: Yard, events_file: Path) -> None:
    uuid = yard.add("wanderer1")
    domain = yard.fleet.domain("kvm1", uuid)
    assert domain is not None and domain.live_xml
    with yard.process():
        migrate_vm("wanderer1", "kvm2", xml=domain.live_xml)
    assert names(lines(events_file)) == OF_A_MOVE
    assert "<domain" not in events_file.read_text()
