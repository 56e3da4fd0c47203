"""How memory travels between real hosts, seen on the wire: encrypted unless the inventory allows otherwise."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.migrate_vm import migrate_vm
from infra.lab import DiskKind, GuestSpec, Lab, LabSpec, net, take_down, tls
from infra.lab.capture import Capture
from tests.labs import lab_name
from vmferry.adapters.world import RealWorld
from vmferry.errors import LeftBehind, PreflightBlocked
from vmferry.model.migration import MigrationOutcome, MigrationPlan, OutcomeKind
from vmferry.model.transport import Encryption, TransportWish
from vmferry.ports import Hypervisor

pytestmark = pytest.mark.lab

PKI = tls.INSIDE
_CHUNK = 48
_PORTS = range(49152, 49216)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Lab]:
    """Two hosts with certificates."""
    name = lab_name("tls")
    try:
        yield Lab.up(LabSpec(name=name, tls=True))
    finally:
        take_down(name)


@pytest.fixture
def pki(fleet: Lab) -> Iterator[Path]:
    """The directory of kvm2's certificates, which a test may spoil."""
    where = fleet.hosts["kvm2"].outer_path(PKI)
    yield where
    tls.issue(authority(fleet), where, ["kvm2", fleet.hosts["kvm2"].address])


def authority(lab: Lab) -> Path:
    return lab.directory.path / "tls"


def say(world: RealWorld, **fields: Any) -> None:
    """Let the inventory say something else of all hosts."""
    hosts = tuple(host.model_copy(update=fields) for host in world.inventory.hosts)
    world.inventory = world.inventory.model_copy(update={"hosts": hosts})


def move(lab: Lab, vm: str, disk: DiskKind = DiskKind.NONE) -> tuple[MigrationOutcome, Capture]:
    """Move a new guest to kvm2 while somebody listens on the cable; no page is lost."""
    lab.add_guest(GuestSpec(name=vm, memory_mib=64, dirty_mib_s=20, disk=disk, disk_mib=8, disk_data_mib=2))
    device = net.link_name(int(lab.subnet.split(".")[2]), 1)
    with Capture(device, patterns(lab, vm)) as capture, lab.watch(vm) as watch:
        outcome = migrate_vm(vm=vm, dest="kvm2")
    assert isinstance(outcome, MigrationOutcome) and outcome.kind is OutcomeKind.MOVED
    assert lab.where(vm) == {"kvm2": "running"}
    assert watch.alive_on("kvm2") and watch.overlap_s == 0 and watch.errors == 0
    return outcome, capture


def told(outcome: MigrationOutcome) -> str:
    """What the report says of how memory travelled."""
    return next(note for note in outcome.notes if note.startswith("transport: "))


