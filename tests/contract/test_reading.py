"""Contract of what preflight reads: a host's own system, what it sees of its peers, which CPUs it can run."""

from __future__ import annotations

from ipaddress import ip_interface

from tests.contract.contract_fleet import (
    BRIDGE,
    DEST,
    LOCAL,
    SHARED,
    SOURCE,
    FleetUnderTest,
    entry_of,
    peer_of,
    wait_for,
)
from vmferry.model.facts import BridgeQuestion, CpuFit, GuestCpu, Link, Peer, PeerReach, SystemFacts

PORTS = (49152, 49153, 49215)
QEMU64 = "<cpu mode='custom' match='exact'><model fallback='allow'>qemu64</model>{}</cpu>"
# RFC 5737 and RFC 6761: nobody has these.
NOBODY = Peer(host="nobody", address="192.0.2.1", uri="qemu+ssh://root@contract.invalid/system", ports=PORTS)


def system_of(fleet: FleetUnderTest, host: str) -> SystemFacts:
    return fleet.world.tools(host).read_system()


def bridge_of(fleet: FleetUnderTest, host: str) -> Link:
    link = system_of(fleet, host).link(BRIDGE)
    assert link is not None
    return link


def reach(fleet: FleetUnderTest, peer: Peer) -> PeerReach:
    return fleet.world.tools(SOURCE).probe_peers([peer])[peer.host]


def question(fleet: FleetUnderTest) -> BridgeQuestion:
    """Ask for DEST's bridge; an IPv6 address is tentative in the first second of a device, and does not count yet."""
    wait_for(fleet, lambda: all(bridge_of(fleet, host).addresses for host in (SOURCE, DEST)))
    there = bridge_of(fleet, DEST)
    targets = tuple(str(ip_interface(address).ip) for address in there.addresses)
    return BridgeQuestion(bridge=BRIDGE, dest_bridge=BRIDGE, targets=targets, mac=there.mac)


# the host's own system


def test_a_system_has_a_name_and_a_version(fleet: FleetUnderTest) -> None:
    system = system_of(fleet, SOURCE)
    assert system.os.is_known
    assert system.os.version_id
    assert system.os.id in system.os.name.lower()


def test_a_clock_that_is_right_is_read_as_right_within_the_error_that_is_told(fleet: FleetUnderTest) -> None:
    clock = system_of(fleet, SOURCE).clock
    assert clock is not None
    assert abs(clock.offset_ms) <= clock.error_ms < 1000


def test_the_device_with_the_migration_address_is_among_the_devices(fleet: FleetUnderTest) -> None:
    links = system_of(fleet, SOURCE).links
    address = entry_of(fleet, SOURCE).migration_address
    (device,) = (link for link in links if any(str(ip_interface(a).ip) == address for a in link.addresses))
    assert (device.mtu, device.is_up) == (1500, True)
    assert device.mac is not None
    fleet.set_mtu(SOURCE, 1400)
    changed = system_of(fleet, SOURCE).link(device.name)
    assert changed is not None
    assert changed.mtu == 1400


def test_a_bridge_is_a_device_of_its_kind_and_its_ports_name_it(fleet: FleetUnderTest) -> None:
    bridge = bridge_of(fleet, SOURCE)
    assert (bridge.kind, bridge.mtu, bridge.is_up, bridge.has_vlan_filtering) == ("bridge", 1500, True, False)
    assert bridge.addresses
    assert [link for link in system_of(fleet, SOURCE).links if link.master == BRIDGE]


def test_a_path_is_found_on_its_mount(fleet: FleetUnderTest) -> None:
    source, dest = system_of(fleet, SOURCE), system_of(fleet, DEST)
    mounts = [system.mount_of(f"{SHARED}/one.raw") for system in (source, dest)]
    assert [mount.path for mount in mounts if mount is not None] == [SHARED, SHARED]
    local = source.mount_of(f"{LOCAL}/one.raw")
    assert local is not None
    assert LOCAL.startswith(local.path)
    assert "rw" in local.options


def test_the_limits_of_sshd_and_the_ports_of_migrations_are_told(fleet: FleetUnderTest) -> None:
    system = system_of(fleet, SOURCE)
    assert system.sshd is not None
    assert 0 < system.sshd.start <= system.sshd.full
    assert system.migration_ports == (49152, 49215)


