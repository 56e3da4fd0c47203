"""The real world: libvirt and ssh of every host of an inventory, one journal, the system's clock."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.libvirt_host import LibvirtHypervisor
from vmferry.adapters.probes import ask_guest
from vmferry.adapters.ssh_tools import SshTools
from vmferry.errors import NotFound
from vmferry.model.host import Host, Inventory
from vmferry.model.probes import Probe
from vmferry.settings import Settings


class SystemClock:
    """`vmferry.ports.Clock` on the machine's clock."""

    def now(self) -> datetime:
        """Return the present, UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class RealWorld:
    """`vmferry.ports.World`; adapters are made at first use and reused by all threads."""

    def __init__(self, inventory: Inventory, settings: Settings) -> None:
        self.inventory = inventory
        self.journal = SqlJournal(settings.journal_url.get_secret_value())
        self.clock = SystemClock()
        self._settings = settings
        self._lock = threading.Lock()
        self._hypervisors: dict[str, LibvirtHypervisor] = {}
        self._tools: dict[str, SshTools] = {}

    def hypervisor(self, host: str) -> LibvirtHypervisor:
        """Return the host's libvirt."""
        entry = self._entry(host)
        with self._lock:
            if host not in self._hypervisors:
                self._hypervisors[host] = LibvirtHypervisor(entry, self._settings)
            return self._hypervisors[host]

    def tools(self, host: str) -> SshTools:
        """Return the host's ssh tools."""
        entry = self._entry(host)
        with self._lock:
            if host not in self._tools:
                self._tools[host] = SshTools(entry, self._settings, ssh_config=self.inventory.ssh_config)
            return self._tools[host]

    def ask_guest(self, probe: Probe) -> str:
        """Ask a guest over the network."""
        return ask_guest(probe)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            adapters: list[LibvirtHypervisor | SshTools] = [*self._hypervisors.values(), *self._tools.values()]
            self._hypervisors.clear()
            self._tools.clear()
        for adapter in adapters:
            adapter.close()
        self.journal.close()

    def _entry(self, host: str) -> Host:
        entry = self.inventory.find(host)
        if entry is None:
            raise NotFound(
                f"host {host}: not in the inventory {self.inventory.path or ''} ({', '.join(self.inventory.names())})",
                host=host,
            )
        return entry


def open_world(inventory: Inventory, settings: Settings) -> RealWorld:
    """Return the real world; nothing is connected before it is used."""
    return RealWorld(inventory, settings)
