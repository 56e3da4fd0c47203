"""Per rule: moves that it refuses or warns of, and moves that pass; every rule has one of each. A file per subject."""

from __future__ import annotations

from tests.unit.rules.cases import (
    compat,
    conflict,
    copying,
    cpu,
    devices,
    guest,
    hostbound,
    hosts,
    marks,
    mirroring,
    network,
    pace,
    postcopy,
    reach,
    releases,
    room,
    state,
    storage,
    transport,
)
from tests.unit.rules.cases.making import Makers

_SUBJECTS = (
    hosts,
    reach,
    transport,
    guest,
    state,
    marks,
    conflict,
    releases,
    compat,
    cpu,
    pace,
    postcopy,
    room,
    storage,
    copying,
    mirroring,
    network,
    devices,
    hostbound,
)

# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    rule: cases for subject in _SUBJECTS for rule, cases in subject.CASES.items()
}
