"""What stands against switching a host off, and against giving it VMs after it was woken; pure."""

from __future__ import annotations

from collections.abc import Iterable

from vmferry.model.host import Cordon, Host, HostFacts
from vmferry.model.journal import RunRecord
from vmferry.model.power import MachineIdentity, PowerControl, PowerDriver, PowerReading, PowerState


def emptiness_problems(
    facts: HostFacts, host: str, cordons: Iterable[Cordon], open_runs: Iterable[RunRecord]
) -> tuple[str, ...]:
    """Say why a host is not provably empty: it has domains, may get some, or a run has it in work."""
    found = []
    if facts.vms:
        names = ", ".join(f"{vm.name} ({vm.state})" for vm in facts.vms[:10])
        found.append(f"it has {len(facts.vms)} VMs: {names}; `vmferry evacuate {host}` empties it")
    if all(cordon.host != host for cordon in cordons):
        found.append(f"it is open for arrivals: `vmferry cordon {host}` first")
    for record in open_runs:
        if host in (record.plan.source, record.plan.dest):
            found.append(f"run {record.run} of vm {record.plan.vm} is not settled: `vmferry recover`")
    return tuple(found)


def controller_problem(host: str, control: PowerControl, reading: PowerReading, identity: MachineIdentity) -> str:
    """Say why the machine behind a controller cannot be taken for the host; empty when it is.

    A packet and a command have no identity of their own: the host switches itself off, and has to come back by them in
    the wake test before it may sleep.
    """
    if reading.state is PowerState.OFF:
        return (
            f"host {host}: answers, but its controller says that it is off: that is another machine's; check `power:`"
        )
    if control.driver not in (PowerDriver.REDFISH, PowerDriver.IPMI):
        return ""
    if {identity.uuid, control.uuid} & set(reading.uuids):
        return ""
    if reading.serial and reading.serial == identity.serial:
        return ""
    shown = ", ".join(map(str, reading.uuids)) or "no UUID"
    return (
        f"host {host}: is machine {identity.uuid or 'without UUID'} (serial {identity.serial or 'unknown'}), the one "
        f"behind {control.address} is {shown} (serial {reading.serial or 'unknown'}); nothing is switched. Correct "
        "`power:`, or where the controller gives its machine another UUID, write that one as `uuid:`"
    )


def gate_problems(entry: Host, facts: HostFacts) -> tuple[str, ...]:
    """Say what is missing before a woken host may get VMs: its storage and the service that starts it again."""
    found = [
        f"{storage.path} is not there" for storage in entry.storage if storage.path not in facts.storage_free_bytes
    ]
    mounts = {mount.path for mount in facts.system.mounts}
    found += [
        f"{storage.path} is not mounted"
        for storage in entry.storage
        if storage.shared and mounts and not any(_holds(path, storage.path) for path in mounts)
    ]
    services = {service.name: service for service in facts.system.services}
    active = [name for name, service in services.items() if service.is_active is not False]
    if services and not active:
        found.append(f"none of {', '.join(services)} is active")
    return tuple(found)


def _holds(mount: str, path: str) -> bool:
    return mount != "/" and (path == mount or path.startswith(f"{mount.rstrip('/')}/"))
