"""What changed between two audits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from vmferry.model.audit import Changes, Movability, SavedAudit, SavedVm, VmChange, VmRow

Definition = TypeVar("Definition", SavedVm, VmRow)

_UNREAD = "host-unreachable"
_GONE = "host-gone"


def compare(before: SavedAudit, matrix: Movability) -> Changes:
    """Return what changed; nothing is said of a VM whose host was not read on one of the two days.

    A VM defined on several hosts counts where it is active, or else where it stands first.
    """
    then, now = _main(before.vms), _main(matrix.rows)
    lost = {unread.host for unread in matrix.unread}
    both = [(then[uuid], row) for uuid, row in now.items() if uuid in then]
    return Changes(
        since=before.taken_at,
        unmovable=tuple(_unmovable(o, n, lost) for o, n in both if o.movable_to and not n.movable_to),
        movable=tuple(_change(n) for o, n in both if n.movable_to and not o.movable_to),
        moved=tuple(_change(n, before=o.host) for o, n in both if o.host != n.host and o.host not in lost),
        added=tuple(_change(row) for uuid, row in now.items() if uuid not in then and row.host not in before.unread),
        gone=tuple(
            VmChange(vm=vm.vm, uuid=uuid, host=vm.host)
            for uuid, vm in then.items()
            if uuid not in now and vm.host not in lost
        ),
        hosts_added=tuple(host for host in matrix.hosts if host not in before.hosts),
        hosts_gone=tuple(host for host in before.hosts if host not in matrix.hosts),
        hosts_lost=tuple(h for h in matrix.hosts if h in lost and h in before.hosts and h not in before.unread),
        hosts_back=tuple(h for h in before.unread if h in matrix.hosts and h not in lost),
    )


def _main(definitions: Iterable[Definition]) -> dict[str, Definition]:
    """Return by UUID the definition that counts of each VM."""
    found: dict[str, Definition] = {}
    for vm in definitions:
        if vm.uuid not in found or (vm.state.is_active and not found[vm.uuid].state.is_active):
            found[vm.uuid] = vm
    return found


def _change(row: VmRow, *, before: str | None = None, rules: tuple[str, ...] = ()) -> VmChange:
    return VmChange(vm=row.vm, uuid=row.uuid, host=row.host, before=before, rules=rules)


def _unmovable(before: SavedVm, row: VmRow, lost: set[str]) -> VmChange:
    """Name the rules that block where it could go before; a host that it could go to may be gone itself."""
    rules: dict[str, None] = {}
    for host in before.movable_to:
        if host in row.blocked:
            rules |= dict.fromkeys(finding.rule for finding in row.blocked[host])
        elif host != row.host:
            rules[_UNREAD if host in lost else _GONE] = None
    if not rules:
        rules |= dict.fromkeys(finding.rule for findings in row.blocked.values() for finding in findings)
    return _change(row, before=before.host if before.host != row.host else None, rules=tuple(rules))
