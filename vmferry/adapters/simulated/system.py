"""What a simulated host's own system says, and what a new host says by default: Debian 12 with two networks."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from vmferry.adapters.simulated.state import SimHost
from vmferry.model.certificates import TlsFacts
from vmferry.model.facts import ClockReading, Link, Mount, OsRelease, Service, SshdLimits, SystemFacts

# The guests' network and the one that moves take; each host has one address in both.
GUESTS, MIGRATION = "eth0", "eth1"
DAEMON = "libvirtd.service"
# Half of the simulated call: what a clock cannot be read better than.
CLOCK_ERROR_MS = 5.0


def default_system(number: int, migration_address: str = "") -> SystemFacts:
    """Return the system of host `number` of a fleet, counted from 1; a name is no address for a device."""
    own = _address("10.1", number) if not _is_address(migration_address) else f"{migration_address}/24"
    return SystemFacts(
        os=OsRelease(id="debian", version_id="12", name="Debian GNU/Linux 12 (bookworm)"),
        services=(
            Service(name=DAEMON, is_active=True, is_enabled=True),
            Service(name="libvirtd.socket", is_active=True, is_enabled=True),
        ),
        sshd=SshdLimits(start=10, rate=30, full=100),
        clock=ClockReading(offset_ms=0.0, error_ms=CLOCK_ERROR_MS),
        tls=TlsFacts(),  # no certificates: memory is tunnelled
        links=(
            _link(GUESTS, 0, number, master="br0", speed_mbit_s=10_000, used_mbit_s=0.0),
            _link("br0", 0, number, kind="bridge", addresses=(_address("10.0", number), f"fe80::1:{number:x}/64")),
            _link(MIGRATION, 1, number, addresses=(own,), speed_mbit_s=10_000, used_mbit_s=0.0),
        ),
    )


def read_system(host: SimHost) -> SystemFacts:
    """Return the host's system as it is now: its mounts, and libvirtd that may be down."""
    system = host.system
    mounts: dict[str, Mount] = {path: space.mount(path) for path, space in host.mounts.items()}
    mounts |= {mount.path: mount for mount in system.mounts}
    services = tuple(_now(service, host) for service in system.services)
    return system.model_copy(update={"mounts": tuple(mounts[path] for path in sorted(mounts)), "services": services})


def _now(service: Service, host: SimHost) -> Service:
    if service.name != DAEMON or host.is_libvirtd_up:
        return service
    return service.model_copy(update={"is_active": False})


def _link(name: str, card: int, number: int, **facts: Any) -> Link:
    mac = f"52:54:{card:02x}:00:{number // 256:02x}:{number % 256:02x}"
    return Link(name=name, mtu=1500, mac=mac, **facts)


def _address(network: str, number: int) -> str:
    return f"{network}.{number // 250}.{number % 250 + 1}/16"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
