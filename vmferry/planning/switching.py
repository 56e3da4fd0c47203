"""Choose who lets the VM run at the destination, and say why."""

from __future__ import annotations

from posixpath import dirname

from vmferry.domxml.machine import RAW_QEMU
from vmferry.model.convergence import Policy, PolicyName
from vmferry.model.migration import MigrationMode
from vmferry.model.transport import Switch
from vmferry.model.vm import Disk, DomainState
from vmferry.rules.case import Case
from vmferry.rules.proofs import has_proved_locks
from vmferry.rules.sharing import is_media, places

_NOT_LIVE = (DomainState.PAUSED, DomainState.PMSUSPENDED)


def choose_switch(case: Case, policy: Policy) -> tuple[Switch, str]:
    """Return libvirt's own switch-over where image locks keep a second copy from running, else the guarded one.

    libvirt's own is quicker, but resumes the source when the destination's answer is lost: then only the lock of the
    copy at the destination stops the source's (docs/decisions/0005).
    """
    if case.is_offline:
        return Switch.GUARDED, "no QEMU runs: vmferry looks at both hosts and defines the VM"
    if case.vm.state in _NOT_LIVE:
        return Switch.GUARDED, f"the VM is {case.vm.state} and arrives so"
    if policy.name is PolicyName.POST_COPY and case.mode is MigrationMode.LIVE:
        return Switch.POSTCOPY, f"policy {policy.name}: QEMU lets the VM run before all of its memory is there"
    if why_not := _why_unlocked(case):
        return Switch.GUARDED, why_not
    return Switch.LIBVIRT, f"{case.dest.name} was seen to respect the image locks of {case.source.name}"


def _why_unlocked(case: Case) -> str:
    """Say why image locks would not keep a second copy from running; empty where they do, on every disk."""
    if raw := next((device.kind for device in case.vm.devices if device.kind in RAW_QEMU), None):
        return f"arguments of its own for QEMU ({raw}) may change its image locks"
    written = [disk for disk in case.vm.disks if not disk.is_readonly and not is_media(disk)]
    if not written:
        return "it has no disk whose image lock could stop a second copy"
    return next(filter(None, (_why_disk_unlocked(case, disk) for disk in written)), "")


def _why_disk_unlocked(case: Case, disk: Disk) -> str:
    if disk.is_shareable or disk.is_transient:
        return f"disk {disk.target} is {'shareable' if disk.is_shareable else 'transient'}: QEMU does not lock it"
    place = next((place for place in places(case) if place.disk is disk), None)
    if place is None:
        return f"disk {disk.target} is no image file, and so has no image lock"
    facts = case.pair.source_files.get(place.path) if case.pair is not None else None
    if facts is not None and facts.is_block:
        return f"disk {disk.target} is a device: image locks end at the host"
    if has_proved_locks(case, place.path, place.dest_path):
        return ""
    storage = case.source.host.storage_of(place.path)
    if storage is None or not storage.locks:
        return f"the inventory does not say `locks: true` of {storage.path if storage else dirname(place.path)}"
    return f"image locks between {case.source.name} and {case.dest.name} were not seen to work in {dirname(place.path)}"
