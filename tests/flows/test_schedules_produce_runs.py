"""Deployments on a real server. A wrong fastapi or SQLAlchemy gives a server that starts and never schedules a run."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments import run_deployment
from prefect.exceptions import PrefectHTTPStatusError

from tests.prefect_side import ROOT, PrefectServer, wait_until
from vmferry.deploying.wanted import read_yaml
from vmferry.model.convergence import PolicyName
from vmferry.model.migration import MigrationMode
from vmferry.model.operation import WayOut
from vmferry.rules.table import BY_ID

pytestmark = pytest.mark.prefect


@pytest.fixture(scope="module")
def deployed(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> PrefectServer:
    """Return the server after `vmferry deploy`, with runs of this checkout as it is.

    The server is that of all files of this worker: what others have deployed, paused and run there goes first.
    """
    with prefect_server.client() as client:
        for deployment in client.read_deployments():
            client.delete_deployment(deployment.id)
    inventory = tmp_path_factory.mktemp("deployed") / "inventory.yaml"
    inventory.write_text("hosts: {kvm1: , kvm2: }\n")
    prefect_server.vmferry("deploy", "--yes", "--live", "--prune", "--inventory", str(inventory))
    return prefect_server


FLOW_OF = {
    "weekly-audit": "audit-fleet",
    "maintenance-window": "evacuate-host",
    "nightly-consolidation": "consolidate-fleet",
    "morning-spread": "wake-hosts",
}


def _deployment(server: PrefectServer, name: str) -> DeploymentResponse:
    with server.client() as client:
        return client.read_deployment_by_name(f"{FLOW_OF.get(name, name)}/{name}")


def _form(server: PrefectServer, name: str) -> dict[str, Any]:
    return dict(_deployment(server, name).parameter_openapi_schema or {})


def _pause_schedules(server: PrefectServer, name: str) -> None:
    deployment = _deployment(server, name)
    with server.client() as client:
        for schedule in deployment.schedules:
            client.update_deployment_schedule(deployment.id, schedule.id, active=False)


def test_a_deployed_schedule_produces_runs(deployed: PrefectServer) -> None:
    recover = _deployment(deployed, "recover-runs")
    runs = wait_until(lambda: deployed.runs_of_deployment(recover.id), "scheduled runs of recover-runs", 60)
    scheduled = [run for run in runs if run.auto_scheduled]
    starts = sorted(run.expected_start_time for run in scheduled if run.expected_start_time is not None)
    assert {run.state_name for run in scheduled} <= {"Scheduled", "Late"}
    assert len(starts) > 1
    assert {(later - earlier).total_seconds() for earlier, later in pairwise(starts)} == {900}


def test_every_flow_is_deployed_with_what_an_operator_reads(deployed: PrefectServer) -> None:
    flows = sorted(path.stem.replace("_", "-") for path in (ROOT / "flows").glob("[a-z]*.py"))
    with deployed.client() as client:
        found = {deployment.name: deployment for deployment in client.read_deployments()}
    assert sorted({FLOW_OF.get(name, name) for name in found}) == flows
    for deployment in found.values():
        assert deployment.description
        assert "vmferry" in deployment.tags
        assert deployment.version
        assert deployment.work_pool_name == "vmferry"
        assert deployment.job_variables["stream_output"] is False


def test_only_recovery_and_the_audit_start_by_themselves(deployed: PrefectServer) -> None:
    with deployed.client() as client:
        found = client.read_deployments()
    scheduled = {one.name for one in found if any(schedule.active for schedule in one.schedules)}
    assert scheduled == {"weekly-audit", "recover-runs", "sample-usage"}


def test_the_audit_runs_on_monday_morning(deployed: PrefectServer) -> None:
    audit = _deployment(deployed, "weekly-audit")
    runs = wait_until(lambda: deployed.runs_of_deployment(audit.id), "scheduled runs of weekly-audit", 60)
    starts = {run.expected_start_time for run in runs if run.expected_start_time is not None}
    assert {(start.weekday(), start.hour, start.minute) for start in starts} == {(0, 6, 0)}


def test_two_evacuations_wait_for_each_other_and_two_recoveries_do_not(deployed: PrefectServer) -> None:
    strategies = {}
    for name in ("evacuate-host", "recover-runs"):
        deployment = _deployment(deployed, name)
        assert deployment.global_concurrency_limit is not None
        assert deployment.global_concurrency_limit.limit == 1
        assert deployment.concurrency_options is not None
        strategies[name] = str(deployment.concurrency_options.collision_strategy.value)
    assert strategies == {"evacuate-host": "ENQUEUE", "recover-runs": "CANCEL_NEW"}


NAMES = [entry["name"] for entry in read_yaml(ROOT / "deployments" / "prefect.yaml")["deployments"]]


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_a_form_is_described_and_has_a_title_for_people(deployed: PrefectServer, name: str) -> None:
    fields = _form(deployed, name)["properties"]
    assert [field for field, form in fields.items() if not form.get("description")] == []
    assert [form["title"] for form in fields.values() if "_" in form["title"] or not form["title"][0].isupper()] == []
    assert [field for field, form in fields.items() if field not in ("inventory", "host") and _is_open(form)] == []


def _is_open(form: dict[str, Any]) -> bool:
    """Whether a number is asked for without limits."""
    kinds = [form, *form.get("anyOf", [])]
    numbers = [kind for kind in kinds if kind.get("type") in ("number", "integer")]
    return any(not {"minimum", "exclusiveMinimum"} & set(kind) for kind in numbers)


@pytest.mark.parametrize("name", ["evacuate-host", "maintenance-window"])
def test_the_inventorys_hosts_are_offered_and_the_rules_that_can_be_lifted(deployed: PrefectServer, name: str) -> None:
    fields = _form(deployed, name)["properties"]
    assert fields["host"]["enum"] == ["kvm1", "kvm2"]
    assert fields["dests"]["items"]["enum"] == ["kvm1", "kvm2"]
    assert set(fields["lift"]["items"]["enum"]) == {id for id, rule in BY_ID.items() if not rule.is_final}


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "kvm9"},
        {},
        {"host": "kvm1", "max_parallel": 0},
        {"host": "kvm1", "approval": {"who": "maybe"}},
        {"host": "kvm1", "x": 1},
    ],
    ids=["host", "none", "number", "choice", "unknown"],
)
def test_wrong_input_is_refused_before_there_is_a_run(deployed: PrefectServer, wrong: dict[str, Any]) -> None:
    deployment = _deployment(deployed, "evacuate-host")
    with deployed.client() as client, pytest.raises(PrefectHTTPStatusError, match="409"):
        client.create_flow_run_from_deployment(deployment.id, parameters=wrong)
    assert deployed.runs_of_deployment(deployment.id) == []


def test_the_form_of_an_evacuation_asks_for_the_host_only_and_offers_the_modes(deployed: PrefectServer) -> None:
    form = _form(deployed, "evacuate-host")
    assert form["required"] == ["host"]
    assert next(iter(form["properties"])) == "host"
    assert form["properties"]["dry_run"] == form["properties"]["dry_run"] | {"type": "boolean", "default": False}
    assert _choices(form, "WayOut") == set(WayOut)
    assert _choices(form, "PolicyName") == set(PolicyName)


def _choices(form: dict[str, Any], name: str) -> set[str]:
    return set(form["definitions"][name]["enum"])


def test_a_purge_lists_unless_it_is_told_to_remove(deployed: PrefectServer) -> None:
    form = _form(deployed, "purge-files")
    assert form.get("required", []) == []
    assert form["properties"]["dry_run"]["default"] is True


def test_the_form_of_a_migration_offers_the_modes(deployed: PrefectServer) -> None:
    form = _form(deployed, "migrate-vm")
    assert form["required"] == ["vm", "dest"]
    assert _choices(form, "MigrationMode") == set(MigrationMode)
    assert _choices(form, "PolicyName") == set(PolicyName)


def test_a_worker_runs_a_deployment_from_the_checkout(
    deployed: PrefectServer, prefect: PrefectServer, tmp_path: Path
) -> None:
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text("hosts: {kvm1: , kvm2: }\n")
    _pause_schedules(deployed, "recover-runs")  # a scheduled run at this moment would make ours the second one
    with prefect.worker("vmferry", VMFERRY_INVENTORY=str(inventory), VMFERRY_STATE_DIR=str(tmp_path / "state")):
        run = run_deployment("recover-runs/recover-runs", timeout=90, poll_interval=1, as_subflow=False)
    assert run.state is not None
    assert run.state.is_completed(), f"{run.state}: {(prefect.home / 'worker.log').read_text()[-3000:]}"
    assert (tmp_path / "state" / "journal.db").is_file()
