"""Commands of operations: switches of the fleet, times, and what options become."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tasks import _wiring
from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import SimulatedFleet
from vmferry.cli import app
from vmferry.errors import LeftBehind
from vmferry.inventory import load_inventory
from vmferry.model.cancelling import OnCancel
from vmferry.model.operation import WayOut
from vmferry.model.options import CautionOptions
from vmferry.model.returning import Refused, ReturnReport
from vmferry.model.roll import HostRoll, HostStage, RollReport, WorkKind
from vmferry.progress import ReturnEnded, RollEnded
from vmferry.steps.read import read_fleet
from vmferry.terminal import evacuate_command, roll_command
from vmferry.terminal.progress_view import Seen
from vmferry.terminal.session import Ended, Session
from vmferry.terminal.times import parse_length_s, parse_until

RUNNER = CliRunner()


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    file = tmp_path / "inventory.yaml"
    file.write_text("hosts: {kvm1: , kvm2: }\n")
    return file


@pytest.fixture
def fleet(inventory: Path) -> Iterator[SimulatedFleet]:
    made = SimulatedFleet(load_inventory(inventory))
    with _wiring.use(made.world(journal=SqlJournal("sqlite://"))):
        yield made


def call(*args: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, [str(arg) for arg in args])
    return result.exit_code, result.stdout, result.stderr


def test_a_freeze_stands_on_every_host_until_it_is_thawed(fleet: SimulatedFleet, inventory: Path) -> None:
    code, out, _ = call("freeze", "--reason", "audit", "--ticket", "CHG-7", "-i", inventory)
    assert code == 0 and "the fleet is frozen: audit (CHG-7)" in " ".join(out.split())
    assert all("CHG-7" in host.system.freeze for host in fleet.hosts.values())
    assert call("freeze", "--reason", "another", "-i", inventory)[1].count("audit") == 1  # the first one holds
    code, out, _ = call("unfreeze", "-i", inventory)
    assert code == 0 and "moves may start again" in out
    assert all(host.system.freeze == "" for host in fleet.hosts.values())
    assert "was not frozen" in call("unfreeze", "-i", inventory)[1]


def test_a_host_that_does_not_hear_of_a_freeze_is_named(fleet: SimulatedFleet, inventory: Path) -> None:
    fleet.cut_power("kvm2")
    code, _, err = call("freeze", "--reason", "audit", "-i", inventory)
    assert code == 4 and "kvm2" in err
    fleet.power_on("kvm2")
    assert call("unfreeze", "-i", inventory)[0] == 0


def test_a_cordon_tells_its_ticket_everywhere(fleet: SimulatedFleet, inventory: Path) -> None:
    assert call("cordon", "kvm1", "--reason", "fans", "--ticket", "CHG-9", "-i", inventory)[0] == 0
    (cordon,) = read_fleet(fleet.world(journal=SqlJournal("sqlite://"))).cordons  # another installation
    assert cordon.words() == "fans (CHG-9)"


NOW = datetime(2026, 3, 7, 22, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("05:00", datetime(2026, 3, 8, 5, 0, tzinfo=UTC)),
        ("23:15", datetime(2026, 3, 7, 23, 15, tzinfo=UTC)),
        ("2026-03-08T05:00", datetime(2026, 3, 8, 5, 0, tzinfo=UTC)),
        ("2026-03-08T05:00+01:00", datetime(2026, 3, 8, 4, 0, tzinfo=UTC)),
    ],
)
def test_a_time_is_the_next_one_that_the_clock_shows_or_a_date(text: str, at: datetime) -> None:
    assert parse_until(text, NOW, "--until") == at


@pytest.mark.parametrize(("text", "seconds"), [("4h", 14400), ("1h30m", 5400), ("90m", 5400), ("600s", 600), ("7", 7)])
def test_a_length_of_time_is_seconds(text: str, seconds: float) -> None:
    assert parse_length_s(text, "--window") == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "4d"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_length_s(text, "--window")


@pytest.mark.parametrize("text", ["25:00", "tomorrow"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_until(text, NOW, "--until")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a command hands to its flow; the command ends there."""
    found: dict[str, Any] = {}

    def run_flow(_session: Session, name: str, **parameters: Any) -> None:
        found.update(parameters, flow=name)
        raise typer.Exit(0)

    monkeypatch.setattr(Session, "run_flow", run_flow)
    return found


def test_options_of_an_evacuation_become_its_bounds(inventory: Path, asked: dict[str, Any]) -> None:
    words = "--window 4h --at-end abort --canaries 2 --max-moves 9 --max-failures 0 --max-downtime 500 --resume"
    code, _, err = call("evacuate", "kvm1", *words.split(), "--mode", "db=stop-and-start", "-i", inventory)
    assert code == 0, err
    caution = CautionOptions(canaries=2, max_moves=9, max_failures=None, max_downtime_ms=500)
    assert (asked["caution"], asked["resume"], asked["flow"]) == (caution, True, "evacuate_host")
    assert (asked["window"].length_s, asked["window"].at_end) == (timedelta(hours=4).total_seconds(), OnCancel.ABORT)
    assert asked["modes"] == {"db": WayOut.STOP_AND_START}


