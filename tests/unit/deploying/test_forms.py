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
    several = {"anyOf": [{"type": "array", "items": text}, empty]}
    fields = _dressed(host=text, dests=several, source={"anyOf": [text, empty]}, lift=several, reason=text)
    assert fields["host"]["enum"] == ["kvm1", "kvm2"]
    assert fields["dests"]["anyOf"][0]["items"]["enum"] == ["kvm1", "kvm2"]
    assert fields["source"]["anyOf"] == [{"type": "string", "enum": ["kvm1", "kvm2"]}, empty]
    assert fields["lift"]["anyOf"][0]["items"]["enum"] == ["cdrom"]
    assert fields["reason"] == {"type": "string", "title": "Reason"}


def test_a_title_that_somebody_wrote_stays_and_the_given_schema_is_not_changed() -> None:
    schema = {"properties": {"host": {"type": "string", "title": "Which one"}}}
    assert dress(schema, ("kvm1",), ())["properties"]["host"]["title"] == "Which one"
    assert "enum" not in schema["properties"]["host"]
