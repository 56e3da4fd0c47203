"""Forms: titles with units, and the site's own choices."""

from __future__ import annotations

from typing import Any

import pytest

from vmferry.deploying.forms import dress, title_of


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("host", "Host"),
        ("approval_minutes", "Approval (minutes)"),
        ("bandwidth_mib_s", "Bandwidth (MiB/s)"),
        ("older_than_days", "Older than (days)"),
        ("dry_run", "Dry run"),
        ("vms", "VMs"),
    ],
)
def test_a_title_says_the_unit(name: str, title: str) -> None:
    assert title_of(name) == title


def _dressed(**properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return dict(dress(schema, ("kvm1", "kvm2"), ("cdrom",))["properties"])


def test_hosts_and_rules_are_offered_and_others_are_left_alone() -> None:
    text, empty = {"type": "string"}, {"type": "null"}
    several = {"anyOf": [{"type": "array", "items": text}, empty], "default": None}
    perhaps = {"anyOf": [text, empty], "default": None}
    fields = _dressed(host=text, dests=several, source=perhaps, lift=several, reason=text)
    assert (fields["host"]["enum"], fields["source"]["enum"]) == (["kvm1", "kvm2"], ["kvm1", "kvm2"])
    assert fields["dests"]["items"]["enum"] == ["kvm1", "kvm2"]
    assert fields["lift"]["items"]["enum"] == ["cdrom"]
    assert fields["reason"] == {"type": "string", "title": "Reason"}


def test_a_field_that_may_be_empty_is_asked_for_plainly_unless_empty_means_something() -> None:
    number, empty = {"type": "integer", "minimum": 1}, {"type": "null"}
    group = {"properties": {"cap": {"anyOf": [number, empty], "default": None}}}
    limits = {"limit": {"anyOf": [number, empty], "default": 5}, "cap": {"anyOf": [number, empty], "default": None}}
    schema = dress({"properties": limits, "definitions": {"Group": group}}, (), ())
    assert schema["properties"]["limit"]["anyOf"] == [number, empty]
    assert schema["properties"]["cap"] == {**number, "title": "Cap"}
    assert schema["definitions"]["Group"]["properties"]["cap"] == number


def test_a_title_that_somebody_wrote_stays_and_the_given_schema_is_not_changed() -> None:
    schema = {"properties": {"host": {"type": "string", "title": "Which one"}}}
    assert dress(schema, ("kvm1",), ())["properties"]["host"]["title"] == "Which one"
    assert "enum" not in schema["properties"]["host"]
