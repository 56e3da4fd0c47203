"""Cases of the rules in vmferry/rules/reach.py."""

from __future__ import annotations

from tests.unit.builders import (
    build_pair,
)
from tests.unit.rules.cases.making import BAD, DEST, SOURCE, Makers, make, on

# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "ping": ((lambda: make(pair=build_pair(SOURCE, DEST, ping=BAD)),), (on, lambda: make(pair=None))),
    "libvirt-reach": (
        (lambda: make(pair=build_pair(SOURCE, DEST, libvirt=BAD)),),
        (on, lambda: make(pair=None)),
    ),
}