# what it sees of its peers


def test_a_sound_peer_answers_everything(fleet: FleetUnderTest) -> None:
    seen = reach(fleet, peer_of(fleet, DEST, ports=PORTS, bridges=(question(fleet),)))
    assert seen.ping.is_ok, seen.ping.detail
    assert seen.libvirt.is_ok, seen.libvirt.detail
    assert seen.ports is not None and seen.ports.is_ok, seen.ports
    assert seen.path_mtu is not None and seen.path_mtu.full_size.is_ok, seen.path_mtu
    way = system_of(fleet, SOURCE).link(seen.path_mtu.device)
    assert way is not None
    assert way.mtu == seen.path_mtu.mtu == 1500


def test_a_peer_that_does_not_exist_hides_none_that_does(fleet: FleetUnderTest) -> None:
    answers = fleet.world.tools(SOURCE).probe_peers([NOBODY, peer_of(fleet, DEST)])
    assert set(answers) == {"nobody", DEST}
    nobody = answers["nobody"]
    assert nobody.ports is not None
    for missed in (nobody.ping, nobody.libvirt, nobody.ports):
        assert not missed.is_ok
        assert missed.detail
    assert nobody.path_mtu is None or not nobody.path_mtu.full_size.is_ok
    assert answers[DEST].ping.is_ok and answers[DEST].libvirt.is_ok


def test_no_peers_and_no_ports_are_not_tried(fleet: FleetUnderTest) -> None:
    assert fleet.world.tools(SOURCE).probe_peers([]) == {}
    assert reach(fleet, peer_of(fleet, DEST)).ports is None
    assert reach(fleet, peer_of(fleet, DEST)).networks == ()


def test_a_port_that_a_firewall_drops_is_named_and_the_rest_answers(fleet: FleetUnderTest) -> None:
    fleet.close_ports(DEST, 49200, 49215)
    seen = reach(fleet, peer_of(fleet, DEST, ports=PORTS))
    assert seen.ports is not None
    assert not seen.ports.is_ok
    assert "49215" in seen.ports.detail
    assert "49152" not in seen.ports.detail
    assert seen.ping.is_ok and seen.libvirt.is_ok
    open_ones = reach(fleet, peer_of(fleet, DEST, ports=PORTS[:2])).ports
    assert open_ones is not None and open_ones.is_ok


def test_a_packet_of_full_size_that_is_dropped_is_noticed_though_small_ones_pass(fleet: FleetUnderTest) -> None:
    fleet.set_mtu(DEST, 1400)
    seen = reach(fleet, peer_of(fleet, DEST))
    assert seen.ping.is_ok
    assert seen.path_mtu is not None
    assert seen.path_mtu.mtu == 1500
    assert not seen.path_mtu.full_size.is_ok
    assert seen.path_mtu.full_size.detail


def test_a_smaller_device_at_the_source_sends_smaller_packets_that_pass(fleet: FleetUnderTest) -> None:
    fleet.set_mtu(SOURCE, 1400)
    path = reach(fleet, peer_of(fleet, DEST)).path_mtu
    assert path is not None
    assert (path.mtu, path.full_size.is_ok) == (1400, True)


def test_a_peer_without_power_answers_nothing(fleet: FleetUnderTest) -> None:
    peer = peer_of(fleet, DEST, ports=PORTS, bridges=(question(fleet),))
    fleet.cut_power(DEST)
    seen = reach(fleet, peer)
    assert not seen.ping.is_ok and not seen.libvirt.is_ok
    assert seen.ports is not None and not seen.ports.is_ok
    assert seen.path_mtu is not None and not seen.path_mtu.full_size.is_ok
    assert [network.is_same for network in seen.networks] == [False]


# networks


def test_two_bridges_of_one_network_find_each_other(fleet: FleetUnderTest) -> None:
    (network,) = reach(fleet, peer_of(fleet, DEST, bridges=(question(fleet),))).networks
    assert (network.bridge, network.dest_bridge, network.is_same) == (BRIDGE, BRIDGE, True), network
    assert network.detail


