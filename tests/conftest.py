"""Settings of the whole test run, and the promise that a skipped test is a failing test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import examples as examples  # chooses hypothesis' profile before any property is read
from tests.labs import take_down_left

if TYPE_CHECKING:
    from tests.prefect_side import PrefectServer

# Before Prefect is imported: its servers in tests send nothing anywhere and write down all task runs at once.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
# A flow that was told of no server (a thread without its test's context) fails instead of starting one of its own.
os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")


# `make test` runs several workers beside one another; a file is one worker's (`--dist loadfile`). Those that wait
# longest begin first, so that no worker ends long after the others.
ROOMS = (
    "tests/lab/",
    "tests/contract/",
    "tests/unit/steps/",
    "tests/flows/",
    "tests/unit/adapters/",
    "tests/",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let a worker take the rooms in their order; a run of one process keeps its own, quick tests by directory."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: next(n for n, room in enumerate(ROOMS) if item.nodeid.startswith(room)))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no lab behind, even when the run was interrupted."""
    if not hasattr(config, "workerinput"):
        take_down_left()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run in which nothing ran or anything was skipped: `make test` installs what the tests need."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or exitstatus != pytest.ExitCode.OK or session.config.option.collectonly:
        return
    skipped = len(reporter.stats.get("skipped", []))
    passed = len(reporter.stats.get("passed", []))
    if skipped or not passed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"FAILED: {passed} tests passed, {skipped} were skipped; none may be", red=True)


@pytest.fixture(scope="session")
def state_dirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Paths that are not there yet; thousands of tests need none, and `tmp_path` takes longer with every test."""
    base = tmp_path_factory.mktemp("states")
    return (base / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def own_state_dir(state_dirs: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the machine's own journal, reports or inventory."""
    place = next(state_dirs)
    monkeypatch.setenv("VMFERRY_STATE_DIR", str(place))
    monkeypatch.delenv("VMFERRY_INVENTORY", raising=False)
    monkeypatch.delenv("VMFERRY_JOURNAL_URL", raising=False)
    return place


# Prefect is imported late (1.5 to 4 s): most tests need none.


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """Return a running server; a start costs about 15 s, so there is one for all tests of a session."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    from tests.prefect_side import PrefectServer

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
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_HOME, temporary_settings

    wanted = {
        PREFECT_API_URL: prefect_server.api_url,
        PREFECT_HOME: prefect_server.home,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with temporary_settings(wanted):
        yield prefect_server
