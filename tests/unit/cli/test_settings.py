"""Settings: read once, frozen, passwords never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from vmferry.errors import InvalidInput
from vmferry.settings import read_settings


def test_journal_and_reports_lie_in_the_state_directory(tmp_path: Path) -> None:
    settings = read_settings(state_dir=tmp_path)
    assert settings.journal_url.get_secret_value() == f"sqlite:///{tmp_path}/journal.db"
    assert settings.report_dir == tmp_path / "reports"


def test_a_home_of_ones_own_without_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VMFERRY_STATE_DIR")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert read_settings().state_dir == tmp_path / "vmferry"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert read_settings().state_dir == Path("/var/lib/vmferry")


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMFERRY_JOURNAL_URL", "postgresql+psycopg://ops:s3cret@db/vmferry?password=s3cret")
    settings = read_settings()
    assert "s3cret" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMFERRY_MOVE_TIMEOUT_S", "")
    monkeypatch.setenv("VMFERRY_JOURNAL_URL", "")
    settings = read_settings()
    assert settings.move_timeout_s is None
    assert settings.journal_url.get_secret_value().startswith("sqlite:///")


def test_every_wrong_variable_is_told_at_once_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMFERRY_CALL_TIMEOUT_S", "s3cret")
    monkeypatch.setenv("VMFERRY_CONNECT_TIMEOUT_S", "-1")
    with pytest.raises(InvalidInput) as caught:
        read_settings()
    assert len(caught.value.problems) == 2
    assert "s3cret" not in str(caught.value)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        read_settings().debug = True  # type: ignore[misc]
