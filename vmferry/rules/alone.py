"""Judge a VM by its XML alone: what forbids each mode whatever the hosts are, and what the answer takes for granted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from uuid import UUID

from vmferry.model.base import Model
from vmferry.model.findings import Finding, Severity
from vmferry.model.host import Host, HostFacts, Profile, Reservation, SshAddress
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import Disk, DiskKind, DomainState, Vm
from vmferry.rules.case import Case, Side
from vmferry.rules.check import check_vm
from vmferry.rules.sharing import is_media
from vmferry.rules.table import RULES

_NIL = UUID(int=0)  # stands for a UUID that is missing or malformed
# Messages name hosts: "has a device of its host passed through".
_SOURCE, _DEST = "its host", "the destination"
# The XML does not tell which QEMU runs it: judged as a recent one, and said so (`_cache`).
_RECENT_QEMU = 99_000_000
_SAFE_CACHE = ("none", "directsync")
_HOST_CPU = ("host-passthrough", "maximum")
_SHOWN = 8
_PLACE = {rule.id: place for place, rule in enumerate(RULES)}


class ModeAnswer(Model):
    """Whether the XML lets the VM move in one mode, and the rules that forbid it or warn."""

    may_move: bool
    blocked_by: tuple[str, ...] = ()
    warned_by: tuple[str, ...] = ()


class InspectionFinding(Model):
    """A finding and the modes in which it holds with this severity."""

    rule: str
    severity: Severity
    modes: tuple[MigrationMode, ...]
    message: str
    source: str


class Inspection(Model):
    """What one domain XML shows without any host; `assumes` must hold besides, and hosts must be asked for it."""

    name: str
    uuid: UUID | None
    modes: dict[MigrationMode, ModeAnswer]
    findings: tuple[InspectionFinding, ...]
    assumes: tuple[str, ...]


def inspect_vm(vm: Vm, profile: Profile) -> Inspection:
    """Ask every rule of the VM alone, in each mode as if the VM were in the state that the mode needs.

    Live and non-live are judged as if it ran, offline as if it were shut off: XML has no state.
    """
    found = {mode: check_vm(_case(vm, profile, mode)) for mode in MigrationMode}
    return Inspection(
        name=vm.name,
        uuid=None if vm.uuid == _NIL else vm.uuid,
        modes={mode: _answer(findings) for mode, findings in found.items()},
        findings=_merged(found),
        assumes=tuple(_assumes(vm)),
    )


def _case(vm: Vm, profile: Profile, mode: MigrationMode) -> Case:
    is_off = mode is MigrationMode.OFFLINE
    state = (DomainState.SHUTOFF, "shutdown") if is_off else (DomainState.RUNNING, "booted")
    judged = vm.model_copy(update={"state": state[0], "state_reason": state[1]})
    return Case(
        vm=judged,
        arriving=judged,
        source=_side(_SOURCE, judged, profile),
        dest=_side(_DEST, judged, profile),
        mode=mode,
        pair=None,
        reserved=Reservation(),
        cordon=None,
        open_run=None,
        copies=(),
    )


def _side(name: str, vm: Vm, profile: Profile) -> Side:
    """Return a host that has nothing of its own: rules of the VM alone ask it for its name and URI."""
    uri = "qemu:///system"
    host = Host(name=name, uri=uri, peer_uri=uri, ssh=SshAddress(address=name), migration_address=name, profile=profile)
    facts = HostFacts(
        name=name,
        uuid=_NIL,
        hostname=name,
        uri=uri,
        libvirt_version=_RECENT_QEMU,
        qemu_version=_RECENT_QEMU,
        arch=vm.arch,
        domain_types=host.hypervisors,
        machines=(),
        cpus=1,
        memory_total_kib=0,
        memory_available_kib=0,
        vms=(vm,),
        read_at=datetime.fromtimestamp(0, UTC),
    )
    return Side(host, facts)


def _answer(findings: tuple[Finding, ...]) -> ModeAnswer:
    by_severity: dict[Severity, dict[str, None]] = {severity: {} for severity in Severity}
    for finding in findings:
        by_severity[finding.severity][finding.rule] = None
    blocked, warned = tuple(by_severity[Severity.BLOCK]), tuple(by_severity[Severity.WARN])
    return ModeAnswer(may_move=not blocked, blocked_by=blocked, warned_by=warned)


def _merged(found: dict[MigrationMode, tuple[Finding, ...]]) -> tuple[InspectionFinding, ...]:
    """Return each finding once, with its modes, in the order of the rules; blocks go before warnings of a rule."""
    modes: dict[Finding, list[MigrationMode]] = {}
    for mode, findings in found.items():
        for finding in dict.fromkeys(findings):
            modes.setdefault(finding, []).append(mode)
    ordered = sorted(modes, key=lambda finding: _PLACE.get(finding.rule, len(_PLACE)))
    return tuple(
        InspectionFinding(
            rule=finding.rule,
            severity=finding.severity,
            modes=tuple(modes[finding]),
            message=finding.message,
            source=finding.source,
        )
        for finding in ordered
    )


def _assumes(vm: Vm) -> Iterator[str]:
    """Yield what the XML shows and cannot decide, as sentences that must be true for the answer to hold."""
    yield from _storage(vm)
    yield from _networks(vm)
    yield from _machine(vm)
    yield from _cache(vm)
    if any(device.kind.startswith("qemu:") for device in vm.devices):
        yield "its raw QEMU arguments mean the same on the destination and hold nothing that cannot move"
    yield "it has no snapshots, checkpoints, managed save image or running job: these are not in the XML"


def _storage(vm: Vm) -> Iterator[str]:
    disks = [disk for disk in vm.disks if disk.source]
    images = [disk for disk in disks if not is_media(disk)]
    files = _listed(_named(d) for d in images if d.kind is DiskKind.FILE)
    if files:
        yield f"live and non-live: both hosts share the storage of {files}; offline: else there is room for copies"
    others = _listed(_named(d) for d in images if d.kind is not DiskKind.FILE)
    if others:
        yield f"the destination has the same {others}"
    backing = _listed(dict.fromkeys(path for disk in images for path in disk.backing))
    if backing:
        yield f"both hosts share the backing files {backing}"
    media = _listed(_named(disk) for disk in disks if is_media(disk))
    if media:
        yield f"both hosts share the media {media}, or they are ejected before the move"


def _named(disk: Disk) -> str:
    return f"{disk.target} ({disk.source})"


def _networks(vm: Vm) -> Iterator[str]:
    places = dict.fromkeys(f"{nic.kind} {nic.source or ''}".strip() for nic in vm.nics if nic.kind != "hostdev")
    if places:
        yield f"the destination has {_listed(places)}, leading to the same network"
    if any(nic.kind == "network" for nic in vm.nics):
        yield "its libvirt networks hand out no devices of the host (forward mode='hostdev')"


def _machine(vm: Vm) -> Iterator[str]:
    needs = [f"machine type {vm.machine}"] if vm.machine else []
    needs += [f"firmware {vm.firmware}"] if vm.firmware else []
    needs += [f"emulator {vm.emulator}"] if vm.emulator else []
    if needs:
        yield f"the destination offers {', '.join(needs)}"
    if vm.cpu_mode in _HOST_CPU:
        yield f"live and non-live: the destination has the same CPU (CPU mode {vm.cpu_mode})"
    else:
        yield f"live and non-live: the destination can run its CPU (CPU mode {vm.cpu_mode or 'not given'})"


def _cache(vm: Vm) -> Iterator[str]:
    """As the rule `cache-mode`, which needs to know the source's QEMU."""
    asked = (d for d in vm.disks if d.source and not d.is_readonly and not d.is_shareable)
    unsafe = [d.target for d in asked if d.kind is not DiskKind.NETWORK and d.cache not in _SAFE_CACHE]
    if unsafe:
        yield f"live and non-live: its QEMU is 4.0 or newer (cache neither none nor directsync: {_listed(unsafe)})"


def _listed(items: Iterable[str]) -> str:
    """Return the items with commas between, the first few of many."""
    texts = list(items)
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more
