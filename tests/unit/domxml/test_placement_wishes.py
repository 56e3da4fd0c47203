"""Placement constraints in a domain's metadata."""

from __future__ import annotations

import pytest

from vmferry.domxml.read import parse_vm
from vmferry.model.constraint import ConstraintKind, Level
from vmferry.model.vm import Vm

DOMAIN = """<domain type='kvm'><name>web1</name><uuid>6c1b1b1e-0000-4000-8000-000000000001</uuid>
<memory unit='KiB'>1048576</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os>
<metadata><vmferry:placement xmlns:vmferry="urn:vmferry:placement:1">{}</vmferry:placement></metadata></domain>"""


def vm(inside: str) -> Vm:
    return parse_vm(DOMAIN.format(inside))


def test_a_domain_tells_who_it_may_be_with_and_where() -> None:
    spread, fence, root = vm(
        "<vmferry:spread group='web' level='rack'/><!-- why --><vmferry:fence hosts='kvm1 kvm2' soft='yes'/>"
        "<vmferry:root continuous='no'/>"
    ).placement_wishes
    assert (spread.kind, spread.name, spread.level, spread.is_hard) == (ConstraintKind.SPREAD, "web", Level.RACK, True)
    assert (fence.kind, fence.hosts, fence.is_hard) == (ConstraintKind.FENCE, ("kvm1", "kvm2"), False)
    assert (root.kind, root.is_continuous) == (ConstraintKind.ROOT, False)


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        ("<vmferry:spraed group='web'/>", "is not one of spread"),
        ("<vmferry:fence/>", "names no hosts"),
        ("<vmferry:spread level='room'/>", "not a valid Level"),
        ("<vmferry:ban hosts='a' soft='maybe'/>", "write yes or no"),
        ("<vmferry:root host='a'/>", "unknown attributes host"),
    ],
)
def test_what_cannot_be_understood_keeps_the_vm_where_it_is(inside: str, told: str) -> None:
    """It might have been a fence."""
    read = vm(inside)
    assert not read.is_readable
    assert any(told in problem for problem in read.problems)
