"""What the contract suite needs of a fleet, whether simulated or real, and the helpers of its tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from vmferry.model.facts import BridgeQuestion, Peer
from vmferry.model.host import Host
from vmferry.model.migration import JobStats, MigrationMode, MigrationPlan
from vmferry.model.vm import DomainState
from vmferry.ports import World

SOURCE, DEST = "kvm1", "kvm2"
SHARED, LOCAL = "/srv/shared", "/var/lib/libvirt/images"
BRIDGE = "br0"


class FleetUnderTest(Protocol):
    """Two hosts, SOURCE and DEST, which share SHARED and have LOCAL each for itself; their BRIDGE is one network."""

    world: World

    def make_vm(
        self,
        name: str,
        *,
        host: str = SOURCE,
        state: DomainState = DomainState.RUNNING,
        is_persistent: bool = True,
        is_busy: bool = False,
        is_restless: bool = False,
        disk: str | None = None,
    ) -> UUID:
        """Make a VM; a busy one takes some seconds to move at 4 MiB/s, for ever at 1 MiB/s; `disk`: SHARED, LOCAL.

        A restless one writes 40 MiB/s to a working set of 8 MiB: at less bandwidth it never converges.
        """
        ...

    def write_file(self, host: str, path: str, content: bytes) -> None:
        """Write a file as somebody on the host would."""
        ...

    def read_file(self, host: str, path: str) -> bytes | None:
        """Return the content of a file; None when there is none."""
        ...

    def make_pool(self, host: str, name: str, directory: str) -> None:
        """Define and start a storage pool of type dir."""
        ...

    def cut_power(self, host: str) -> None:
        """Cut a host's power."""
        ...

    def power_on(self, host: str) -> None:
        """Give it back, and wait until libvirt answers."""
        ...

    def isolate(self, host: str) -> None:
        """Unplug a host's cable."""
        ...

    def unplug_bridge(self, host: str) -> None:
        """Put a host's BRIDGE, which stays up, on another network than the other hosts' BRIDGE."""
        ...

    def close_ports(self, host: str, first: int, last: int) -> None:
        """Let a host's firewall drop what arrives on these TCP ports."""
        ...

    def set_mtu(self, host: str, mtu: int) -> None:
        """Change the MTU of a host's device on the migration network."""
        ...

    def kill_qemu(self, host: str, uuid: UUID) -> None:
        """Kill a VM's QEMU."""
        ...

    def kill_libvirtd(self, host: str) -> None:
        """Kill libvirtd; the VMs run on."""
        ...

    def start_libvirtd(self, host: str) -> None:
        """Start it again."""
        ...


class WatcherGone(Exception):
    """Raised by a test's progress callback, as if the process that watches had ended."""


def ignore(_stats: JobStats) -> None:
    """Take a sample."""


def once(act: Callable[[], None]) -> Callable[[JobStats], None]:
    """Return a progress callback that acts once, as soon as memory travels: then both QEMUs are there."""
    has_acted: list[bool] = []

    def on_progress(stats: JobStats) -> None:
        if stats.data_processed_bytes > 0 and not has_acted:
            has_acted.append(True)
            act()

    return on_progress


def plan_of(
    fleet: FleetUnderTest,
    uuid: UUID,
    *,
    mode: MigrationMode = MigrationMode.LIVE,
    bandwidth_mib_s: int | None = None,
    deadline_s: float = 120,
    dest_xml: str | None = None,
    dest_persistent_xml: str | None = None,
) -> MigrationPlan:
    """Plan a move of a VM from SOURCE to DEST, without preflight."""
    vm = fleet.world.hypervisor(SOURCE).read_host().find_vm(str(uuid))
    dest = entry_of(fleet, DEST)
    assert vm is not None
    return MigrationPlan(
        run="contract",
        vm=vm.name,
        uuid=uuid,
        source=SOURCE,
        dest=DEST,
        mode=mode,
        mode_reason="asked for",
        state_before=vm.state,
        is_persistent=vm.is_persistent,
        is_autostart=vm.is_autostart,
        memory_kib=vm.memory_kib,
        reserved_kib=0,
        dest_xml=dest_xml,
        dest_persistent_xml=dest_persistent_xml,
        encryption=dest.encryption,
        peer_uri=dest.peer_uri,
        migration_uri=f"tcp://{dest.migration_address}",
        bandwidth_mib_s=bandwidth_mib_s,
        deadline_s=deadline_s,
    )


def entry_of(fleet: FleetUnderTest, host: str) -> Host:
    """Return a host's inventory entry."""
    entry = fleet.world.inventory.find(host)
    assert entry is not None
    return entry


def peer_of(
    fleet: FleetUnderTest, host: str, *, ports: tuple[int, ...] = (), bridges: tuple[BridgeQuestion, ...] = ()
) -> Peer:
    """Return what another host is asked to try of this one."""
    entry = entry_of(fleet, host)
    return Peer(host=host, address=entry.migration_address, uri=entry.peer_uri, ports=ports, bridges=bridges)


def words(fleet: FleetUnderTest, uuid: UUID) -> tuple[str, str]:
    """Return how the VM stands at SOURCE and at DEST, in virsh's words."""
    source, dest = (fleet.world.hypervisor(host).look(uuid) for host in (SOURCE, DEST))
    return source.words(), dest.words()


def wait_for(fleet: FleetUnderTest, is_true: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait until something is true; fails when it does not come true in time."""
    clock = fleet.world.clock
    start = clock.now()
    while not is_true():
        assert (clock.now() - start).total_seconds() < timeout_s, "waited in vain"
        clock.sleep(0.2)
