"""Operated for real: PostgreSQL, a Prefect server with a password, workers, the lab, and a person at a browser."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import RRuleSchedule

from infra.lab import DiskKind, GuestSpec, HostSpec, Lab, LabSpec, take_down
from tests import postgres
from tests.browser import Person, person_at
from tests.labs import lab_name
from tests.postgres import Postgres
from tests.prefect_side import PrefectServer, wait_until
from vmferry.adapters.journal import SqlJournal
from vmferry.model.journal import RunRecord
from vmferry.model.migration import OutcomeKind

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
            "VMFERRY_MOVE_TIMEOUT_S": "900",
            "VMFERRY_JOURNAL_URL": self.database.url("psycopg", "journal"),
        }

    def deploy(self, site: str) -> None:
        """Bring the server to what the site file says."""
        (self.room / "site.yaml").write_text(site)
        self.server.vmferry("deploy", "--yes", "--live", "--site", str(self.room / "site.yaml"), **self.environment())

    def deployment(self, name: str, flow: str = "evacuate-host") -> UUID:
        """Return the id of a deployment."""
        with self.server.client() as client:
            return client.read_deployment_by_name(f"{flow}/{name}").id

    def start(self, name: str, flow: str = "evacuate-host", **parameters: Any) -> FlowRun:
        """Ask for a run of a deployment; a worker takes it."""
        with self.server.client() as client:
            return client.create_flow_run_from_deployment(self.deployment(name, flow), parameters=parameters)

    def ended(self, run: FlowRun, wait_s: float) -> FlowRun:
        """Wait until a run is over."""

        def look() -> FlowRun | None:
            found = self.server.flow_run(run.id)
            return found if found.state_type in (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED) else None

        return wait_until(look, f"{run.name} is over", wait_s)

    def guests_on(self, host: str) -> set[str]:
        """Return what libvirt says, running or not."""
        return set(self.lab.hosts[host].virsh("list", "--all", "--name").split())

    @contextmanager
    def journal(self) -> Iterator[SqlJournal]:
        """Read the journal that the workers share."""
        opened = SqlJournal(self.environment()["VMFERRY_JOURNAL_URL"], owner="reader")
        try:
            yield opened
        finally:
            opened.close()


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
    wait_until(lambda: site.server.flow_run(run.id).state_type is StateType.PAUSED, "the run asks for approval", 240)
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
    person.see("host:kvm2")
    person.picture("prefect-run", settle_s=4)
    ended = site.ended(run, 300)
    assert ended.state is not None and ended.state.is_completed(), f"{ended.state}: {_log(site)}"
    assert site.guests_on("kvm2") == set() and there <= site.guests_on("kvm3")
    for key, words, name in (
        ("plan", "Approved by alice", "prefect-plan"),
        ("evacuation", "is empty", "prefect-report"),
    ):
        made = [one for one in site.server.artifacts(run.id) if one.key == f"{key}-kvm2" and words in str(one.data)]
        person.open(f"/artifacts/artifact/{made[-1].id}")
        person.picture(name, settle_s=6)


# Deployments of their own queue slots: a run whose worker was killed keeps its slot until the server has noticed.
TWO_AT_ONCE = "{fleet_runs: 2}"


def test_two_workers_share_the_work_and_one_settles_what_the_killed_one_leaves(site: Site) -> None:
    """Both take one run at a time; each evacuates a host, and the one of kvm1 dies with all that it has started."""
    names, since = _anew(site), datetime.now(UTC)
    site.deploy(TWO_AT_ONCE)
    one_at_a_time = ("--limit", "1")
    with (
        site.journal() as journal,
        site.server.worker("vmferry", *one_at_a_time, name="first", **site.environment()) as first,
        site.server.worker("vmferry", *one_at_a_time, name="second", **site.environment()) as second,
    ):
        slow = site.start("maintenance-window", host="kvm1", dests=["kvm3"], max_parallel=1)
        other = site.start("evacuate-host", host="kvm2", dests=["kvm3"], approval={"who": "none"})
        assert _is_completed(site, other), _log(site)
        wait_until(
            lambda: any("vm kvm2-a: move done" in line for line in _lines(site, other)), "its log has the step", 30
        )
        (moving,) = wait_until(journal.unsettled, "a VM of kvm1 moves", 120)
        vm = moving.plan.vm
        wait_until(lambda: site.lab.where(vm).get("kvm3") == "paused", "its memory travels", 60)
        again = site.ended(site.start("migrate-vm", "migrate-vm", vm=vm, dest="kvm3"), 180)
        assert again.state is not None and again.state.is_failed(), again.state
        assert f"moves in run {moving.run}" in str(again.state.message)
        slow = site.server.flow_run(slow.id)
        assert slow.state_type is StateType.RUNNING, "its worker took no other run meanwhile: the other one did"
        (its_worker,) = (worker for worker in (first, second) if _pid(slow) in _tree(worker))
        _kill(its_worker)
        site.lab.hosts["kvm1"].cap_link(None)
        site.start("recover-runs", "recover-runs")  # where its schedule has just begun one, that one does it
        wait_until(lambda: not journal.unsettled(), "the other worker settles it", 180)
        rest = site.start("evacuate-host", host="kvm1", resume=True, approval={"who": "none"})
        assert _is_completed(site, rest), _log(site)
        assert sorted(run.plan.vm for run in _moved(journal, since)) == sorted(names), "none of them twice"
    assert all(site.lab.where(name) == {"kvm3": "running"} for name in names)


def _anew(site: Site) -> list[str]:
    """Open all hosts; put two VMs on kvm1, which write more than its link carries so that no move ends; one on kvm2."""
    for guest in list(site.lab.guests):
        site.lab.remove_guest(guest)
    for host in site.lab.hosts:
        site.server.vmferry("uncordon", host, **site.environment())
    busy = ("kvm1-a", "kvm1-b")
    for name in busy:
        site.lab.add_guest(GuestSpec(name=name, working_set_mib=40, dirty_mib_s=20, disk=DiskKind.SHARED))
    site.lab.add_guest(GuestSpec(name="kvm2-a", host="kvm2", disk=DiskKind.SHARED))
    site.lab.hosts["kvm1"].cap_link(4)
    return [*busy, "kvm2-a"]


def _is_completed(site: Site, run: FlowRun) -> bool:
    ended = site.ended(run, 180)
    return ended.state is not None and ended.state.is_completed()


def _moved(journal: SqlJournal, since: datetime) -> list[RunRecord]:
    return [run for run in journal.recent(100) if run.outcome is OutcomeKind.MOVED and run.opened_at > since]


def _lines(site: Site, run: FlowRun) -> list[str]:
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    with site.server.client() as client:
        return [log.message for log in client.read_logs(log_filter=wanted, limit=200)]


def _pid(run: FlowRun) -> int:
    """Return the pid of a run's process, `HOST:PID` as its worker tells."""
    return int(str(run.infrastructure_pid).rpartition(":")[2])


def _tree(pid: int) -> list[int]:
    """Return a process and all that descends from it, children before their children."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            with suppress(OSError):  # it has ended meanwhile
                found += [int(child) for child in task.read_text().split()]
    return found


def _kill(worker: int) -> None:
    """Kill a worker, its runs and their heirs, as the end of their machine would; the heirs first, which settle."""
    for pid in reversed(_tree(worker)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _closed(site: Site) -> str:
    return site.database.ask("journal", "SELECT host FROM cordons")


def _log(site: Site) -> str:
    """Return what worker and runs have said."""
    with site.server.client() as client:
        lines = [log.message for log in client.read_logs(limit=200)]
    logs = [log.read_text()[-2000:] for log in sorted(site.server.home.glob("*.log")) if log.name != "server.log"]
    return "\n".join([*logs, *lines])
