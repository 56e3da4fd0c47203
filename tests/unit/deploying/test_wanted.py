"""The site file, its schedules, and automations with and without a pager."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmferry.deploying.wanted import (
    NO_BLOCK,
    automation_things,
    fit_schedules,
    merge_schedules,
    read_site,
    read_yaml,
    wrong_values,
)
from vmferry.errors import InvalidInput
from vmferry.model.site import SiteSchedule

ROOT = Path(__file__).resolve().parents[3]
AUTOMATIONS = sorted((ROOT / "deployments" / "automations").glob("*.yaml"))
NAMES = tuple(entry["name"] for entry in read_yaml(ROOT / "deployments" / "prefect.yaml")["deployments"])
FORM = {"properties": {"host": {"enum": ["kvm1"]}, "dests": {"anyOf": [{"items": {"enum": ["kvm1"]}}]}, "reason": {}}}


def test_the_example_of_a_site_file_is_valid() -> None:
    site = read_site(ROOT / "deployments" / "site.example.yaml", NAMES)
    assert site.schedules and site.parameters and site.pager is None


def test_every_problem_of_a_site_file_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(
        "pager: nothing\nfleet_runs: 0\nfoo: 1\nschedules: {weekly-audit: [{slug: x, cron: '', every_s: 1}]}\n"
    )
    with pytest.raises(InvalidInput) as refused:
        read_site(file, NAMES)
    assert len(refused.value.problems) == 4
    assert "exactly one of cron, rrule and every_s, not cron and every_s" in str(refused.value)


def test_a_deployment_that_is_not_there_is_refused_with_a_guess(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("parameters: {evacuate-hosts: {}}\n")
    with pytest.raises(InvalidInput, match="did you mean 'evacuate-host'"):
        read_site(file, NAMES)


def test_the_sites_schedule_goes_before_the_one_of_the_same_name() -> None:
    entry = {"schedules": [{"slug": "a", "interval": 900}, {"slug": "b", "cron": "0 6 * * 1"}]}
    merged = merge_schedules(entry, [SiteSchedule(slug="b", every_s=60)])
    assert merged["a"]["every_s"] == 900 and "is_own" not in merged["a"]
    assert merged["b"]["every_s"] == 60 and "cron" not in merged["b"]


def test_what_a_form_would_refuse_is_known_before_anything_is_made() -> None:
    assert wrong_values(FORM, {"host": "kvm1", "dests": ["kvm1"], "reason": "any"}) == ()
    problems = wrong_values(FORM, {"host": "kvm9", "dests": ["kvm1", "kvm8"], "resaon": ""})
    assert len(problems) == 3 and "did you mean 'reason'" in problems[2]


@pytest.mark.parametrize(
    ("active", "is_own", "refused"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_only_an_inactive_example_with_foreign_hosts_is_left_out(active: bool, is_own: bool, refused: bool) -> None:
    shape = {"active": active, "parameters": {"host": "kvm9"}} | ({"is_own": True} if is_own else {})
    fitting, notes, problems = fit_schedules("d", {"s": shape}, lambda given: wrong_values(FORM, given))
    assert (fitting, bool(notes), bool(problems)) == ({}, not refused, refused)


def test_without_a_pager_only_automations_that_need_none_are_made() -> None:
    things, notes = automation_things(AUTOMATIONS, None)
    assert [thing.name for thing in things] == ["vmferry crash zombies"]
    (note,) = notes
    assert all(word in note for word in ("held", "crashed", "window missed", "stranded", "asked"))


@pytest.mark.parametrize(("kind", "call"), [("webhook", "call-webhook"), ("slack-webhook", "send-notification")])
def test_a_pager_is_called_in_its_own_way(kind: str, call: str) -> None:
    things, notes = automation_things(AUTOMATIONS, (kind, "an-id"))
    actions = [action for thing in things for action in thing.content["actions"] if "block_document_id" in action]
    assert notes == [] and len(actions) == 5
    assert {action["type"] for action in actions} == {call}
    assert {action["block_document_id"] for action in actions} == {"an-id"} and NO_BLOCK not in str(things)
    assert all(
        ("payload" in action) == (kind == "webhook") and ("body" in action) != (kind == "webhook") for action in actions
    )
