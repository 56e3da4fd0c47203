"""The contract suite: each test that takes `fleet` runs on the simulated fleet and on real libvirt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.contract_fleet import BRIDGE, DEST, SOURCE, FleetUnderTest
from tests.contract.simulated_fleet import SimulatedUnderTest
from tests.labs import lab_name


@pytest.fixture(scope="session")
def _lab() -> Iterator[object]:
    from infra.lab import HostSpec, Lab, LabSpec

    spec = LabSpec(name=lab_name("contract"), hosts=tuple(HostSpec(name=n, bridges=(BRIDGE,)) for n in (SOURCE, DEST)))
    lab = Lab.up(spec)
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture(params=["simulated", pytest.param("lab", marks=pytest.mark.lab)])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FleetUnderTest]:
    """Return two hosts with nothing on them."""
    if request.param == "simulated":
        yield SimulatedUnderTest()
        return
    from tests.contract.lab_fleet import LabUnderTest

    made = LabUnderTest(request.getfixturevalue("_lab"), tmp_path)
    try:
        yield made
    finally:
        made.clean()
