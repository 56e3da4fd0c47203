"""`vmferry deploy` on a real server: what differs is told, made once, and kept as people left it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.webhook import Webhook
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments import run_deployment

from tests.prefect_side import ROOT, PrefectServer

pytestmark = pytest.mark.prefect

SITE = """
pager: webhook/night-shift
parameters: {evacuate-host: {approval: {who: two-people}, max_parallel: 2}}
schedules:
  maintenance-window:
    - {slug: nightly, cron: "0 22 * * *", timezone: Europe/Berlin, parameters: {host: kvm1, reason: firmware}}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a directory with an inventory and a site file."""
    (tmp_path / "inventory.yaml").write_text("hosts: {kvm1: , kvm2: }\n")
    (tmp_path / "site.yaml").write_text(SITE)
    return tmp_path


@pytest.fixture(autouse=True, scope="module")
def leave_none(prefect_server: PrefectServer) -> Iterator[None]:
    """Take the deployments away again: what people did to their schedules would be kept for other tests."""
    yield
    with prefect_server.client() as client:
        for deployment in client.read_deployments():
            client.delete_deployment(deployment.id)


def deploy(server: PrefectServer, files: Path, *words: str, code: int = 0) -> str:
    """Deploy with the site file of the directory."""
    where = {"VMFERRY_INVENTORY": str(files / "inventory.yaml"), "VMFERRY_SITE": str(files / "site.yaml")}
    return server.vmferry("deploy", *words, code=code, VMFERRY_STATE_DIR=str(files / "state"), **where)


def _window(server: PrefectServer) -> DeploymentResponse:
    with server.client() as client:
        return client.read_deployment_by_name("evacuate-host/maintenance-window")


def _automations(server: PrefectServer) -> dict[str, Any]:
    with server.client() as client:
        found = client.request("POST", "/automations/filter", json={}).json()
    return {automation["name"]: automation for automation in found if automation["name"].startswith("vmferry ")}


def test_a_site_is_deployed_once_kept_as_people_left_it_and_cleared_up(prefect: PrefectServer, files: Path) -> None:
    block = Webhook(url="http://127.0.0.1:9/").save("night-shift", overwrite=True)
    assert "~ deployment" in (told := deploy(prefect, files, "--dry-run", code=4)) or "+ deployment" in told
    deploy(prefect, files, "--yes")
    assert "nothing to do" in deploy(prefect, files, "--dry-run")

    window = _window(prefect)
    (nightly,) = (schedule for schedule in window.schedules if schedule.slug == "nightly")
    assert (nightly.active, nightly.parameters["host"]) == (True, "kvm1")
    calls = [a for one in _automations(prefect).values() for a in one["actions"] if a.get("block_document_id")]
    assert len(calls) == 5 and {call["block_document_id"] for call in calls} == {str(block)}

    # what somebody changes by hand is told and put right; a schedule that vmferry brings stays paused
    with prefect.client() as client:
        client.update_deployment_schedule(window.id, nightly.id, active=False)
        recover = client.read_deployment_by_name("recover-runs/recover-runs")
        client.update_deployment_schedule(recover.id, recover.schedules[0].id, active=False)
    told = deploy(prefect, files, "--dry-run", code=4)
    assert "schedules.nightly.active: false → true" in told and "recover-runs" not in told
    # Prefect 3.8.8 empties the parameters of a schedule that is paused; when this fails, README.md can forget it.
    assert "schedules.nightly.parameters.host: new: kvm1" in told
    deploy(prefect, files, "--yes")
    assert [(s.active, s.parameters["host"]) for s in _window(prefect).schedules] == [(True, "kvm1")]
    with prefect.client() as client:
        assert not client.read_deployment_by_name("recover-runs/recover-runs").schedules[0].active

    # without a pager its automations are no longer vmferry's, and go only when that is asked for
    (files / "site.yaml").write_text("{}\n")
    assert "- automation vmferry page when held" in deploy(prefect, files, "--yes")
    assert len(_automations(prefect)) == 6
    deploy(prefect, files, "--yes", "--prune")
    assert list(_automations(prefect)) == ["vmferry crash zombies"]
    assert [schedule.slug for schedule in _window(prefect).schedules] == []


def test_a_site_file_with_problems_changes_nothing_and_tells_them_all(prefect: PrefectServer, files: Path) -> None:
    (files / "site.yaml").write_text(
        "parameters: {evacuate-host: {max_parallel: 0, host: kvm9}}\n"
        "schedules: {maintenance-window: [{slug: a, cron: '61 * * * *', parameters: {host: kvm1}},"
        " {slug: b, every_s: 60, parameters: {host: kvm7}}]}\n"
    )
    told = deploy(prefect, files, "--yes", code=3)
    assert "host: 'kvm9' is not one of kvm1, kvm2" in told
    assert "schedule a: " in told and "cron" in told.lower()
    assert "schedule b: host: 'kvm7' is not one of kvm1, kvm2" in told


def test_without_yes_and_without_a_terminal_nothing_is_changed(prefect: PrefectServer, files: Path) -> None:
    (files / "site.yaml").write_text("variables: {vmferry_test: 1}\n")
    assert "nothing was changed; give --yes" in deploy(prefect, files, code=3)
    with prefect.client() as client:
        assert client.read_variable_by_name("vmferry_test") is None


def test_a_server_that_was_not_named_is_asked_for(files: Path, prefect: PrefectServer) -> None:
    where = {"VMFERRY_INVENTORY": str(files / "inventory.yaml"), "PREFECT_API_URL": ""}
    assert "PREFECT_API_URL is not set" in prefect.vmferry("deploy", code=3, **where)


def test_runs_use_the_commit_that_was_deployed(prefect: PrefectServer, files: Path) -> None:
    (files / "site.yaml").write_text("{}\n")
    deploy(prefect, files, "--yes", "--prune")
    with prefect.client() as client:
        deployment = client.read_deployment_by_name("recover-runs/recover-runs")
        for schedule in deployment.schedules:
            client.update_deployment_schedule(deployment.id, schedule.id, active=False)
    inventory, state = str(files / "inventory.yaml"), files / "state"
    with prefect.worker("vmferry", VMFERRY_INVENTORY=inventory, VMFERRY_STATE_DIR=str(state)):
        run = run_deployment("recover-runs/recover-runs", timeout=120, poll_interval=1, as_subflow=False)
    assert run.state is not None and run.state.is_completed(), (prefect.home / "worker.log").read_text()[-3000:]
    (release,) = (state / "releases").iterdir()
    assert deployment.pull_steps is not None and release.name in str(deployment.pull_steps)
    assert (release / "flows" / "recover_runs.py").is_file() and not (release / ".git").exists()
    assert release.parent != ROOT
