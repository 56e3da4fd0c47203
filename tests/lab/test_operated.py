"""Operated for real: PostgreSQL, a Prefect server with a password, a worker, the lab, and a person at a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import RRuleSchedule

from infra.lab import DiskKind, GuestSpec, HostSpec, Lab, LabSpec, take_down
from tests import postgres
from tests.browser import Person, person_at
from tests.labs import lab_name
from tests.postgres import Postgres
from tests.prefect_side import PrefectServer, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.prefect, pytest.mark.timeout(900)]

PASSWORD = "ferry:of-this-test"
AHEAD_S = 25  # until the window opens: longer than the server takes to see that the schedule has changed
SERVER = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5"}


@dataclass(frozen=True)
class Site:
    """What an operator has."""

    lab: Lab
    database: Postgres
    server: PrefectServer
    room: Path

    def environment(self) -> dict[str, str]:
        """Return what a worker is given; its journal is in the database that all management hosts share."""
        return {
            "VMFERRY_INVENTORY": str(self.lab.inventory_path),
            "VMFERRY_STATE_DIR": str(self.room / "state"),
            "VMFERRY_JOURNAL_URL": self.database.url("psycopg", "journal"),
        }

    def deploy(self, site: str) -> None:
        """Bring the server to what the site file says."""
        (self.room / "site.yaml").write_text(site)
        self.server.vmferry("deploy", "--yes", "--live", "--site", str(self.room / "site.yaml"), **self.environment())

    def deployment(self, name: str) -> UUID:
        """Return the id of an evacuation's deployment."""
        with self.server.client() as client:
            return client.read_deployment_by_name(f"evacuate-host/{name}").id

    def ended(self, run: FlowRun, wait_s: float) -> FlowRun:
        """Wait until a run is over."""

        def look() -> FlowRun | None:
            found = self.server.flow_run(run.id)
            return found if found.state_type in (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED) else None

        return wait_until(look, f"{run.name} is over", wait_s)

    def guests_on(self, host: str) -> set[str]:
        """Return what libvirt says, running or not."""
        return set(self.lab.hosts[host].virsh("list", "--all", "--name").split())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two VMs on kvm1 and two on kvm2; kvm3 is empty."""
    name, room = lab_name("operated"), tmp_path_factory.mktemp("operated")
    guests = (
        GuestSpec(name="web1", host="kvm1", disk=DiskKind.SHARED, dirty_mib_s=8),
        GuestSpec(name="web2", host="kvm1", disk=DiskKind.SHARED),
        GuestSpec(name="mail1", host="kvm2", disk=DiskKind.SHARED, dirty_mib_s=4),
        GuestSpec(name="mail2", host="kvm2", disk=DiskKind.SHARED),
    )
    hosts = tuple(HostSpec(name=host) for host in ("kvm1", "kvm2", "kvm3"))
    home = room / "prefect"
    home.mkdir()
    try:
        lab = Lab.up(LabSpec(name=name, hosts=hosts, guests=guests))
        with postgres.running("prefect", "journal") as database:
            url = database.url("asyncpg", "prefect")
            with PrefectServer.running(home, PASSWORD, **SERVER, PREFECT_SERVER_DATABASE_CONNECTION_URL=url) as server:
                yield Site(lab, database, server, room)
    finally:
        take_down(name)


SITE = """
schedules:
  maintenance-window:
    - slug: nightly
      cron: "0 22 * * *"
      parameters: {host: kvm1, reason: new memory, ticket: CHG-7, window: {length_s: 600}}
