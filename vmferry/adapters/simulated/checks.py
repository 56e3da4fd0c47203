"""What libvirt checks before a move begins; every refusal here leaves both hosts as they were."""

from __future__ import annotations

from vmferry.adapters.simulated.ground import Ground
from vmferry.adapters.simulated.mirror import check_mirror
from vmferry.adapters.simulated.state import SimHost
from vmferry.adapters.simulated.texts import DomainText, read_text
from vmferry.adapters.simulated.wire import check_wire
from vmferry.errors import HostBusy, NotFound, OutcomeUnknown, PermanentError
from vmferry.model.migration import MigrationMode, MigrationPlan


def find_dest(ground: Ground, plan: MigrationPlan) -> SimHost:
    """Return the host that answers `plan.peer_uri` from the source."""
    found = [host for host in ground.hosts.values() if host.entry.peer_uri == plan.peer_uri]
    if not found:
        raise PermanentError(f"vm {plan.vm}: nothing answers {plan.peer_uri}", vm=plan.vm, host=plan.source)
    return found[0]


def check_move(ground: Ground, plan: MigrationPlan, source: SimHost, dest: SimHost) -> None:
    """Raise what libvirt raises, in its order: the domain, the peer, the XML, the destination, the disks."""
    guest = source.domains.get(plan.uuid)
    if guest is None:
        raise NotFound(f"vm {plan.vm}: no such domain on {source.name}", vm=plan.vm, host=source.name)
    if plan.mode is MigrationMode.OFFLINE:
        raise _refused(plan, "offline moves are made by define, not by migrate")
    if not guest.is_active:
        raise _refused(plan, f"not running on {source.name} (ERR 55)")
    if guest.job is not None:
        raise HostBusy(f"vm {plan.vm}: {guest.job} is active on {source.name} (ERR 55)", vm=plan.vm, host=source.name)
    if dest is source:
        raise _refused(plan, "attempt to migrate guest to the same host (ERR 1)")
    if not ground.is_linked(source.name, dest.name) or not dest.is_libvirtd_up:
        ground.advance(5)
        why = f"vm {plan.vm}: {source.name} cannot connect to {plan.peer_uri} (ERR 38); look at both hosts"
        raise OutcomeUnknown(why, vm=plan.vm, host=source.name)
    text = read_text(plan.dest_xml or guest.xml())
    _check_abi(plan, text, read_text(guest.xml()))
    _check_names(plan, dest, guest.name)
    _check_nics(plan, dest, text)
    _check_disks(ground, plan, source, dest, text)
    check_wire(ground, plan, source, dest)


def _check_abi(plan: MigrationPlan, wanted: DomainText, present: DomainText) -> None:
    for key in ("name", "uuid", "memory_kib"):
        if getattr(wanted, key) != getattr(present, key):
            raise _refused(plan, f"the destination XML changes {key} (CONFIG_UNSUPPORTED, ERR 67)")
    if len(wanted.disks) != len(present.disks):
        raise _refused(plan, "the destination XML changes the number of disks (ERR 67)")


def _check_names(plan: MigrationPlan, dest: SimHost, name: str) -> None:
    for other in dest.domains.values():
        if (other.name == name) != (other.uuid == plan.uuid):
            raise _refused(plan, f"domain {other.name!r} already exists with uuid {other.uuid} (ERR 9)")
        if other.uuid == plan.uuid and other.is_active:
            raise _refused(plan, f"domain {other.name!r} is already active on {dest.name} (ERR 55)")


def _check_nics(plan: MigrationPlan, dest: SimHost, text: DomainText) -> None:
    missing = [b for b in text.bridges if b not in dest.bridges] + [n for n in text.networks if n not in dest.networks]
    if missing:
        why = f"vm {plan.vm}: cannot get interface MTU on {missing[0]!r} of {dest.name} (ERR 38)"
        raise OutcomeUnknown(why, vm=plan.vm, host=plan.source)


def _check_disks(ground: Ground, plan: MigrationPlan, source: SimHost, dest: SimHost, text: DomainText) -> None:
    """Find every disk on the destination; block devices are never questioned, whatever is on them."""
    guest = source.domains[plan.uuid]
    mirrored = {disk.source_path: disk for disk in plan.disks}
    for path, before in zip(text.disks, read_text(guest.xml()).disks, strict=True):
        if before in mirrored:
            check_mirror(plan, mirrored[before], source, dest, ground.watch)
            continue
        there, here = dest.file(path), source.file(before)
        if text.disks[path] is False and not dest.locate(path)[0].is_shared:
            raise _refused(plan, f"migration without shared storage is unsafe: {path} (ERR 81)")
        if there is None:
            raise _refused(plan, f"cannot access storage file {path!r} on {dest.name} (ERR 38)")
        if here is None or there.content != here.content:
            ground.watch.wrong_disk(plan.uuid, dest.name)


def _refused(plan: MigrationPlan, why: str) -> PermanentError:
    return PermanentError(f"vm {plan.vm}: {plan.source} → {plan.dest}: {why}", vm=plan.vm, host=plan.source)
