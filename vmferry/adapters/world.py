"""The real world: libvirt and ssh of every host of an inventory, one journal, the system's clock."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.libvirt_host import LibvirtHypervisor
from vmferry.adapters.power import SshPower, open_power
from vmferry.adapters.probes import ask_guest
from vmferry.adapters.share_journal import SqlShareJournal
from vmferry.adapters.sleep_journal import SqlSleepJournal
from vmferry.adapters.ssh_setup import SshSetup
from vmferry.adapters.ssh_tools import SshTools
from vmferry.adapters.usage_store import SqlUsage
from vmferry.errors import NotFound
from vmferry.model.host import Host, Inventory
from vmferry.model.probes import Probe
from vmferry.ports.power import Power
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
        self.usage = SqlUsage(self.journal.engine)
        self.clock = SystemClock()
        self._settings = settings
        self._lock = threading.Lock()
        self._hypervisors: dict[str, LibvirtHypervisor] = {}
        self._tools: dict[str, SshTools] = {}
        self._setups: dict[str, SshSetup] = {}
        self._shares: SqlShareJournal | None = None
        self._host_powers: dict[str, SshPower] = {}
        self._sleep: SqlSleepJournal | None = None

    @property
    def shares(self) -> SqlShareJournal:
        """Return the journal of shares; opened when it is asked for first."""
        with self._lock:
            if self._shares is None:
                self._shares = SqlShareJournal(self._settings.journal_url.get_secret_value())
            return self._shares

    @property
    def sleep(self) -> SqlSleepJournal:
        """Return the journal of hosts' power; opened when it is asked for first."""
        with self._lock:
            if self._sleep is None:
                self._sleep = SqlSleepJournal(self._settings.journal_url.get_secret_value())
            return self._sleep

    def power(self, host: str) -> Power:
        """Return what switches the host; raises InvalidInput where the inventory has nothing for it."""
        return open_power(self._entry(host))

    def host_power(self, host: str) -> SshPower:
        """Return what the host does with itself."""
        entry = self._entry(host)
        with self._lock:
            if host not in self._host_powers:
                self._host_powers[host] = SshPower(entry, self._settings, ssh_config=self.inventory.ssh_config)
            return self._host_powers[host]

    def setup(self, host: str) -> SshSetup:
        """Return what changes the host's configuration."""
        entry = self._entry(host)
        with self._lock:
            if host not in self._setups:
                self._setups[host] = SshSetup(entry, self._settings, ssh_config=self.inventory.ssh_config)
            return self._setups[host]

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
            adapters: list[LibvirtHypervisor | SshTools | SshSetup | SshPower] = [
                *self._hypervisors.values(),
                *self._tools.values(),
                *self._setups.values(),
                *self._host_powers.values(),
            ]
            self._hypervisors.clear()
            self._tools.clear()
            self._setups.clear()
            self._host_powers.clear()
            journals = [one for one in (self._shares, self._sleep) if one is not None]
            self._shares = self._sleep = None
        for adapter in adapters:
            adapter.close()
        for journal in journals:
            journal.close()
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
