"""Handling in a domain's metadata."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vmferry.domxml.digest import definition_digest
from vmferry.domxml.marks import put_mark
from vmferry.domxml.read import parse_vm
from vmferry.model.mark import VmMark
from vmferry.model.operation import VmHandling, WayOut
from vmferry.planning.handling import blackouts_of

BARE = "<domain type='kvm'><name>web</name><uuid>0e5a3f5e-4b8e-4f64-8b0e-1d2c3b4a5f60</uuid>{}</domain>"
NAMESPACE = 'xmlns:vmferry="urn:vmferry:handling"'


def handling(inner: str) -> VmHandling:
    return parse_vm(BARE.format(f"<metadata>{inner}</metadata>")).handling


def test_what_a_domain_says_is_read() -> None:
    inner = f"""<vmferry:handling {NAMESPACE} priority="5" way-out="leave" max-downtime-ms="300">
      <vmferry:blackout>Mon-Fri 08:00-18:00</vmferry:blackout>
      <vmferry:probe> tcp  10.0.0.5:443 </vmferry:probe>
    </vmferry:handling>"""
    assert handling(inner) == VmHandling(
        priority=5,
        way_out=WayOut.LEAVE,
        blackouts=("Mon-Fri 08:00-18:00",),
        probes=("tcp 10.0.0.5:443",),
        max_downtime_ms=300,
    )


def test_children_may_lack_the_namespace_as_virsh_writes_them() -> None:
    inner = f"<vmferry:handling {NAMESPACE}><blackout>22:00-02:00</blackout><probe>agent</probe></vmferry:handling>"
    assert handling(inner) == VmHandling(blackouts=("22:00-02:00",), probes=("agent",))


def test_a_domain_that_says_nothing_is_handled_as_usual() -> None:
    assert parse_vm(BARE.format("")).handling == VmHandling()


@pytest.mark.parametrize(
    "attribute", ['priority="soon"', 'way-out="fly"', 'max-downtime-ms="0"', 'max-downtime-ms="1.5"']
)
def test_a_wish_that_cannot_be_read_keeps_the_vm_where_it_is(attribute: str) -> None:
    (blackout,) = blackouts_of(handling(f"<vmferry:handling {NAMESPACE} {attribute}/>").blackouts)
    assert "cannot be read" in blackout.text


def test_a_digest_does_not_depend_on_white_space_order_of_attributes_or_marks() -> None:
    one = BARE.format("<memory unit='KiB' dumpCore='on'>1024</memory>")
    other = BARE.format("\n  <memory dumpCore='on' unit='KiB'>1024</memory>\n")
    day = datetime(2026, 1, 1, tzinfo=UTC)
    mark = VmMark(run="r1", owner="o", source="a", dest="b", since=day, until=day)
    assert definition_digest(one) == definition_digest(other) == definition_digest(put_mark(one, mark))
    assert definition_digest(one) != definition_digest(one.replace("1024", "2048"))