def patterns(lab: Lab, vm: str) -> list[bytes]:
    """What the guest has for sure: pieces of its own program in memory, and of a local disk."""
    program = lab.directory.image.read_bytes()
    pieces = [program[at : at + _CHUNK] for at in range(0, len(program), _CHUNK)]
    disk = lab.hosts["kvm1"].outer_path(f"/var/lib/libvirt/images/{vm}.raw")
    if disk.exists():
        content = disk.read_bytes()
        pieces += [content[at : at + _CHUNK] for at in range(0, len(content), len(content) // 64)]
    return [piece for piece in pieces if len(set(piece)) > _CHUNK // 3]


def test_memory_goes_by_tls_where_both_hosts_have_certificates(fleet: Lab, world: RealWorld) -> None:
    outcome, capture = move(fleet, "auto")
    assert told(outcome) == ("transport: TLS — because kvm1 and kvm2 have certificates that they trust")
    assert capture.payload_bytes > 4 << 20 and not capture.found


def test_memory_is_seen_on_the_wire_only_where_the_inventory_allows_it(fleet: Lab, world: RealWorld) -> None:
    say(world, encryption=Encryption.NONE)
    outcome, capture = move(fleet, "plain")
    assert f"allows it on {fleet.subnet}" in told(outcome)
    assert capture.found, "what proves that the other tests would see it"


def expired(lab: Lab, pki: Path) -> None:
    tls.issue(authority(lab), pki, ["kvm2", lab.hosts["kvm2"].address], days=0)


def other_name(lab: Lab, pki: Path) -> None:
    tls.issue(authority(lab), pki, ["kvm9", "10.1.2.3"])


def no_key(lab: Lab, pki: Path) -> None:
    (pki / "server-key.pem").unlink()


def other_authority(lab: Lab, pki: Path) -> None:
    stranger = lab.directory.path / "stranger"
    tls.make_authority(stranger, "stranger")
    tls.issue(stranger, pki, ["kvm2", lab.hosts["kvm2"].address])


def other_key(lab: Lab, pki: Path) -> None:
    certificate = (pki / "server-cert.pem").read_bytes()
    expired(lab, pki)
    (pki / "server-cert.pem").write_bytes(certificate)


SPOILT = [
    (other_key, r"server-cert\.pem of kvm2 does not belong to /etc/libvirt/pki/server-key\.pem"),
    (expired, r"server-cert\.pem of kvm2 \(CN=kvm2\) ended on"),
    (other_name, r"server-cert\.pem of kvm2 is for kvm9, 10\.1\.2\.3, not for"),
    (no_key, r"kvm2 has no /etc/libvirt/pki/server-key\.pem; copy it there: `scp server-key\.pem root@kvm2:"),
    (other_authority, r"kvm1 does not trust /etc/libvirt/pki/server-cert\.pem of kvm2: CN=stranger"),
]


@pytest.mark.parametrize(("spoil", "said"), SPOILT)
def test_certificates_that_do_not_work_block_where_tls_is_required(
    fleet: Lab, world: RealWorld, pki: Path, spoil: Callable[[Lab, Path], None], said: str
) -> None:
    fleet.add_guest(GuestSpec(name="stays"))
    say(world, encryption=Encryption.TLS)
    spoil(fleet, pki)
    with fleet.watch("stays") as watch, pytest.raises(PreflightBlocked, match=said):
        migrate_vm(vm="stays", dest="kvm2")
    assert fleet.where("stays") == {"kvm1": "running"} and watch.alive_on("kvm1")
    assert not world.journal.recent(1)


def test_certificates_that_do_not_work_are_told_and_ssh_carries_the_memory(
    fleet: Lab, world: RealWorld, pki: Path
) -> None:
    expired(fleet, pki)
    outcome, capture = move(fleet, "falls-back")
    assert told(outcome).startswith("transport: tunnelled — because no TLS: /etc/libvirt/pki/server-cert.pem of kvm2")
    assert not capture.found
    plan = world.journal.find(outcome.run).plan
    assert [finding.rule for finding in plan.warnings if finding.rule == "tls-unused"]


def test_without_any_certificate_memory_goes_through_ssh_alone(fleet: Lab, world: RealWorld, pki: Path) -> None:
    mine = fleet.hosts["kvm1"].outer_path(PKI)
    for directory in (mine, pki):
        shutil.rmtree(directory)
    try:
        outcome, capture = move(fleet, "tunnelled")
    finally:
        tls.issue(authority(fleet), mine, ["kvm1", fleet.hosts["kvm1"].address])
    assert told(outcome) == "transport: tunnelled — because kvm1 and kvm2 have no certificates for TLS"
    assert capture.payload_bytes > 4 << 20 and not capture.found
    here, there = (fleet.hosts[name].address for name in ("kvm1", "kvm2"))
    between = {frozenset((a, b)) for a, a_port, b, b_port in capture.streams if 22 not in (a_port, b_port)}
    assert frozenset((here, there)) not in between


def test_parallel_connections_and_mirrored_disks_go_by_tls_by_whatever_name_the_certificate_has(
    fleet: Lab, world: RealWorld, pki: Path
) -> None:
    tls.issue(authority(fleet), pki, ["kvm2"])  # the migration address is not in it
    say(world, transport=TransportWish(connections=3))
    outcome, capture = move(fleet, "parallel", DiskKind.LOCAL)
    assert told(outcome).startswith("transport: TLS, 3 connections — because")
    here, there = (fleet.hosts[name].address for name in ("kvm1", "kvm2"))
    ports = Counter(ends[3] for ends in capture.streams if (ends[0], ends[2]) == (here, there) and ends[3] in _PORTS)
    # The disk's; QEMU's own for the VM's state, and three for pages.
    assert sorted(ports.values()) == [1, 1 + 3] and not capture.found


def test_what_cannot_be_had_is_refused_by_name(fleet: Lab, world: RealWorld) -> None:
    fleet.add_guest(GuestSpec(name="asks"))
    say(world, transport=TransportWish(connections=2, zero_copy=True))
    with pytest.raises(PreflightBlocked, match=r"zero_copy: true: memory that is encrypted is copied"):
        migrate_vm(vm="asks", dest="kvm2")
    assert fleet.where("asks") == {"kvm1": "running"}


class Late:
    """A host's libvirt; just before a move begins, something happens to the fleet."""

    def __init__(self, hypervisor: Hypervisor, event: Callable[[], None]) -> None:
        self._hypervisor = hypervisor
        self._event = event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hypervisor, name)

    def migrate(self, plan: MigrationPlan, *rest: Any) -> Any:
        self._event()
        return self._hypervisor.migrate(plan, *rest)


@pytest.mark.parametrize("spoil", [expired, other_authority])
def test_a_certificate_that_is_replaced_after_preflight_leaves_the_vm_where_it_runs(
    fleet: Lab,
    world: RealWorld,
    pki: Path,
    spoil: Callable[[Lab, Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = world.hypervisor
    monkeypatch.setattr(world, "hypervisor", lambda host: Late(real(host), lambda: spoil(fleet, pki)))
    fleet.add_guest(GuestSpec(name="late"))
    with fleet.watch("late") as watch, pytest.raises(LeftBehind):
        migrate_vm(vm="late", dest="kvm2")
    assert fleet.where("late") == {"kvm1": "running"}
    assert watch.alive_on("kvm1") and watch.overlap_s == 0 and watch.errors == 0
    assert not world.journal.unsettled()
    outcome = world.journal.recent(1)[0].outcome
    assert outcome is OutcomeKind.ROLLED_BACK
