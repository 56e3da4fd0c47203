"""Settings of the whole test run, and the promise that a skipped test is a failing test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before Prefect is imported: its servers in tests send nothing anywhere and write down all task runs at once.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")


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


@pytest.fixture(autouse=True)
def own_state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test touches the machine's own journal, reports or inventory."""
    monkeypatch.setenv("VMFERRY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("VMFERRY_INVENTORY", raising=False)
    monkeypatch.delenv("VMFERRY_JOURNAL_URL", raising=False)
    yield
