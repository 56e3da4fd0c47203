"""Documents agree with the code: targets, commands, settings, inventory fields, exit codes, links, decisions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.repo.rules_page import PAGE, page
from vmferry.cli import app
from vmferry.model.host import Host
from vmferry.rules.table import RULES
from vmferry.settings import ENV_PREFIX, Settings
from vmferry.terminal.exit_codes import MEANINGS

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "operator-guide.md"
DECISIONS = ROOT / "docs" / "decisions"
DOCUMENTS = sorted(
    [
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deployments").glob("*.md"),
        *(ROOT / "infra").rglob("*.md"),
    ]
)
OF_THE_LAB = {"VMFERRY_LAB_DIR", "VMFERRY_LAB_CACHE"}
IDS = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _first_cells(document: str, heading: str) -> list[str]:
    """Return the first cells, without backticks, of the tables below a heading."""
    section = re.split(r"^#+ ", document.split(f"\n## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("|")]
    return [cell.strip("`") for cell in rows[2:]]


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all fields, those of models inside instead of the field that holds them."""
    for name, field in model.model_fields.items():
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        models = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if models:
            yield from _fields(models[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_the_page_of_rules_is_up_to_date() -> None:
    assert _read(PAGE) == page(), "write it anew: .venv/bin/python -m tests.repo.rules_page"


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_make_targets_that_a_document_names_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", _read(ROOT / "Makefile"), re.MULTILINE))
    named = re.findall(r"(?:`|^)make ([a-z-]+)", _read(path), re.MULTILINE)
    assert set(named) <= targets


def test_the_readme_names_the_two_commands() -> None:
    assert "make demo" in _read(README)
    assert "make test" in _read(README)


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_commands_that_a_document_names_exist(path: Path) -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {str(group.name) for group in app.registered_groups}
    blocks = "\n".join(re.findall(r"^ *```\w*\n(.*?)^ *```", _read(path), re.MULTILINE | re.DOTALL))
    named = re.findall(r"`vmferry ([a-z][a-z-]*)", _read(path)) + re.findall(
        r"^ *vmferry ([a-z]+)", blocks, re.MULTILINE
    )
    assert set(named) <= known


def test_every_command_is_in_the_guide() -> None:
    named = set(re.findall(r"`vmferry ([a-z]+)", _read(GUIDE)))
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert known <= named


def test_the_guides_settings_are_those_of_the_code() -> None:
    wanted = [f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields]
    assert _first_cells(_read(GUIDE), "Settings") == wanted


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_settings_that_a_document_names_exist(path: Path) -> None:
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields} | OF_THE_LAB
    assert set(re.findall(r"\bVMFERRY_[A-Z_]+[A-Z]\b", _read(path))) <= known


def test_the_guides_inventory_fields_are_those_of_the_code() -> None:
    assert sorted(_first_cells(_read(GUIDE), "Inventory")) == sorted(set(_fields(Host)) - {"name"})


@pytest.mark.parametrize("path", [README, GUIDE], ids=["README", "guide"])
def test_exit_codes_are_those_of_the_code(path: Path) -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", _read(path).split("\n## Exit codes\n", 1)[1], re.MULTILINE)
    wanted: list[Any] = [(str(int(code)), text) for code, text in MEANINGS.items()]
    assert rows == wanted


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", _read(path))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (path.parent / target).exists()] == []


def test_the_number_of_rules_is_told_as_it_is() -> None:
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md"):
        assert re.findall(r"\b(\d+) rules", _read(path)) == [str(len(RULES))], path.name


def test_decisions_are_numbered_without_gaps_and_listed() -> None:
    files = sorted(path.name for path in DECISIONS.glob("*.md") if path.name != "README.md")
    assert [name[:5] for name in files] == [f"{number:04}-" for number in range(1, len(files) + 1)]
    listed = re.findall(r"^\| \[(\d{4})\]\((\S+)\) \|", _read(DECISIONS / "README.md"), re.MULTILINE)
    assert listed == [(name[:4], name) for name in files]


@pytest.mark.parametrize("path", sorted(DECISIONS.glob("0*.md")), ids=lambda path: path.stem)
def test_a_decision_has_its_four_parts(path: Path) -> None:
    text = _read(path)
    assert text.startswith(f"# {path.stem[:4]}: ")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences", "Evidence"]


def test_decisions_that_the_code_cites_exist() -> None:
    rooms = ("vmferry", "tasks", "flows", "infra", "tests", "deployments")
    files = [*(p for room in rooms for p in (ROOT / room).rglob("*.py")), ROOT / "pyproject.toml", ROOT / "Makefile"]
    cited = {number for path in files for number in re.findall(r"docs/decisions/(\d{4})", _read(path))}
    assert cited <= {path.name[:4] for path in DECISIONS.glob("0*.md")}


def test_the_licence_is_apache_2_0() -> None:
    text = _read(ROOT / "LICENSE")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert len(text) > 10_000
