"""Whether a host is as well after the work on it as it was before. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.host import Host, HostFacts
from vmferry.model.roll import BootFacts

_CLOCK_MS = 2000.0  # more, and TLS, tickets and the guests' clocks are in trouble


def unhealthy(
    host: Host, before: HostFacts, after: HostFacts, boot_before: BootFacts, boot_after: BootFacts, *, rebooted: bool
) -> tuple[str, ...]:
    """Return what is not as it should be, each with what to do; empty for a host that may have its VMs back."""
    return (
        *_boot(boot_before, boot_after, rebooted=rebooted),
        *_storage(host, before, after),
        *_pools(before, after),
        *_networks(before, after),
        *_clock(after),
        *_size(before, after),
    )


def _boot(before: BootFacts, after: BootFacts, *, rebooted: bool) -> Iterator[str]:
    if rebooted and before.boot_id == after.boot_id:
        yield f"it has not rebooted: its boot id is still {after.boot_id}"
    fresh = sorted(set(after.failed_units) - set(before.failed_units))
    if fresh:
        yield f"units have failed that had not before: {', '.join(fresh)}; look with `systemctl status {fresh[0]}`"


def _storage(host: Host, before: HostFacts, after: HostFacts) -> Iterator[str]:
    """Each directory with images lies on the file system that it lay on."""
    if not before.system.mounts:
        return
    for storage in host.storage:
        was, now = before.system.mount_of(storage.path), after.system.mount_of(storage.path)
        if was is None or (now is not None and (now.path, now.source) == (was.path, was.source)):
            continue
        there = f"{now.source} mounted at {now.path}" if now is not None else "nothing"
        yield (
            f"{storage.path} was on {was.source} mounted at {was.path}, and is on {there}; mount it: "
            f"`mount {was.path}`, and look into /etc/fstab"
        )


def _pools(before: HostFacts, after: HostFacts) -> Iterator[str]:
    active = {pool.name for pool in after.pools if pool.is_active}
    for pool in before.pools:
        if pool.is_active and pool.name not in active:
            yield f"storage pool {pool.name} is not active; start it: `virsh pool-start {pool.name}`"


def _networks(before: HostFacts, after: HostFacts) -> Iterator[str]:
    for name in sorted(set(before.networks) - set(after.networks)):
        yield f"network {name} is not active; start it: `virsh net-start {name}`"
    for name in sorted(set(before.bridges) - set(after.bridges)):
        yield f"bridge {name} is gone; look with `ip link show type bridge`"
    addresses = {address for link in after.system.links for address in link.addresses}
    for link in before.system.links:
        lost = [a for a in link.addresses if a not in addresses and not a.startswith("fe80:")]
        if lost:
            yield f"{link.name} has lost {', '.join(lost)}; look with `ip address show {link.name}`"


def _clock(after: HostFacts) -> Iterator[str]:
    clock = after.system.clock
    if clock is not None and abs(clock.offset_ms) - clock.error_ms > _CLOCK_MS:
        yield f"its clock is {clock.offset_ms / 1000:+.1f} s off; look with `chronyc tracking` or `timedatectl`"


def _size(before: HostFacts, after: HostFacts) -> Iterator[str]:
    """Memory or processors that are gone are a module or a kernel's option that is."""
    if after.cpus < before.cpus:
        yield f"it has {after.cpus} CPUs, and had {before.cpus}"
    if after.memory_total_kib < 0.95 * before.memory_total_kib:
        yield f"it has {after.memory_total_kib // 1024} MiB of memory, and had {before.memory_total_kib // 1024} MiB"