def test_an_answer_of_another_device_proves_nothing(fleet: FleetUnderTest) -> None:
    asked = question(fleet).model_copy(update={"mac": "52:54:00:00:00:99"})
    (network,) = reach(fleet, peer_of(fleet, DEST, bridges=(asked,))).networks
    assert network.is_same is None, network
    assert "52:54:00:00:00:99" in network.detail


def test_two_bridges_of_one_name_on_two_networks_do_not_find_each_other(fleet: FleetUnderTest) -> None:
    asked = question(fleet)
    fleet.unplug_bridge(DEST)
    (network,) = reach(fleet, peer_of(fleet, DEST, bridges=(asked,))).networks
    assert network.is_same is False, network
    assert network.detail


def test_what_was_on_the_network_a_moment_ago_is_not_believed_to_be_there(fleet: FleetUnderTest) -> None:
    peer = peer_of(fleet, DEST, bridges=(question(fleet),))
    assert reach(fleet, peer).networks[0].is_same is True
    fleet.unplug_bridge(DEST)
    assert reach(fleet, peer).networks[0].is_same is False


def test_a_bridge_without_an_address_cannot_be_tried(fleet: FleetUnderTest) -> None:
    asked = BridgeQuestion(bridge=BRIDGE, dest_bridge=BRIDGE, targets=())
    (network,) = reach(fleet, peer_of(fleet, DEST, bridges=(asked,))).networks
    assert network.is_same is None
    assert network.detail


def test_a_bridge_that_is_not_there_proves_nothing(fleet: FleetUnderTest) -> None:
    asked = question(fleet).model_copy(update={"bridge": "contract9"})
    (network,) = reach(fleet, peer_of(fleet, DEST, bridges=(asked,))).networks
    assert network.is_same is None
    assert network.detail


# CPUs


def cpu_of(fleet: FleetUnderTest, xml: str, *, machine: str = "pc-i440fx-7.2") -> GuestCpu:
    kind = "kvm" if "kvm" in entry_of(fleet, DEST).hypervisors else "qemu"
    return GuestCpu(xml=xml, arch="x86_64", machine=machine, domain_type=kind)


def test_a_cpu_that_can_be_run_and_one_that_cannot_are_told_apart(fleet: FleetUnderTest) -> None:
    good = cpu_of(fleet, QEMU64.format(""))
    bad = cpu_of(fleet, QEMU64.format("<feature policy='require' name='avx512f'/>"))
    verdicts = fleet.world.hypervisor(DEST).compare_cpus([good, bad])
    assert verdicts[good.key].fit in (CpuFit.IDENTICAL, CpuFit.SUPERSET), verdicts
    assert verdicts[bad.key].fit is CpuFit.INCOMPATIBLE
    assert verdicts[bad.key].detail == "Host CPU does not provide required features: avx512f"


def test_what_cannot_be_compared_fails_with_words_and_hides_no_other(fleet: FleetUnderTest) -> None:
    good = cpu_of(fleet, QEMU64.format(""))
    nonsense = {
        "<cpu": "",
        "<domain/>": "expected 'cpu' element",
        "<cpu><model>Turboencabulator</model></cpu>": "Unknown CPU model Turboencabulator",
        "<cpu mode='host-passthrough'/>": "mode host-passthrough",
    }
    asked = {cpu_of(fleet, xml).key: (cpu_of(fleet, xml), words) for xml, words in nonsense.items()}
    elsewhere = cpu_of(fleet, QEMU64.format(""), machine="pc-q35-99.9")
    asked[elsewhere.key] = (elsewhere, "'pc-q35-99.9' is not supported")
    verdicts = fleet.world.hypervisor(DEST).compare_cpus([*(cpu for cpu, _ in asked.values()), good, good])
    assert set(verdicts) == {*asked, good.key}
    assert verdicts[good.key].fit is not CpuFit.FAILED
    for key, (_, words) in asked.items():
        assert verdicts[key].fit is CpuFit.FAILED
        assert verdicts[key].detail
        assert words in verdicts[key].detail


def test_no_cpus_are_not_compared(fleet: FleetUnderTest) -> None:
    assert fleet.world.hypervisor(DEST).compare_cpus([]) == {}