"""


def test_a_window_and_a_person_at_a_browser_empty_two_hosts(site: Site, tmp_path: Path) -> None:
    site.deploy(SITE)
    _bring_forward(site)
    with site.server.worker("vmferry", **site.environment()):
        _the_window_opens_by_itself(site)
        with person_at(site.server.api_url.removesuffix("/api"), tmp_path / "profile", _pictures(tmp_path)) as person:
            person.open("/")
            person.log_in(PASSWORD)
            _a_person_evacuates(site, person)
    # Both runs are in the one journal, in PostgreSQL.
    assert site.database.ask("journal", "SELECT count(*) FROM runs") >= "4"
    assert site.database.ask("prefect", "SELECT count(*) FROM flow_run WHERE state_type = 'COMPLETED'") >= "2"


def _bring_forward(site: Site) -> None:
    """Let tonight's window open in a few seconds, once."""
    opens_at = datetime.now(UTC) + timedelta(seconds=AHEAD_S)
    rrule = f"DTSTART:{opens_at:%Y%m%dT%H%M%S}\nRRULE:FREQ=DAILY;COUNT=1"
    with site.server.client() as client:
        window = client.read_deployment_by_name("evacuate-host/maintenance-window")
        (nightly,) = window.schedules
        soon = RRuleSchedule(rrule=rrule, timezone="UTC")
        # Parameters that are not given again would be emptied (Prefect 3.8.8).
        client.update_deployment_schedule(window.id, nightly.id, schedule=soon, parameters=nightly.parameters)


def _pictures(tmp_path: Path) -> Path:
    """Return where pictures go: `PICTURES=docs/images make test …` keeps them."""
    place = Path(os.environ.get("PICTURES") or tmp_path / "pictures")
    place.mkdir(exist_ok=True)
    return place


def _the_window_opens_by_itself(site: Site) -> None:
    deployment = site.deployment("maintenance-window")

    def soon() -> list[FlowRun]:
        near = datetime.now(UTC) + timedelta(seconds=60)
        runs = site.server.runs_of_deployment(deployment)
        return [run for run in runs if run.expected_start_time is not None and run.expected_start_time < near]

    (run,) = wait_until(soon, "the window's run", 120)
    ended = site.ended(run, 300)
    assert ended.state is not None and ended.state.is_completed(), f"{ended.state}: {_log(site)}"
    assert ended.auto_scheduled and ended.name == "evacuate kvm1"
    assert (site.guests_on("kvm1"), site.guests_on("kvm2") | site.guests_on("kvm3")) == (
        set(),
        {"web1", "web2", "mail1", "mail2"},
    )


def _a_person_evacuates(site: Site, person: Person) -> None:
    deployment = site.deployment("evacuate-host")
    there = site.guests_on("kvm2")
    person.open(f"/deployments/deployment/{deployment}/run")
    person.choose("Host of the inventory to be emptied.", "kvm2")
    person.picture("prefect-form")
    person.press("Submit")
    (run,) = wait_until(lambda: site.server.runs_of_deployment(deployment), "the run that was asked for", 120)
    wait_until(lambda: site.server.flow_run(run.id).state_type is StateType.PAUSED, "the run asks for approval", 120)
    assert site.guests_on("kvm2") == there and "kvm2" not in _closed(site), "nothing is touched before"
    person.open(f"/runs/flow-run/{run.id}")
    person.press("Resume")
    person.choose("approve: the moves begin", "approve")
    person.write("Kept in the plan and the report", "alice")
    person.write("Ticket, reason", "CHG-8")
    person.picture("prefect-approval")
    person.press("Submit")
    wait_until(lambda: site.server.flow_run(run.id).state_type is not StateType.PAUSED, "the approval is heard", 60)
    person.open(f"/runs/flow-run/{run.id}")
    person.see("move mail1")
    person.picture("prefect-run")
    ended = site.ended(run, 300)
    assert ended.state is not None and ended.state.is_completed(), f"{ended.state}: {_log(site)}"
    assert site.guests_on("kvm2") == set() and there <= site.guests_on("kvm3")
    person.open("/artifacts/key/plan-kvm2")
    person.see("Approved by alice")
    person.picture("prefect-plan")
    person.open("/artifacts/key/evacuation-kvm2")
    person.see("kvm2 is empty")
    person.picture("prefect-report")


def _closed(site: Site) -> str:
    return site.database.ask("journal", "SELECT host FROM cordons")


def _log(site: Site) -> str:
    """Return what worker and runs have said."""
    with site.server.client() as client:
        lines = [log.message for log in client.read_logs(limit=200)]
    return "\n".join([(site.server.home / "worker.log").read_text()[-2000:], *lines])
