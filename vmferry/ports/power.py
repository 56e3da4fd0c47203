"""Power of hosts: one port, whatever switches them, and the journal of who sleeps."""

from __future__ import annotations

from typing import Protocol

from vmferry.model.power import MachineIdentity, PowerReading, PowerState, SleepRecord
from vmferry.ports.world import World


class Power(Protocol):
    """What switches one host. Every call is bounded in time; secrets are never on a command line."""

    host: str

    def read(self) -> PowerReading:
        """Read the state, and which machine it is; raises TransientError when the controller does not answer."""
        ...

    def state(self) -> PowerState:
        """Read the state alone, which may be asked every few seconds; raises as `read` does."""
        ...

    def on(self) -> None:
        """Switch it on; no-op when it is on. Returns before it has started."""
        ...


class HostPower(Protocol):
    """A host switches itself off, which the right host does by its nature."""

    host: str

    def identify(self) -> MachineIdentity:
        """Read which machine the host is."""
        ...

    def power_off(self) -> None:
        """Shut the host down in good order (`systemctl poweroff`); returns before it is off."""
        ...


class SleepJournal(Protocol):
    """Durable memory of hosts' power; every write is on disk when the call returns."""

    def sleepers(self) -> tuple[SleepRecord, ...]:
        """Return every host that was ever switched, by name."""
        ...

    def write(self, record: SleepRecord) -> None:
        """Replace what is known of a host."""
        ...


class PowerWorld(World, Protocol):
    """A world in which hosts may be switched."""

    @property
    def sleep(self) -> SleepJournal:
        """The durable memory of hosts' power."""
        ...

    def power(self, host: str) -> Power:
        """Return what switches a host; raises InvalidInput when the inventory has nothing for it."""
        ...

    def host_power(self, host: str) -> HostPower:
        """Return what a host does with itself."""
        ...
