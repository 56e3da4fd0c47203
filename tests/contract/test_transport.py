"""Contract of how memory travels: what does not go together is refused, and the VM runs on where it was."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.contract.contract_fleet import DEST, SOURCE, FleetUnderTest, ignore, plan_of, words
from tests.contract.simulated_fleet import SimulatedUnderTest
from tests.unit.builders import NOW
from tests.unit.certificates import authority, certificate, tls
from vmferry.errors import OutcomeUnknown, VmferryError
from vmferry.model.certificates import TlsFacts
from vmferry.model.migration import MigrationPlan
from vmferry.model.transport import Compression, Encryption, Transport

RUNS = ("running", "absent")
MOVED = ("shut off (migrated)", "paused (user)")
NONE, TLS, TUNNELLED = Encryption.NONE, Encryption.TLS, Encryption.TUNNELLED


def planned(fleet: FleetUnderTest, encryption: Encryption, **transport: object) -> MigrationPlan:
    """Plan the move of a new VM with this transport."""
    plan = plan_of(fleet, fleet.make_vm("contract"))
    wanted = Transport.model_validate({"encryption": encryption, **transport})
    return plan.model_copy(update={"encryption": encryption, "transport": wanted})


def stands(fleet: FleetUnderTest, plan: MigrationPlan) -> tuple[str, str]:
    here, there = words(fleet, plan.uuid)
    return here.partition(" ")[0], there


def test_hosts_without_certificates_say_so(fleet: FleetUnderTest) -> None:
    for host in (SOURCE, DEST):
        facts = fleet.world.tools(host).read_system().tls
        assert facts is not None and not facts.is_begun and facts.server is None


@pytest.mark.parametrize(
    ("encryption", "transport"),
    [
        (TLS, {}),  # no certificates
        (TUNNELLED, {"connections": 2}),
        (NONE, {"is_zero_copy": True}),  # without connections
        (NONE, {"compression": Compression.ZSTD}),
    ],
)
def test_what_cannot_be_had_leaves_both_hosts_as_they_were(
    fleet: FleetUnderTest, encryption: Encryption, transport: dict[str, object]
) -> None:
    plan = planned(fleet, encryption, **transport)
    with pytest.raises(VmferryError):
        fleet.world.hypervisor(SOURCE).migrate(plan, ignore)
    assert stands(fleet, plan) == RUNS


@pytest.mark.parametrize(
    ("encryption", "transport"),
    [
        (NONE, {"connections": 2}),
        (TUNNELLED, {"compression": Compression.XBZRLE}),
        (Encryption.AUTO, {}),  # nobody decided: tunnelled
    ],
)
def test_a_vm_arrives_by_what_can_be_had(
    fleet: FleetUnderTest, encryption: Encryption, transport: dict[str, object]
) -> None:
    plan = planned(fleet, encryption, **transport)
    fleet.world.hypervisor(SOURCE).migrate(plan, ignore)
    assert words(fleet, plan.uuid) == MOVED


# Only on the simulated fleet: real certificates are in tests/lab/test_transport.py.

A, B = "10.77.0.11", "10.77.0.12"
DAY = timedelta(days=1)


def certified(here: TlsFacts, there: TlsFacts) -> SimulatedUnderTest:
    fleet = SimulatedUnderTest()
    fleet.fleet.set_system(SOURCE, tls=here)
    fleet.fleet.set_system(DEST, tls=there)
    return fleet


def test_a_simulated_vm_goes_by_tls_where_both_trust_each_other() -> None:
    fleet = certified(tls(A), tls(B))
    plan = planned(fleet, TLS)
    fleet.world.hypervisor(SOURCE).migrate(plan, ignore)
    assert words(fleet, plan.uuid) == MOVED


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (tls(A), tls(B, server=certificate(B, not_after=NOW - DAY))),
        (tls(A), tls("10.9.9.9")),
        (tls(A), tls(B, without=("server-key.pem",))),
        (tls(A), tls(B, server=certificate(B, signer="x"), authorities=(authority("x"),))),
        (tls(A, without=("client-cert.pem",)), tls(B)),
    ],
)
def test_a_simulated_vm_stays_where_qemu_takes_no_certificate(here: TlsFacts, there: TlsFacts) -> None:
    fleet = certified(here, there)
    plan = planned(fleet, TLS)
    with pytest.raises(OutcomeUnknown):
        fleet.world.hypervisor(SOURCE).migrate(plan, ignore)
    assert stands(fleet, plan) == RUNS
