"""VMs that the fleet knows more than once: running twice, defined twice, left paused, one name or one disk for two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import UUID

from vmferry.model.audit import DomainTrouble, Trouble
from vmferry.model.vm import Disk, DiskKind, DomainState, Vm
from vmferry.planning.places import Key, Places
from vmferry.rules.case import Fleet, volume_path
from vmferry.rules.sharing import is_media

Twins = dict[str, Vm]  # host → the domain there

_ASLEEP = (DomainState.PAUSED, DomainState.PMSUSPENDED)
# A VM that waits for the end of a migration (virsh domstate --reason).
_OF_A_MIGRATION = ("migrating", "post-copy", "post-copy failed")


def runs(vm: Vm) -> bool:
    """Whether its CPUs may be running: active, and neither paused nor suspended."""
    return vm.is_active and vm.state not in _ASLEEP


def find_doubles(fleet: Fleet) -> tuple[DomainTrouble, ...]:
    """Return what is wrong with domains across hosts, most dangerous first, then by name. Reads only.

    What an open run, another vmferry's mark or a migration under way explains is not told; two running copies are.
    """
    by_uuid = _by_uuid(fleet)
    found = [trouble for uuid, twins in by_uuid.items() for trouble in _of_one(fleet, uuid, twins)]
    found += [*_names(fleet), *_disks(fleet)]
    order = list(Trouble)
    return tuple(sorted(found, key=lambda t: (order.index(t.kind), t.vm, t.uuid or "")))


def suspicious(fleet: Fleet) -> dict[UUID, Twins]:
    """Return the VMs that may be an alarm: hosts are read one after the other, so look at them again."""
    active = {u: {h: vm for h, vm in twins.items() if vm.is_active} for u, twins in _by_uuid(fleet).items()}
    paused = {u: t for u, t in active.items() if any(_waits_for_a_migration(vm) for vm in t.values())}
    return paused | {u: t for u, t in active.items() if len(t) > 1}


def _by_uuid(fleet: Fleet) -> dict[UUID, Twins]:
    found: dict[UUID, Twins] = {}
    for host, side in fleet.sides.items():
        for vm in side.facts.vms:
            found.setdefault(vm.uuid, {})[host] = vm
    return found


def _where(twins: Mapping[str, Vm]) -> str:
    return ", ".join(f"{h} ({vm.state}{f', {vm.state_reason}' if vm.state_reason else ''})" for h, vm in twins.items())


def _of_one(fleet: Fleet, uuid: UUID, twins: Twins) -> Iterator[DomainTrouble]:
    """Yield at most one trouble of one UUID: the worst."""
    active = {host: vm for host, vm in twins.items() if vm.is_active}
    running = {host: vm for host, vm in active.items() if runs(vm)}
    name, run = next(iter(twins.values())).name, fleet.snapshot.open_runs.get(str(uuid))
    if len(running) > 1:
        yield _alarm(fleet, uuid, running)
        return
    if run is not None or _is_moving(active) or _in_other_hands(fleet, twins):
        return
    if len(active) > 1:
        text = (
            f"ALARM: vm {name} has a QEMU process on {_where(active)}; no run of vmferry and no migration job explains "
            f"it{_left_by(twins)}, so a broken move left it; resume none of them, look with `virsh domjobinfo` and "
            "`virsh domstate --reason` on each, then destroy the one that never ran"
        )
        yield _trouble(Trouble.ACTIVE_TWICE, uuid, twins, text)
    elif any(_is_left_paused(vm) for vm in active.values()):
        text = (
            f"ALARM: vm {name} is {_where(active)} and belongs to nobody: no run of this vmferry is open for it, no "
            f"job runs{_left_by(twins)}; it serves nobody; look for its other half on every host (`virsh domstate "
            f"--reason {name}`) before it is resumed: where a copy runs, destroy this one"
        )
        yield _trouble(Trouble.LEFT_PAUSED, uuid, twins, text)
    elif len(twins) > 1:
        yield _defined_twice(fleet, uuid, twins, active)
    elif _left_by(twins):
        text = f"vm {name} is {_where(twins)}{_left_by(twins)}; `vmferry check {name}` tells what to do"
        yield _trouble(Trouble.MARK_LEFT, uuid, twins, text)


def _alarm(fleet: Fleet, uuid: UUID, running: Twins) -> DomainTrouble:
    names = " / ".join(dict.fromkeys(vm.name for vm in running.values()))
    run = fleet.snapshot.open_runs.get(str(uuid))
    text = (
        f"ALARM: vm {names} ({uuid}) runs on {_where(running)}: two copies may be writing to one disk"
        f"{f' (run {run})' if run else ''}; start and resume nothing; find out which one its users see, save what the "
        "other one has written, then `virsh destroy` that one"
    )
    return _trouble(Trouble.RUNS_TWICE, uuid, running, text)


def _is_moving(active: Twins) -> bool:
    """Whether somebody else's migration explains two QEMU processes: one has a job, the rest wait paused."""
    waiting = [vm for vm in active.values() if _waits_for_a_migration(vm) and not _is_left_paused(vm)]
    if waiting:
        return True  # an incoming copy, or a source at its switch-over
    jobs = [host for host, vm in active.items() if vm.has_active_job and vm.state is not DomainState.PAUSED]
    return len(jobs) == 1 and all(vm.state is DomainState.PAUSED for host, vm in active.items() if host not in jobs)


