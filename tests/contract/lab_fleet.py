"""The contract's fleet on real libvirt hosts (`infra.lab`)."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

from infra.lab import DiskKind, GuestSpec, GuestState, Lab
from infra.lab.conditions import closed_ports, unplugged_bridge
from tests.contract.contract_fleet import BRIDGE, DEST, LOCAL, SHARED, SOURCE
from vmferry.adapters.world import open_world
from vmferry.inventory.load import load_inventory
from vmferry.model.vm import DomainState
from vmferry.ports import World
from vmferry.settings import Settings

_STATES = {
    DomainState.RUNNING: GuestState.RUNNING,
    DomainState.PAUSED: GuestState.PAUSED,
    DomainState.SHUTOFF: GuestState.SHUTOFF,
}
_DISKS = {None: DiskKind.NONE, SHARED: DiskKind.SHARED, LOCAL: DiskKind.LOCAL}


class LabUnderTest:
    """One test's use of a lab that lives for the session; `clean` leaves it as it was."""

    def __init__(self, lab: Lab, state_dir: Path) -> None:
        self._lab = lab
        self._names: dict[UUID, str] = {}
        self._conditions = ExitStack()
        settings = Settings(state_dir=state_dir, connect_timeout_s=5, call_timeout_s=45, progress_interval_s=0.2)
        self.world: World = open_world(load_inventory(lab.inventory_path), settings)

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
        """Make a guest; a busy one dirties 24 MiB at 2 MiB/s, a restless one 8 MiB at 40 MiB/s."""
        guest = GuestSpec(
            name=name,
            host=host,
            memory_mib=64,
            working_set_mib=24 if is_busy else 8,
            dirty_mib_s=40 if is_restless else 2 if is_busy else 0.4,
            disk=_DISKS[disk],
            disk_mib=8,
            disk_data_mib=2,
            state=_STATES[state],
            transient=not is_persistent,
        )
        self._lab.add_guest(guest)
        uuid = UUID(self._lab.hosts[host].virsh("domuuid", name))
        self._names[uuid] = name
        if is_busy:
            self.world.clock.sleep(3)  # let it touch its working set: zero pages travel for nothing
        return uuid

    def write_file(self, host: str, path: str, content: bytes) -> None:
        """Write a file from inside the host."""
        self._lab.hosts[host].run(["mkdir", "-p", str(Path(path).parent)])
        self._lab.hosts[host].run(["tee", path], input=content.decode())

    def read_file(self, host: str, path: str) -> bytes | None:
        """Return a file's content."""
        done = self._lab.hosts[host].run(["cat", path], check=False)
        return done.stdout.encode() if done.returncode == 0 else None

    def make_pool(self, host: str, name: str, directory: str) -> None:
        """Define and start a pool; it is gone after the test."""
        where = self._lab.hosts[host]
        where.run(["mkdir", "-p", directory])
        where.virsh("pool-create-as", name, "dir", "--target", directory)
        self._conditions.callback(where.virsh, "pool-destroy", name)

    def cut_power(self, host: str) -> None:
        """Cut a host's power."""
        self._lab.hosts[host].power_cut()

    def power_on(self, host: str) -> None:
        """Give it back."""
        self._lab.hosts[host].power_on()

    def isolate(self, host: str) -> None:
        """Unplug a host's cable."""
        self._lab.hosts[host].link_down()

    def unplug_bridge(self, host: str) -> None:
        """Take a host's bridge off the network that joins it to the others."""
        self._conditions.enter_context(unplugged_bridge(self._lab.hosts[host], BRIDGE))

    def close_ports(self, host: str, first: int, last: int) -> None:
        """Drop what arrives on these ports."""
        self._conditions.enter_context(closed_ports(self._lab.hosts[host], first, last))

    def set_mtu(self, host: str, mtu: int) -> None:
        """Change the MTU of the host's end of its cable."""
        change = ["ip", "link", "set", "eth0", "mtu"]
        self._lab.hosts[host].run([*change, str(mtu)])
        self._conditions.callback(self._lab.hosts[host].run, [*change, "1500"])

    def kill_qemu(self, host: str, uuid: UUID) -> None:
        """Kill a guest's QEMU."""
        self._lab.hosts[host].kill_qemu(self._names[uuid])

    def kill_libvirtd(self, host: str) -> None:
        """Kill libvirtd."""
        self._lab.hosts[host].kill_libvirtd()

    def start_libvirtd(self, host: str) -> None:
        """Start libvirtd."""
        self._lab.hosts[host].start_libvirtd()

    def clean(self) -> None:
        """Heal the hosts, and remove every guest, domain and file that the test made."""
        self.world.close()
        for host in self._lab.hosts.values():
            if not host.is_up:
                host.power_on()
            host.link_up()
            host.start_libvirtd()
        self._conditions.close()
        for host in self._lab.hosts.values():
            for name, state in host.list_domains().items():
                if state != "shut off":
                    host.virsh("destroy", name)
                host.run(["virsh", "-q", "undefine", name], check=False)
        for name in self._names.values():
            self._lab.remove_guest(name)
        for name in (SOURCE, DEST):
            for place in (SHARED, LOCAL):
                self._lab.hosts[name].run(["sh", "-c", f"rm -rf {place}/contract* {place}/.vmferry-contract"])
