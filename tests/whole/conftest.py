"""Whole machines and a real Prefect server: three hosts with kernels, systemd and packages of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.lab import HostSpec, LabSpec, MachineLab, MachineSpec, take_down
from tasks import _wiring
from tests.labs import lab_name
from tests.prefect_side import PrefectServer
from vmferry.adapters.world import RealWorld, open_world
from vmferry.inventory import load_inventory
from vmferry.settings import read_settings


@pytest.fixture(scope="session")
def machines() -> Iterator[MachineLab]:
    """kvm1 and kvm2 are bare hosts; kvm3, which has firewalld, is to be their NFS server."""
    name = lab_name("whole")
    hosts = (HostSpec(name="kvm1"), HostSpec(name="kvm2"), HostSpec(name="kvm3", firewalld=True))
    try:
        yield MachineLab.up(LabSpec(name=name, hosts=hosts, machines=MachineSpec()))
    finally:
        take_down(name)


@pytest.fixture(scope="module")
def journal_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return where the journal of all tests of a module lies: what one shares the next one takes back."""
    return str(tmp_path_factory.mktemp("whole-journal"))


@pytest.fixture
def world(
    machines: MachineLab, prefect: PrefectServer, journal_dir: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RealWorld]:
    """The machines as vmferry sees them; flows use this world. Everything in them is ten times as slow."""
    monkeypatch.setenv("VMFERRY_STATE_DIR", journal_dir)
    settings = read_settings(connect_timeout_s=30, call_timeout_s=240, keepalive_interval_s=10, keepalive_count=6)
    opened = open_world(load_inventory(machines.inventory_path), settings)
    with _wiring.use(opened):
        yield opened
    opened.close()
