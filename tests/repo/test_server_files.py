"""Units, compose file and packages agree with what is tested and locked."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest
from prefect.settings import Settings
from prefect.settings.legacy import _get_settings_fields

from tests.prefect_side import SERVER
from tests.repo.errors_page import PAGE, page
from vmferry.deploying.wanted import read_yaml
from vmferry.reporting.catalogue import NEXT, error_classes
from vmferry.settings import ENV_PREFIX
from vmferry.settings import Settings as OurSettings

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "infra" / "systemd").glob("*.service"))
FILES = [
    *UNITS,
    ROOT / "infra" / "compose.yaml",
    ROOT / "deployments" / "prefect.yaml",
    ROOT / "deployments" / "README.md",
]
COMPOSE = read_yaml(ROOT / "infra" / "compose.yaml")
# Read by Prefect's logging configuration, not by its settings.
LOGGERS = {"PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL"}


def test_the_page_of_errors_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: .venv/bin/python -m tests.repo.errors_page"


def test_every_error_has_a_next_command() -> None:
    assert set(error_classes()) == set(NEXT)


def test_the_servers_container_has_the_version_that_is_locked() -> None:
    image = COMPOSE["services"]["server"]["image"]
    assert re.search(r":([\d.]+)-", image)[1] == importlib.metadata.version("prefect")  # type: ignore[index]


def test_unit_and_container_have_the_settings_with_which_the_server_is_tested() -> None:
    unit = (ROOT / "infra" / "systemd" / "vmferry-server.service").read_text(encoding="utf-8")
    container = COMPOSE["services"]["server"]["environment"]
    for name, value in SERVER.items():
        assert f"Environment={name}={value}" in unit
        assert container[name] == value
    for name in ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_SERVER_DATABASE_CONNECTION_URL"):
        assert name in unit and name in container


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_settings_that_are_named_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = set(_get_settings_fields(Settings)) | LOGGERS | {"PREFECT_PASSWORD"}
    assert set(re.findall(r"\bPREFECT_[A-Z_]+[A-Z]\b", text)) <= known
    ours = {f"{ENV_PREFIX}{name.upper()}" for name in OurSettings.model_fields}
    assert set(re.findall(r"\bVMFERRY_[A-Z_]+[A-Z]\b", text)) <= ours


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_name_programs_of_the_checkout_and_each_other(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for program in re.findall(r"/opt/vmferry/(\S+)", text):
        assert program.startswith(".venv/bin/")
    named = set(re.findall(r"\b(vmferry-[a-z]+)\.service", text))
    assert named <= {unit.stem for unit in UNITS}
