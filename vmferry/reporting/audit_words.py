"""The sentences of an audit that terminal, markdown and the run's labels share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from vmferry.model.audit import Changes, DomainTrouble, FileKind, FleetAudit, HostLoss, OrphanFile, Trouble, VmChange
from vmferry.model.evacuation import Stranded
from vmferry.model.findings import Finding
from vmferry.reporting.units import format_bytes
from vmferry.reporting.words import count_vms

_NAMES_SHOWN = 4
# Before a file is removed: what the domains' XML does not tell. A shut-off domain's names no backing files.
BEFORE_REMOVING = (
    "No domain that was read names these files. Before you remove one: it may be the base of a shut-off VM's image "
    "(`qemu-img info --backing-chain` of the images beside it), belong to a snapshot, or to a changed definition of a "
    "running VM (`virsh dumpxml --inactive`)."
)


def count_hosts(count: int) -> str:
    """`1 host`, `3 hosts`."""
    return f"{count} host" if count == 1 else f"{count} hosts"


def audit_headline(audit: FleetAudit) -> str:
    """One line that tells the truth: two copies first, then who is stuck."""
    matrix = audit.movability
    read = len(matrix.hosts) - len(matrix.unread)
    parts = [f"{count_hosts(read)}, {count_vms(len(matrix.rows))}"]
    if matrix.unread:
        parts.append(f"{count_hosts(len(matrix.unread))} not read ({names(u.host for u in matrix.unread)})")
    parts.append(_stuck(len(matrix.immovable)))
    full = [emptying.host for emptying in audit.emptying if emptying.stranded]
    parts.append(f"{count_hosts(len(full))} cannot be emptied ({names(full)})" if full else "every host can be emptied")
    weak = [loss.host for loss in audit.losses if loss.stranded]
    if weak:
        parts.append(f"the loss of {names(weak)} would strand VMs")
    return _alarm(audit) + "; ".join(parts)


def _alarm(audit: FleetAudit) -> str:
    words = {
        Trouble.RUNS_TWICE: "two copies running",
        Trouble.ACTIVE_TWICE: "two QEMU processes",
        Trouble.LEFT_PAUSED: "left paused by a migration",
    }
    found = {word: names(dict.fromkeys(t.vm for t in audit.alarms if t.kind is kind)) for kind, word in words.items()}
    told = "; ".join(f"{word}: {vms}" for word, vms in found.items() if vms)
    return f"ALARM: {told}; " if told else ""


def _stuck(count: int) -> str:
    return f"{count_vms(count)} can go nowhere" if count else "every VM can go somewhere"


def names(found: Iterable[str]) -> str:
    """Return the first few names and how many more there are."""
    listed = list(found)
    more = f" and {len(listed) - _NAMES_SHOWN} more" if len(listed) > _NAMES_SHOWN else ""
    return ", ".join(listed[:_NAMES_SHOWN]) + more


def reasons(blocked: Mapping[str, Sequence[Finding]]) -> tuple[tuple[str, str, str], ...]:
    """Return (rule, hosts it holds for, one message) per rule, those of most hosts first.

    Messages to different hosts differ in names and numbers: the first one stands for all.
    """
    hosts: dict[str, list[str]] = {}
    message: dict[str, str] = {}
    for host, findings in blocked.items():
        for finding in findings:
            message.setdefault(finding.rule, finding.message)
            if host not in hosts.setdefault(finding.rule, []):
                hosts[finding.rule].append(host)
    ordered = sorted(hosts, key=lambda rule: -len(hosts[rule]))
    where = {r: "every host" if len(hosts[r]) == len(blocked) > 1 else names(hosts[r]) for r in ordered}
    return tuple((rule, where[rule], message[rule]) for rule in ordered)


def rules_line(blocked: Mapping[str, Sequence[Finding]]) -> str:
    """One short line: every rule that blocks, and where."""
    return ", ".join(f"{rule} ({where})" for rule, where, _ in reasons(blocked)) or "no other host was read"


def emptying_words(stranded: Sequence[Stranded]) -> str:
    """`yes`, or who stays."""
    return f"NO: {names(s.vm for s in stranded)}" if stranded else "yes"


def loss_words(loss: HostLoss) -> str:
    """One short line: who would start elsewhere and who would not."""
    running = len(loss.survivors) + len(loss.stranded)
    parts = []
    if loss.stranded:
        parts.append(f"{len(loss.stranded)} of {running} stranded: {names(s.vm for s in loss.stranded)}")
    else:
        parts.append(f"{count_vms(running)} would start elsewhere" if running else "nothing runs there")
    if loss.unstartable:
        parts.append(f"{len(loss.unstartable)} shut-off not startable")
    return "; ".join(parts)


def trouble_line(trouble: DomainTrouble) -> str:
    """One line, the kind first; an alarm begins with ALARM."""
    return trouble.message if trouble.is_alarm else f"{trouble.kind}: {trouble.message}"


def change_lines(changes: Changes) -> tuple[str, ...]:
    """One line per change, what an operator must know first; empty when nothing changed."""
    lines = [f"{_on(vm)} became unmovable: {', '.join(vm.rules) or 'no host is left'}" for vm in changes.unmovable]
    lines += [f"host {host} can no longer be read" for host in changes.hosts_lost]
    lines += [f"{_on(vm)} can move again" for vm in changes.movable]
    lines += [f"host {host} is read again" for host in changes.hosts_back]
    lines += [f"host {host} is new in the inventory" for host in changes.hosts_added]
    lines += [f"host {host} left the inventory" for host in changes.hosts_gone]
    lines += [f"{vm.vm} moved from {vm.before} to {vm.host}" for vm in changes.moved]
    lines += [f"{_on(vm)} is new" for vm in changes.added]
    lines += [f"{_on(vm)} is gone" for vm in changes.gone]
    return tuple(lines)


def _on(vm: VmChange) -> str:
    return f"{vm.vm} ({vm.host})"


def files_line(files: Sequence[OrphanFile]) -> str:
    """One line: how many files of each kind, and what they take."""
    counts, sizes = Counter(file.kind for file in files), Counter[FileKind]()
    for file in files:
        sizes[file.kind] += file.allocated_bytes
    return ", ".join(f"{counts[kind]} {kind} ({format_bytes(sizes[kind])})" for kind in FileKind if counts[kind])


def file_place(file: OrphanFile) -> str:
    """`kvm1:/path`, with the group where the storage is shared."""
    return f"{file.host}:{file.path}" + (f" (shared: {file.group})" if file.group else "")


def finding_tags(audit: FleetAudit) -> tuple[str, ...]:
    """Tags by which a run is found: `alarm:1`, `unmovable:3`, `stranded-by-loss:2`, …; only what there is."""
    leftovers = [f for f in audit.files or () if f.kind not in (FileKind.IN_WORK, FileKind.UNDECIDED, FileKind.MEDIA)]
    counts = {
        "alarm": len(audit.alarms),
        "unmovable": len(audit.movability.immovable),
        "became-unmovable": len(audit.changes.unmovable) if audit.changes else 0,
        "not-emptiable": sum(bool(emptying.stranded) for emptying in audit.emptying),
        "stranded-by-loss": len({vm.uuid for loss in audit.losses for vm in loss.stranded}),
        "trouble": len(audit.troubles) - len(audit.alarms),
        "leftover-files": len(leftovers),
        "not-read": len(audit.movability.unread),
    }
    return tuple(f"{name}:{count}" for name, count in counts.items() if count)