def test_options_of_a_roll_become_its_work(inventory: Path, asked: dict[str, Any]) -> None:
    code, _, err = call("roll", "kvm1", "kvm2", "--run", "apt-get", "--run", "upgrade", "--reboot", "-i", inventory)
    assert code == 0, err
    assert list(asked["hosts"]) == ["kvm1", "kvm2"]
    assert (asked["work"].kind, asked["work"].command, asked["work"].reboot) == (
        WorkKind.COMMAND,
        ["apt-get", "upgrade"],
        True,
    )


@pytest.mark.parametrize(
    "words",
    [(), ("kvm1", "--resume"), ("kvm1", "--run", "x", "--wait"), ("nowhere",)],
    ids=lambda words: " ".join(words) or "none",
)
def test_a_roll_that_makes_no_sense_is_refused(inventory: Path, words: tuple[str, ...]) -> None:
    assert call("roll", *words, "-i", inventory)[0] == 3


def test_the_defaults_of_the_terminal_are_those_of_the_form(inventory: Path, asked: dict[str, Any]) -> None:
    assert call("evacuate", "kvm1", "-i", inventory)[0] == 0
    assert asked["caution"] == CautionOptions()
    assert asked["window"] == evacuate_command.WindowOptions()
    assert call("roll", "kvm1", "-i", inventory)[0] == 0
    assert asked["work"] == roll_command.WorkOptions()


def test_options_of_a_return_are_handed_on(inventory: Path, asked: dict[str, Any]) -> None:
    assert call("return", "kvm1", "--vm", "web1", "--ask", "-i", inventory)[0] == 0
    assert (asked["flow"], asked["host"], list(asked["vms"]), asked["returning"]) == (
        "return_vms",
        "kvm1",
        ["web1"],
        "ask",
    )


def end_of(monkeypatch: pytest.MonkeyPatch, inventory: Path, event: Any, *words: str) -> tuple[int, str, str]:
    """Let a command's flow tell its result as an event, and raise."""

    def run_flow(_session: Session, _name: str, **_parameters: Any) -> Ended:
        seen = Seen()
        seen(event)
        assert seen.has_result
        return Ended(None, seen, LeftBehind("its headline"))

    monkeypatch.setattr(Session, "run_flow", run_flow)
    return call(*words, "-i", inventory)


def test_a_return_that_left_a_vm_tells_who_and_why(monkeypatch: pytest.MonkeyPatch, inventory: Path) -> None:
    refused = (Refused(vm="web", uuid="u", home="kvm1", why="kvm1 is full"),)
    report = ReturnReport(host="kvm1", run="r", home=("db",), refused=refused, started_at=NOW, ended_at=NOW)
    code, out, err = end_of(monkeypatch, inventory, ReturnEnded(report=report), "return", "kvm1")
    assert code == 4 and "web: not home: kvm1 is full" in " ".join(err.split())
    assert "1 home again, 1 not" in out and "next: vmferry return kvm1" in out


def test_a_roll_that_was_stopped_tells_the_host_and_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, inventory: Path
) -> None:
    hosts = (HostRoll(host="kvm1", stage=HostStage.DONE), HostRoll(host="kvm2", reason="its clock is +5.0 s off"))
    report = RollReport(id="r", hosts=hosts, stopped="its clock is +5.0 s off", started_at=NOW, ended_at=NOW)
    code, out, err = end_of(monkeypatch, inventory, RollEnded(report=report), "roll", "kvm1", "kvm2")
    assert code == 4 and "host kvm2: its clock is +5.0 s off" in " ".join(err.split())
    assert "1 of 2 hosts done" in out and "next: vmferry roll --resume" in out


# reports


def write_reports(state_dir: Path) -> None:
    for name in ("20260301T220000Z-kvm1-a", "20260302T220000Z-kvm2-b"):
        folder = state_dir / "reports" / name
        folder.mkdir(parents=True)
        (folder / "report.md").write_text(f"# {name}\n\n![timeline](timeline.svg)\n")
        (folder / "timeline.svg").write_text("<svg></svg>")


def test_the_newest_report_is_shown_or_that_of_a_host(own_state_dir: Path) -> None:
    code, _, err = call("report")
    assert code == 3 and "no report in" in err
    write_reports(own_state_dir)
    assert "# 20260302T220000Z-kvm2-b" in call("report")[1]
    assert "# 20260301T220000Z-kvm1-a" in call("report", "kvm1")[1]
    assert call("report", "--list")[1].split() == ["20260302T220000Z-kvm2-b", "20260301T220000Z-kvm1-a"]


@pytest.mark.parametrize(("browser", "code"), [("true %s", 0), ("false %s", 4)])
def test_a_report_is_opened_in_the_browser_or_its_page_is_named(own_state_dir: Path, browser: str, code: int) -> None:
    write_reports(own_state_dir)
    command = [sys.executable, "-m", "vmferry.cli", "report", "kvm1", "--open"]
    environment = os.environ | {"BROWSER": browser, "PATH": "/nowhere:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    page = own_state_dir / "reports" / "20260301T220000Z-kvm1-a" / "report.html"
    assert done.returncode == code and str(page) in done.stderr, done.stderr
    assert "<svg></svg>" in page.read_text()


def test_nobody_is_waited_for_where_nobody_can_be_asked(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    code, _, err = call("evacuate", "kvm1", "--approval", "one-person", "-i", inventory)
    assert code == 3 and "there is no terminal to ask at" in err