def _is_left_paused(vm: Vm) -> bool:
    """Whether a migration has stopped its CPUs and is not there any more; what broke off keeps its job for ever."""
    is_broken = vm.state_reason == "post-copy failed"
    return _waits_for_a_migration(vm) and (is_broken or not vm.has_active_job)


def _waits_for_a_migration(vm: Vm) -> bool:
    return vm.state is DomainState.PAUSED and vm.state_reason in _OF_A_MIGRATION


def _in_other_hands(fleet: Fleet, twins: Twins) -> bool:
    """Whether a mark that has not ended explains it: another vmferry has the VM in work."""
    now = fleet.snapshot.taken_at
    return any(not mark.is_stale(now) for vm in twins.values() for mark in vm.marks)


def _left_by(twins: Twins) -> str:
    """Say whose mark that has ended is on it; empty without one."""
    words = dict.fromkeys(mark.words() for vm in twins.values() for mark in vm.marks)
    return f"; its mark is over: {'; '.join(words)}" if words else ""


def _defined_twice(fleet: Fleet, uuid: UUID, twins: Twins, active: Twins) -> DomainTrouble:
    name = next(iter(active.values()), next(iter(twins.values()))).name
    started = [host for host, vm in twins.items() if vm.is_autostart and host not in active]
    stale = next(host for host in reversed(twins) if host not in active)
    who = f"runs on {', '.join(active)}" if active else "runs nowhere"
    undefine = f"`virsh -c {fleet.side(stale).host.uri} undefine {twins[stale].name} --keep-nvram --keep-tpm`"
    if started and (active or len(started) > 1):
        text = (
            f"vm {name} is defined on {_where(twins)} and {who}; autostart is set on {', '.join(started)}: a reboot "
            f"there starts a second copy; run `virsh autostart --disable {name}` there, then remove what is not "
            f"needed: {undefine}"
        )
        return _trouble(Trouble.AUTOSTART_TWICE, uuid, twins, text)
    text = f"vm {name} is defined on {_where(twins)} and {who}; remove the definition not needed: {undefine}"
    return _trouble(Trouble.DEFINED_TWICE, uuid, twins, text)


def _trouble(kind: Trouble, uuid: UUID, twins: Mapping[str, Vm], message: str) -> DomainTrouble:
    name = next(iter(twins.values())).name
    return DomainTrouble(kind=kind, vm=name, uuid=str(uuid), hosts=tuple(twins), message=message)


def _names(fleet: Fleet) -> Iterator[DomainTrouble]:
    """Yield every name that VMs with different UUIDs have."""
    by_name: dict[str, list[tuple[str, Vm]]] = {}
    for host, side in fleet.sides.items():
        for vm in side.facts.vms:
            by_name.setdefault(vm.name, []).append((host, vm))
    for name, found in by_name.items():
        if len({vm.uuid for _, vm in found}) > 1:
            where = ", ".join(f"{host} ({vm.state}, {vm.uuid})" for host, vm in found)
            text = f"{name} is the name of different VMs: {where}; none can move to another's host: `virsh domrename`"
            hosts = tuple(host for host, _ in found)
            yield DomainTrouble(kind=Trouble.NAME_TWICE, vm=name, hosts=hosts, message=text)


def _disks(fleet: Fleet) -> Iterator[DomainTrouble]:
    """Yield the VMs of different UUIDs that name one writable disk, not marked as shareable; each pair once."""
    places = Places(fleet)
    users: dict[Key, dict[UUID, tuple[str, Vm, str]]] = {}
    for host, side in fleet.sides.items():
        for vm in side.facts.vms:
            for disk in vm.disks:
                for key in _written(places, host, disk):
                    users.setdefault(key, {}).setdefault(vm.uuid, (host, vm, disk.source or ""))
    told: set[frozenset[UUID]] = set()
    for found in users.values():
        if len(found) > 1 and frozenset(found) not in told:
            told.add(frozenset(found))
            yield _one_disk(tuple(found.values()))


def _written(places: Places, host: str, disk: Disk) -> frozenset[Key]:
    """Return the places of a disk that its VM alone may write to; none for others."""
    if disk.is_readonly or disk.is_shareable or disk.is_transient or is_media(disk) or not disk.source:
        return frozenset()
    if disk.kind is DiskKind.NETWORK:
        return frozenset((("network", "", disk.source),))
    path = volume_path(places.fleet.side(host).facts, disk) or (disk.source if disk.is_local_path else None)
    return places.keys(host, path) if path else frozenset()


def _one_disk(users: tuple[tuple[str, Vm, str], ...]) -> DomainTrouble:
    who = ", ".join(f"{vm.name} on {host} ({vm.state})" for host, vm, _ in users)
    text = (
        f"{users[0][2]} is a disk of different VMs: {who}; if two of them run they destroy each other's data; give "
        "each an image of its own, or mark the disk <shareable/> where the guests share it on purpose"
    )
    hosts = tuple(dict.fromkeys(host for host, _, _ in users))
    return DomainTrouble(
        kind=Trouble.DISK_TWICE, vm=users[0][1].name, uuid=str(users[0][1].uuid), hosts=hosts, message=text
    )
