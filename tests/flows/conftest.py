"""One real Prefect server for all flow tests, and a simulated fleet for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_HOME, temporary_settings

from tests.flows.prefect_side import PrefectServer
from tests.flows.yard import Yard


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """Return a running server; a start costs about 15 s, so there is one."""
    with PrefectServer.running(tmp_path_factory.mktemp("prefect")) as server:
        yield server
        # What waits is sent while the server is there: at exit it would be tried for more than a minute.
        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=20)


@pytest.fixture
def prefect(prefect_server: PrefectServer) -> Iterator[PrefectServer]:
    """Let the flows of this process talk to the server.

    Without heartbeats: a flow run that has them waits a second for its heartbeat thread (Prefect 3.8.8).
    """
    wanted = {
        PREFECT_API_URL: prefect_server.api_url,
        PREFECT_HOME: prefect_server.home,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with temporary_settings(wanted):
        yield prefect_server


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """Return kvm1, kvm2 and kvm3 with nothing on them, and an empty journal."""
    return Yard(tmp_path / "journal.db")
