"""What is set before Prefect is imported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmferry.errors import InvalidInput
from vmferry.settings import read_settings
from vmferry.terminal.prefect_start import EMBEDDED, load_flow, prepare_environment


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment of its own, without Prefect's variables."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", os.environ.copy())


@pytest.mark.usefixtures("environment")
def test_the_embedded_servers_home_exists_before_prefect_needs_it(tmp_path: Path) -> None:
    settings = read_settings(state_dir=tmp_path / "not" / "yet" / "there")
    assert prepare_environment(settings) is True
    assert Path(os.environ["PREFECT_HOME"]).is_dir()
    assert os.environ["PREFECT_HOME"] == str(settings.state_dir / "prefect")
    assert EMBEDDED.items() <= dict(os.environ).items()


@pytest.mark.usefixtures("environment")
def test_a_server_of_ones_own_is_used_as_it_is() -> None:
    os.environ["PREFECT_API_URL"] = "http://prefect.example.org/api"
    assert prepare_environment(read_settings()) is False
    assert "PREFECT_HOME" not in os.environ
    assert not set(EMBEDDED) & set(os.environ)


@pytest.mark.usefixtures("environment")
def test_what_the_operator_set_stays() -> None:
    os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "300"
    prepare_environment(read_settings())
    assert os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] == "300"


@pytest.mark.usefixtures("environment")
def test_a_state_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="VMFERRY_STATE_DIR"):
        prepare_environment(read_settings(state_dir=tmp_path / "file"))


def test_a_flow_that_is_not_there_is_told_with_what_to_do() -> None:
    with pytest.raises(InvalidInput, match="run vmferry from a checkout"):
        load_flow("no_such_flow", read_settings(), print)
