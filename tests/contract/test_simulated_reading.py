"""What only the simulated fleet has of preflight's reading: conditions on demand, faults at every read, and speed."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.contract.contract_fleet import peer_of
from tests.contract.simulated_fleet import SimulatedUnderTest
from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import LOCAL, SHARED, Blow, Fault, FileSpace, SimulatedCrash, SimulatedFleet
from vmferry.errors import HostUnreachable, OutcomeUnknown, PermanentError, TransientError, VmferryError
from vmferry.model.facts import (
    BridgeQuestion,
    CpuFit,
    GuestCpu,
    HostCpu,
    HugePages,
    Link,
    OsRelease,
    Peer,
    Pool,
    SystemFacts,
)
from vmferry.rules.cpu import guest_cpu
from vmferry.steps.read import read_fleet
from vmferry.steps.read_pairs import read_all_pairs

MARKER = ".vmferry-marker-contract"
SHARED_MARKER = f"{SHARED}/{MARKER}"
CPU = "<cpu mode='custom'><model>EPYC</model></cpu>"


@pytest.fixture
def fleet() -> SimulatedFleet:
    return SimulatedFleet.of("a", "b", "c")


def system_of(fleet: SimulatedFleet, host: str) -> SystemFacts:
    return fleet.tools(host).read_system()


def peer(fleet: SimulatedFleet, host: str, **asked: object) -> Peer:
    entry = fleet.hosts[host].entry
    return Peer.model_validate({"host": host, "address": entry.migration_address, "uri": entry.peer_uri, **asked})


def bare(link: Link | None) -> tuple[str, ...]:
    assert link is not None
    return tuple(address.partition("/")[0] for address in link.addresses)


# conditions


def test_a_host_says_of_its_system_what_a_test_gave_it(fleet: SimulatedFleet) -> None:
    old = OsRelease(id="rhel", version_id="8.1", name="Red Hat Enterprise Linux 8.1 (Ootpa)")
    fleet.set_system("a", os=old, sshd=None, migration_ports=(50000, 50010))
    fleet.set_service("a", "libvirtd.service", is_enabled=False)
    fleet.shift_clock("a", -90)
    system = system_of(fleet, "a")
    assert (system.os, system.sshd, system.migration_ports) == (old, None, (50000, 50010))
    assert {s.name: (s.is_active, s.is_enabled) for s in system.services} == {
        "libvirtd.service": (True, False),
        "libvirtd.socket": (True, True),
    }
    assert system.clock is not None and system.clock.offset_ms == -90_000
    assert system_of(fleet, "b").os.id == "debian"


def test_systemd_tells_that_a_killed_libvirtd_is_not_active(fleet: SimulatedFleet) -> None:
    fleet.kill_libvirtd("a")
    assert system_of(fleet, "a").services[0].is_active is False


def test_what_no_host_has_is_not_given_to_it(fleet: SimulatedFleet) -> None:
    with pytest.raises(ValueError, match="colour"):
        fleet.set_system("a", colour="blue")
    with pytest.raises(ValueError, match="colour"):
        fleet.set_offer("a", colour="blue")


def test_libvirt_tells_what_a_test_gave_it(fleet: SimulatedFleet) -> None:
    pool, pages = Pool(name="images", kind="dir", target=LOCAL), HugePages(size_kib=2048, total=64, free=32)
    fleet.set_offer("a", pools=(pool,), hugepages=(pages,), firmware=None, cpu=HostCpu(model="Nehalem"))
    facts = fleet.hypervisor("a").read_host()
    assert (facts.pools, facts.hugepages, facts.firmware) == ((pool,), (pages,), None)
    assert facts.cpu is not None and facts.cpu.model == "Nehalem"


def test_the_default_vm_runs_on_every_host_but_on_one_without_its_cpu(fleet: SimulatedFleet) -> None:
    fleet.add_vm("a", "web")
    facts = fleet.hypervisor("a").read_host()
    asked = guest_cpu(facts.vms[0], facts)
    assert asked is not None
    fleet.set_offer("b", missing=("EPYC",))
    fleet.set_offer("c", models=("qemu64",))
    verdicts = [fleet.hypervisor(host).compare_cpus([asked])[asked.key] for host in ("a", "b", "c")]
    assert [verdict.fit for verdict in verdicts] == [CpuFit.SUPERSET, CpuFit.INCOMPATIBLE, CpuFit.FAILED]
    assert "EPYC" in verdicts[1].detail and "EPYC" in verdicts[2].detail


def test_a_path_that_takes_no_large_packets_is_found_between_two_hosts_only(fleet: SimulatedFleet) -> None:
    for name in ("a", "b", "c"):
        fleet.set_link(name, "eth1", mtu=9000)
    fleet.set_path_mtu("a", "b", 8000)
    seen = fleet.tools("a").probe_peers([peer(fleet, "b"), peer(fleet, "c")])
    paths = {name: reach.path_mtu for name, reach in seen.items()}
    assert {n: (p.mtu, p.full_size.is_ok) for n, p in paths.items() if p} == {"b": (9000, False), "c": (9000, True)}


def test_a_host_without_a_device_that_leads_out_reaches_nobody(fleet: SimulatedFleet) -> None:
    fleet.remove_link("a", "eth0", "eth1", "br0")
    reach = fleet.tools("a").probe_peers([peer(fleet, "b")])["b"]
    assert (reach.ping.is_ok, reach.path_mtu) == (False, None)


def test_bridges_of_two_names_are_two_networks_until_they_are_put_on_one(fleet: SimulatedFleet) -> None:
    fleet.set_link("b", "br7", kind="bridge", addresses=("fe80::7/64",))
    asked = BridgeQuestion(bridge="br0", dest_bridge="br7", targets=bare(system_of(fleet, "b").link("br7")))

    def is_same() -> bool | None:
        return fleet.tools("a").probe_peers([peer(fleet, "b", bridges=(asked,))])["b"].networks[0].is_same

    assert is_same() is False
    fleet.set_link("b", "br7", segment="br0")
    assert is_same() is True
    fleet.set_link("b", "br7", is_up=False)
    assert is_same() is False
    fleet.set_link("a", "br0", addresses=())
    assert is_same() is None


def test_no_marker_is_made_where_the_storage_is_mounted_read_only(fleet: SimulatedFleet) -> None:
    library = FileSpace(name="iso", is_shared=True, options=("ro", "vers=3"))
    for host in ("a", "b"):
        fleet.mount(host, "/srv/iso", library)
    assert fleet.tools("a").make_markers(["/srv/iso", SHARED], MARKER) == (SHARED,)
    mounts = [system_of(fleet, host).mount_of("/srv/iso/debian.iso") for host in ("a", "b")]
    assert mounts[0] == mounts[1]
    assert mounts[0] is not None and (mounts[0].is_nfs, mounts[0].source) == (True, "filer:/iso")


def test_a_device_has_the_identity_that_a_test_gave_it_and_a_file_has_none(fleet: SimulatedFleet) -> None:
    fleet.add_file("a", "/dev/vg/web", device_id="LVM-abc")
    fleet.add_file("a", f"{LOCAL}/web.raw")
    facts = fleet.tools("a").stat_files(["/dev/vg/web", f"{LOCAL}/web.raw"])
    assert [(f.is_block, f.device_id) for f in facts.values()] == [(True, "LVM-abc"), (False, "")]
    assert [f.path for f in fleet.tools("a").list_files(["/"])] == []  # neither devices nor other mounts
    assert [f.path for f in fleet.tools("a").list_files([LOCAL])] == [f"{LOCAL}/web.raw"]


def test_an_image_under_the_name_of_a_marker_is_missed_when_it_is_removed(fleet: SimulatedFleet) -> None:
    fleet.add_file("a", SHARED_MARKER)
    fleet.tools("b").remove_markers([SHARED], MARKER)
    assert [problem.subject for problem in fleet.problems()] == [SHARED_MARKER]


# faults


def markers(fleet: SimulatedFleet) -> set[str]:
    spaces = {space.name: space for host in fleet.hosts.values() for space in host.mounts.values()}
    return {path for space in spaces.values() for path in space.files if path.startswith(".vmferry-marker-")}


@pytest.mark.parametrize("op", ["make_markers", "remove_markers"])
@pytest.mark.parametrize(
    ("blow", "error", "has_effect"),
    [
        (Blow.TRANSIENT, TransientError, False),
        (Blow.PERMANENT, PermanentError, False),
        (Blow.CRASH_BEFORE, SimulatedCrash, False),
        (Blow.LOST_ANSWER, OutcomeUnknown, True),
        (Blow.CRASH_AFTER, SimulatedCrash, True),
    ],
)
def test_a_fault_strikes_before_or_after_a_marker_is_made_or_removed(
    fleet: SimulatedFleet, op: str, blow: Blow, error: type[BaseException], has_effect: bool
) -> None:
    tools = fleet.tools("a")
    if op == "remove_markers":
        tools.make_markers([SHARED], MARKER)
    fleet.inject(Fault(does=blow, op=op))
    with pytest.raises(error):
        getattr(tools, op)([SHARED], MARKER)
    assert bool(markers(fleet)) is (has_effect if op == "make_markers" else not has_effect)


def test_every_call_that_reads_for_preflight_is_in_the_log_with_its_faults(fleet: SimulatedFleet) -> None:
    for call in calls(fleet).values():
        call()
    log = fleet.operations()
    assert [(o.op, o.is_write) for o in log] == [(op, op.endswith("_markers")) for op in calls(fleet)]
    struck = {(fault.seq, fault.does) for fault in fleet.faults()}
    for operation in log:
        blows = {blow for seq, blow in struck if seq == operation.seq}
        assert blows >= {Blow.TRANSIENT, Blow.CRASH_BEFORE, Blow.POWER_CUT, Blow.ISOLATED}
        assert (Blow.CRASH_AFTER in blows) is operation.is_write


def test_every_fault_at_every_call_raises_and_leaves_the_next_host_alone() -> None:
    calm = SimulatedFleet.of("a", "b", "c")
    for call in calls(calm).values():
        call()
    silent = {Blow.LIBVIRTD_RESTARTED}  # the daemon is back before the call
    for fault in calm.faults():
        fleet = SimulatedFleet.of("a", "b", "c")
        fleet.inject(fault)
        try:
            for call in calls(fleet).values():
                call()
        except (VmferryError, SimulatedCrash):
            assert fault.does not in silent
        else:
            assert fault.does in silent, fault
        assert fleet.tools("b").read_system().os.is_known


def calls(fleet: SimulatedFleet) -> dict[str, Callable[[], object]]:
    """Return every call of a host's reading, by name, in an order that a batch may take."""
    tools, hypervisor = fleet.tools("a"), fleet.hypervisor("a")
    cpu = GuestCpu(xml=CPU, arch="x86_64", machine=None, domain_type="kvm")
    return {
        "read_host": hypervisor.read_host,
        "read_system": tools.read_system,
        "make_markers": lambda: tools.make_markers([SHARED, LOCAL], MARKER),
        "probe_peers": lambda: tools.probe_peers([peer(fleet, "b")]),
        "stat_files": lambda: tools.stat_files([SHARED_MARKER]),
        "compare_cpus": lambda: hypervisor.compare_cpus([cpu]),
        "list_files": lambda: tools.list_files([SHARED]),
        "remove_markers": lambda: tools.remove_markers([SHARED, LOCAL], MARKER),
    }


def test_a_source_that_lost_its_power_answers_no_read() -> None:
    under_test = SimulatedUnderTest()
    under_test.cut_power("kvm1")
    with pytest.raises(HostUnreachable):
        under_test.world.tools("kvm1").probe_peers([peer_of(under_test, "kvm2")])


# speed


def test_fifty_hosts_with_a_thousand_vms_are_built_and_read_in_seconds() -> None:
    started = time.process_time()
    fleet = SimulatedFleet.of(*(f"kvm{number}" for number in range(50)), memory_mib=262_144, cpus=64)
    for number in range(1000):
        fleet.add_vm(f"kvm{number % 50}", f"vm{number}")
    world = fleet.world(journal=SqlJournal("sqlite://"))
    snapshot = read_all_pairs(world, read_fleet(world))
    taken_s = time.process_time() - started
    assert [len(facts.vms) for facts in snapshot.hosts] == [20] * 50
    assert len(snapshot.pairs) == 50 * 49
    assert all(pair.libvirt.is_ok and pair.same_storage == (SHARED,) and pair.cpus for pair in snapshot.pairs)
    assert taken_s < 10  # 1.7 s here
