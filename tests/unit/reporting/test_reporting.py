"""Reports of real EvacuationReport objects: what people read, and what parsers must accept."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import pytest

from vmferry.model.evacuation import EvacuationPlan, EvacuationReport, Move, Stranded
from vmferry.model.findings import Finding, Severity
from vmferry.model.host import FleetSnapshot, Host, Inventory, SshAddress
from vmferry.model.migration import MigrationMode, MigrationOutcome, OutcomeKind
from vmferry.reporting import (
    format_bytes,
    format_ms,
    format_seconds,
    markdown_outcome,
    markdown_plan,
    markdown_report,
    outcome_line,
    plan_headline,
    report_headline,
    timeline_svg,
    timeline_text,
    write_report,
)
from vmferry.reporting.page import page_of
from vmferry.reporting.timeline import choose_tick_s, pack_lanes

START = datetime(2026, 3, 1, 22, 0, 0, tzinfo=UTC)
NASTY = "a|b <script>alert('x')</script> & \"q\" ]]> `c`\x01\n\ud800"
SVG = "{http://www.w3.org/2000/svg}"


def outcome(vm: str, *, at_s: float = 0, seconds: float = 3, dest: str = "kvm2", **more: object) -> MigrationOutcome:
    values: dict[str, Any] = {
        "run": f"run-{vm}",
        "vm": vm,
        "source": "kvm1",
        "dest": dest,
        "mode": MigrationMode.LIVE,
        "kind": OutcomeKind.MOVED,
        "started_at": START + timedelta(seconds=at_s),
        "ended_at": START + timedelta(seconds=at_s + seconds),
        "bytes_sent": 300 * 1024 * 1024,
        "downtime_ms": 84,
    }
    return MigrationOutcome.model_construct(**(values | more))  # model_construct: lone surrogates pass


def report(*outcomes: MigrationOutcome, **more: object) -> EvacuationReport:
    values: dict[str, Any] = {
        "host": "kvm1",
        "run": "evac-1",
        "outcomes": outcomes,
        "started_at": START,
        "ended_at": START + timedelta(seconds=20),
    }
    return EvacuationReport.model_construct(**(values | more))


PINNED = Stranded(
    vm="wanderer5",
    uuid="5",
    reasons={
        "kvm2": (Finding(rule="numa-pinning", severity=Severity.BLOCK, message="is pinned", source="reference 9.3"),)
    },
)


def plan() -> EvacuationPlan:
    hosts = tuple(
        Host(name=n, uri=f"u{n}", peer_uri=f"p{n}", ssh=SshAddress(address=n), migration_address=n)
        for n in ("kvm1", "kvm2")
    )
    move = Move(
        vm="wanderer1",
        uuid=str(UUID(int=1)),
        source="kvm1",
        dest="kvm2",
        mode=MigrationMode.LIVE,
        mode_reason="it runs",
        dest_reason="most free memory",
        order=0,
        memory_kib=2 * 1024 * 1024,
        vcpus=2,
    )
    snapshot = FleetSnapshot(inventory=Inventory(hosts=hosts), hosts=(), taken_at=START)
    return EvacuationPlan(host="kvm1", moves=(move,), stranded=(PINNED,), snapshot=snapshot)


def test_the_headline_of_an_emptied_host_says_so() -> None:
    assert report_headline(report(outcome("a"), outcome("b"))) == "kvm1 is empty: 2 moved in 20.0 s"


def test_the_headline_names_everything_that_went_wrong() -> None:
    ended = report(
        outcome("a"),
        outcome("b", kind=OutcomeKind.ROLLED_BACK),
        outcome("c", kind=OutcomeKind.HELD),
        stranded=(PINNED,),
        not_started=("d",),
        left=("b", "c", "d", "wanderer5"),
    )
    assert report_headline(ended) == (
        "kvm1 is NOT empty, 4 VMs left: 1 moved, 1 rolled back, 1 HELD for a human, 1 stranded, 1 not started in 20.0 s"
    )


def test_a_report_shows_each_vm_its_reason_and_the_next_commands() -> None:
    failed = outcome("web|1", kind=OutcomeKind.ROLLED_BACK, reason="kvm2: disk full", next_commands=("ssh kvm2 df -h",))
    text = markdown_report(report(outcome("db"), failed, stranded=(PINNED,), left=("web|1", "wanderer5")), plan())
    assert "| db | kvm1 → kvm2 | live | moved | 3.0 s | 84 ms | 300 MiB |" in text
    assert "| web\\|1 | kvm1 → kvm2 | live | rolled back |" in text
    assert "| wanderer5 | kvm2 | is pinned (numa-pinning, reference 9.3) |" in text
    assert "ssh kvm2 df -h" in text and "vmferry evacuate kvm1" in text


def test_names_cannot_add_markup_or_rows_to_a_report() -> None:
    text = markdown_report(report(outcome(NASTY, reason=NASTY)), None)
    assert "<script>" not in text.split("```")[0]
    rows = [line for line in text.splitlines() if line.startswith("| a")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 9


def test_a_dry_run_shows_the_plan_and_claims_no_result() -> None:
    text = markdown_report(report(is_dry_run=True, stranded=(PINNED,), left=("wanderer1",)), plan())
    assert "dry run, nothing was touched, 1 stranded" in text
    assert (
        "| 1 | wanderer1 | kvm1 → kvm2 | live | minimal-downtime | - | 2.0 GiB | 0 | - | it runs | most free memory |"
        in text
    )
    assert "NOT empty" not in text


def test_a_plan_says_who_goes_where_and_who_cannot() -> None:
    assert plan_headline(plan()) == "kvm1: 1 VM to move (1 to kvm2), 1 stranded (wanderer5)"
    assert "## Stranded" in markdown_plan(plan())


def test_a_stranded_vm_without_a_host_to_try_is_not_lost() -> None:
    assert "- x: no host could be tried" in markdown_report(
        report(stranded=(Stranded(vm="x", uuid="1", reasons={}),)), None
    )


def test_an_outcome_that_is_held_shows_its_commands() -> None:
    text = markdown_outcome(outcome("a", kind=OutcomeKind.HELD, next_commands=("virsh list --all",), notes=("n1",)))
    assert "HELD" in text or "held" in text
    assert "virsh list --all" in text and "a: n1" in text


@pytest.mark.parametrize("ended", [report(), report(outcome("a", seconds=0)), report(outcome("a", seconds=-5))])
def test_the_timeline_is_xml_without_moves_and_with_clocks_set_back(ended: EvacuationReport) -> None:
    assert ElementTree.fromstring(timeline_svg(ended)).tag == f"{SVG}svg"


def test_the_timeline_is_xml_whatever_a_name_holds() -> None:
    root = ElementTree.fromstring(timeline_svg(report(outcome(NASTY, dest=NASTY), host=NASTY)).encode())
    assert not root.findall(f".//{SVG}script")


def test_every_move_has_a_bar_and_none_overlaps() -> None:
    outcomes = [outcome(f"vm{n}", at_s=n % 5, seconds=1 + n % 7, dest=f"kvm{n % 3}") for n in range(60)]
    ended = report(*outcomes)
    bars = [
        rect for rect in ElementTree.fromstring(timeline_svg(ended)).iter(f"{SVG}rect") if rect.get("height") == "18"
    ]
    assert len(bars) == 60
    for rows in pack_lanes(ended.outcomes).values():
        for row in rows:
            assert all(a.ended_at <= b.started_at for a, b in pairwise(row))
    for rect in bars:
        assert float(rect.get("x", "")) >= 0 and float(rect.get("x", "")) + float(rect.get("width", "")) <= 960


@pytest.mark.parametrize("span_s", [0.1, 1, 9, 61, 3600, 90_000, 10_000_000])
def test_a_timeline_never_has_more_than_ten_ticks(span_s: float) -> None:
    assert span_s / choose_tick_s(span_s) <= 10


def test_the_text_timeline_shows_moves_after_each_other() -> None:
    lines = timeline_text(report(outcome("a", seconds=5), outcome("b", at_s=5, seconds=5)), width=10).splitlines()
    assert lines == ["kvm2  a  █████·····  5.0 s moved", "kvm2  b  ·····█████  5.0 s moved"]


def test_a_written_report_can_be_read_back_and_written_again(tmp_path: Path) -> None:
    ended = report(outcome("a"), stranded=(PINNED,), left=("wanderer5",))
    path = write_report(tmp_path, ended, plan())
    assert write_report(tmp_path, ended, plan()) == path
    folder = path.parent
    files = {"report.md", "report.json", "plan.json", "timeline.svg", "fleet.svg"}
    assert {p.name for p in folder.iterdir()} == files
    assert EvacuationReport.model_validate_json((folder / "report.json").read_text()) == ended
    assert EvacuationPlan.model_validate_json((folder / "plan.json").read_text()) == plan()
    assert "![timeline](timeline.svg)" in path.read_text()
    assert json.loads((folder / "report.json").read_text())["host"] == "kvm1"


def test_a_page_holds_the_report_and_its_pictures_and_no_vm_name_is_markup(tmp_path: Path) -> None:
    path = write_report(tmp_path, report(outcome("<b>a</b>")), plan())
    page = page_of(path.parent).read_text()
    assert page.count("<svg") == page.count("<figure>") == 2 and "timeline.svg" not in page
    assert escape(path.read_text().splitlines()[0].removeprefix("# ")) in page
    assert "<b>" not in page


def test_a_report_stays_in_its_directory_whatever_the_host_is_called(tmp_path: Path) -> None:
    path = write_report(tmp_path / "r", report(host="../../etc", run="a/b"), None)
    assert path.parent.parent == tmp_path / "r"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (5, "<1 MiB"), (1024**2, "1.0 MiB"), (300 * 1024**2, "300 MiB"), (1536 * 1024**2, "1.5 GiB")],
)
def test_bytes_are_rounded_as_people_read_them(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0.0 s"), (12.34, "12.3 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_seconds_are_rounded_as_people_read_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_a_downtime_above_its_objective_is_told_in_line_and_headline() -> None:
    late = outcome("late", downtime_ms=812, max_downtime_ms=600)
    assert "downtime 812 ms (objective 600 ms)" in outcome_line(late)
    told = report(late, outcome("good", max_downtime_ms=600))
    assert "2 moved, 1 above the downtime objective" in report_headline(told)
    assert "objective" not in outcome_line(outcome("good", max_downtime_ms=600))


def test_a_downtime_that_nobody_measured_is_not_zero() -> None:
    assert (format_ms(None), format_ms(0), format_ms(4200)) == ("-", "0 ms", "4.2 s")
