"""The contract's fleet on `vmferry.adapters.simulated`."""

from __future__ import annotations

from uuid import UUID

from tests.contract.contract_fleet import BRIDGE, DEST, LOCAL, SHARED, SOURCE
from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import SimulatedFleet, host_entry
from vmferry.model.facts import Pool
from vmferry.model.host import Host, Inventory, Storage
from vmferry.model.vm import DomainState
from vmferry.ports import World

PLACES = (Storage(path=SHARED, shared="lab-shared", locks=True), Storage(path=LOCAL))


def _entry(name: str, address: str) -> Host:
    return host_entry(name, storage=PLACES).model_copy(update={"migration_address": address})


class SimulatedUnderTest:
    """A fleet in memory."""

    def __init__(self) -> None:
        entries = tuple(_entry(name, f"10.77.0.{number}") for number, name in enumerate((SOURCE, DEST), start=11))
        self.fleet = SimulatedFleet(Inventory(hosts=entries))
        self.world: World = self.fleet.world(journal=SqlJournal("sqlite://"))

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
        """Make a VM; all need memory ÷ bandwidth of simulated time."""
        disks = () if disk is None else (f"{disk}/{name}.raw",)
        return self.fleet.add_vm(
            host,
            name,
            memory_mib=64,
            disks=disks,
            state=state,
            is_persistent=is_persistent,
            bridge=None,
            dirty_mib_s=40.0 if is_restless else 0.0,
            working_set_mib=8,
            load_cpus=0.5 if is_restless else 0.01,
        )

    def write_file(self, host: str, path: str, content: bytes) -> None:
        """Write a file."""
        self.fleet.add_file(host, path, content)

    def read_file(self, host: str, path: str) -> bytes | None:
        """Return a file's content."""
        file = self.fleet.hosts[host].file(path)
        return None if file is None else file.content

    def make_pool(self, host: str, name: str, directory: str) -> None:
        """Offer a pool."""
        self.fleet.set_offer(host, pools=(Pool(name=name, kind="dir", target=directory),))

    def cut_power(self, host: str) -> None:
        """Cut a host's power."""
        self.fleet.cut_power(host)

    def power_on(self, host: str) -> None:
        """Give it back."""
        self.fleet.power_on(host)

    def isolate(self, host: str) -> None:
        """Cut all links of a host."""
        for other in self.fleet.hosts:
            if other != host:
                self.fleet.cut_link(host, other)
        self.fleet.cut_link(host)

    def unplug_bridge(self, host: str) -> None:
        """Put a host's bridge on a network of its own."""
        self.fleet.set_link(host, BRIDGE, segment=f"{BRIDGE} of {host}")

    def close_ports(self, host: str, first: int, last: int) -> None:
        """Filter ports."""
        self.fleet.filter_ports(host, *range(first, last + 1))

    def set_mtu(self, host: str, mtu: int) -> None:
        """Change a device's MTU."""
        self.fleet.set_link(host, "eth1", mtu=mtu)

    def kill_qemu(self, host: str, uuid: UUID) -> None:
        """Kill a VM's QEMU."""
        self.fleet.kill_qemu(host, uuid)

    def kill_libvirtd(self, host: str) -> None:
        """Kill libvirtd."""
        self.fleet.kill_libvirtd(host)

    def start_libvirtd(self, host: str) -> None:
        """Start libvirtd."""
        self.fleet.start_libvirtd(host)
