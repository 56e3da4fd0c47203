"""A real lab and a real Prefect server for the tests that move real VMs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.lab import HostSpec, Lab, LabSpec, take_down
from tasks import _wiring
from tests.labs import lab_name
from tests.prefect_side import PrefectServer
from vmferry.adapters.ssh_marks import PLACE
from vmferry.adapters.world import RealWorld, open_world
from vmferry.inventory import load_inventory
from vmferry.settings import read_settings

SMALL_MIB = 48  # kvm3's own image directory: too small for a large image


@pytest.fixture(scope="session")
def fleet() -> Iterator[Lab]:
    """Three hosts; tests add their own guests and put back what they break."""
    name = lab_name("moves")
    hosts = (
        HostSpec(name="kvm1", bridges=("br0",)),
        HostSpec(name="kvm2", bridges=("br0",)),
        HostSpec(name="kvm3", local_size_mib=SMALL_MIB),
    )
    try:
        yield Lab.up(LabSpec(name=name, hosts=hosts))
    finally:
        take_down(name)


@pytest.fixture
def world(fleet: Lab, prefect: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealWorld]:
    """The lab as vmferry sees it, with a journal of its own; flows use this world."""
    monkeypatch.setenv("VMFERRY_SETTLE_PATIENCE_S", "12")  # a silent host answers within a second here, or not at all
    opened = open_world(load_inventory(fleet.inventory_path), read_settings(connect_timeout_s=5))
    with _wiring.use(opened):
        yield opened
    opened.close()


@pytest.fixture(autouse=True)
def tidy(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test: links up and uncapped, libvirtd running, no guest of this test left on any host."""
    if "fleet" not in request.fixturenames:
        yield
        return
    lab: Lab = request.getfixturevalue("fleet")
    before = set(lab.guests)
    yield
    for host in lab.hosts.values():
        host.link_up()
        host.cap_link(None)
        host.start_libvirtd()
        host.run(["rm", "-rf", PLACE])  # an evacuation leaves its host closed for arrivals
    for guest in set(lab.guests) - before:
        lab.remove_guest(guest)
