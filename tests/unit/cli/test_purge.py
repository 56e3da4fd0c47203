"""`vmferry purge` without --remove: files, reasons and sums, on the simulated fleet; nothing is touched, no Prefect."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tasks import _wiring
from tests.unit.steps.voyage import DEST, SCENARIOS, SOURCE, Voyage
from vmferry.cli import app
from vmferry.terminal.purge_command import parse_days

RUNNER = CliRunner()
TEXT = "hosts:\n  kvm1:\n  kvm2:\n"


class Asked(Voyage):
    """A VM that was moved offline, and the command behind its own door."""

    def __init__(self, inventory: Path) -> None:
        super().__init__(SCENARIOS["offline"])
        self.inventory = inventory
        self.sail()
        self.fleet.advance((datetime.now(UTC) - self.fleet.now()).total_seconds() + 2 * 86400)

    def purge(self, *args: str) -> tuple[int, str, str]:
        before = {host: self.files(host) for host in (SOURCE, DEST)}
        with _wiring.use(self.world):
            result = RUNNER.invoke(app, ["-i", str(self.inventory), "purge", *args])
        assert {host: self.files(host) for host in (SOURCE, DEST)} == before
        return result.exit_code, result.stdout, result.stderr

    def document(self, *args: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.purge("--json", *args)[1])
        return document


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(TEXT)
    return Asked(inventory)


def test_what_is_young_is_listed_with_the_reason_and_the_sum_per_host(asked: Asked) -> None:
    code, out, err = asked.purge()
    assert (code, err) == (0, "")
    assert out.count("its run ended 2 d ago, the grace time is 7 d") == 2
    assert "kvm1: kept: 2 files, 2.0 GiB" in out.splitlines()
    assert "--remove" not in out


def test_what_is_old_enough_would_go(asked: Asked) -> None:
    code, out, _ = asked.purge("--older-than", "36h")
    assert code == 0
    assert "kvm1: to remove: 2 files, 2.0 GiB" in out.splitlines()
    assert "next: vmferry purge --remove" in out


def test_the_grace_time_is_a_setting(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMFERRY_PURGE_AFTER_DAYS", "1.5")
    assert "to remove: 2 files" in asked.purge()[1]


def test_only_the_hosts_that_are_named_are_listed(asked: Asked) -> None:
    assert [file["host"] for file in asked.document("kvm1")["purge"]["files"]] == ["kvm1", "kvm1"]
    assert asked.purge("kvm2")[:2] == (0, "moves left no files\n")
    code, out, err = asked.purge("kvm1", "kvm7")
    assert (code, out) == (3, "")
    assert "host kvm7 is not in" in err


def test_the_document_holds_files_reasons_and_exit_code(asked: Asked) -> None:
    document = asked.document()
    assert (document["exit_code"], document["problems"]) == (0, [])
    first = document["purge"]["files"][0]
    assert (first["vm"], first["run"], first["fate"]) == (asked.vm, asked.run, "kept")
    assert "grace time" in first["reason"]


def test_a_host_that_is_not_read_is_told_and_keeps_everything(asked: Asked) -> None:
    asked.fleet.cut_power(DEST)
    code, out, err = asked.purge("--older-than", "0")
    assert code == 3
    assert "host kvm2: not read" in err
    assert out.count("kvm2 was not read") == 2


@pytest.mark.parametrize(("text", "days"), [("7d", 7), ("36h", 1.5), ("720m", 0.5), ("0", 0), ("2", 2), ("0.5d", 0.5)])
def test_an_age_is_days_hours_or_minutes(text: str, days: float) -> None:
    assert parse_days(text) == days


@pytest.mark.parametrize("text", ["", "d", "-1d", "7 weeks", "1e9", "nan", "99999999d"])
def test_a_wrong_age_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_days(text)


def test_a_wrong_age_is_wrong_usage(asked: Asked) -> None:
    assert asked.purge("--older-than", "soon")[0] == 2
