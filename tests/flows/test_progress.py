"""What people watch in the Prefect UI while VMs move: made once, changed in its place, true at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from prefect import flow

from flows.evacuate_host import evacuate_host
from flows.recover_runs import recover_runs
from tasks.live import ProgressArtifacts
from tests.flows.yard import Yard
from tests.prefect_side import PrefectServer, run_id
from tests.unit.steps.voyage import SCENARIOS, Voyage
from vmferry.adapters.simulated import Blow
from vmferry.model.disks import CopyStats
from vmferry.model.migration import JobStats
from vmferry.progress import CopyProgress, MoveProgress, MoveStarted

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]
MIB = 2**20


def test_an_evacuation_has_one_table_of_its_moves_in_one_version(yard: Yard, prefect: PrefectServer) -> None:
    for name in ("wanderer1", "wanderer2"):
        yard.add(name)
    with yard.process():
        run = run_id(evacuate_host("kvm1", dests=["kvm2"], return_state=True))
    (table,) = (a for a in prefect.artifacts(run) if a.key == "moves-kvm1")
    for name in ("wanderer1", "wanderer2"):
        assert f"| {name} | kvm1 → kvm2 | live | moved | 100 |" in str(table.data)


def test_a_run_that_is_held_does_not_look_finished(yard: Yard, prefect: PrefectServer) -> None:
    yard.add("wanderer1")
    yard.break_at(Blow.ISOLATED, op="migrate", phase="arrived", target="kvm2")
    with yard.process():
        state = evacuate_host("kvm1", dests=["kvm2"], return_state=True)
    found = {a.description: a.data for a in prefect.artifacts(run_id(state)) if a.type == "progress"}
    assert "wanderer1: kvm1 → kvm2 (live): held" in found
    with yard.process("vmferry-2"):
        again = recover_runs(return_state=True)
    described = [a.description for a in prefect.artifacts(run_id(again)) if a.type == "progress"]
    assert described == ["wanderer1: kvm1 → kvm2 (live): held"]


@pytest.fixture
def samples() -> Iterator[list[Any]]:
    """Return events of one run: its start, a copy, and a job."""
    plan = Voyage(SCENARIOS["live"]).plan.model_copy(update={"run": str(uuid4()), "vm": "web"})
    copy = CopyStats(path="/images/a.qcow2", total_bytes=1024 * MIB, done_bytes=256 * MIB)
    job = JobStats(data_total_bytes=1024 * MIB, data_remaining_bytes=512 * MIB, iteration=3, seconds_left=42.0)
    yield [
        MoveStarted(plan=plan),
        CopyProgress(run=plan.run, vm="web", stats=copy),
        MoveProgress(run=plan.run, vm="web", stats=job),
    ]


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (2, "copying a.qcow2: 256 of 1024 MiB"),
        (3, "memory 512 of 1024 MiB, round 3, 0:42 left"),
    ],
)
def test_a_progress_artifact_says_what_is_going_on(
    prefect: PrefectServer, samples: list[Any], count: int, words: str
) -> None:
    @flow(name=f"shows {count}")
    def show() -> None:
        artifacts = ProgressArtifacts("migrate web")
        for event in (samples[0], samples[count - 1]):
            artifacts(event)

    (artifact,) = prefect.artifacts(run_id(show(return_state=True)))
    assert str(artifact.description).endswith(f"(live): {words}")
    assert 0 < float(str(artifact.data)) < 100


def test_updates_are_not_written_faster_than_people_read(prefect: PrefectServer, samples: list[Any]) -> None:
    """A server with fifty moves must not be asked a hundred times a second."""

    @flow
    def show() -> None:
        artifacts = ProgressArtifacts("migrate web")
        for event in samples:  # within a moment: only the first sample is shown
            artifacts(event)

    (artifact,) = prefect.artifacts(run_id(show(return_state=True)))
    assert "copying a.qcow2" in str(artifact.description)
