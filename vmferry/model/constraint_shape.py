"""What one constraint must say, whatever the fleet: names, groups and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vmferry.model.constraint import Constraint, ConstraintKind

# What each kind needs: (VMs at least, hosts at least, groups at least).
_NEEDS: dict[ConstraintKind, tuple[int, int, int]] = {
    ConstraintKind.SPREAD: (1, 0, 0),
    ConstraintKind.GATHER: (1, 0, 0),
    ConstraintKind.AMONG: (1, 0, 1),
    ConstraintKind.SPLIT: (0, 0, 2),
    ConstraintKind.FENCE: (1, 1, 0),
    ConstraintKind.BAN: (1, 1, 0),
    ConstraintKind.ROOT: (1, 0, 0),
    ConstraintKind.LONELY: (1, 0, 0),
    ConstraintKind.QUARANTINE: (0, 1, 0),
    ConstraintKind.OFFLINE: (0, 1, 0),
    ConstraintKind.ONLINE: (0, 1, 0),
    ConstraintKind.MAX_ONLINE: (0, 1, 0),
    ConstraintKind.PRESERVE: (0, 1, 0),
    ConstraintKind.OVERBOOK: (0, 1, 0),
}


def shape_problems(constraint: Constraint, hosts: Sequence[str]) -> tuple[str, ...]:
    """Return what is wrong with one constraint alone: what it lacks, numbers below zero, unknown hosts."""
    vms, needed, groups = _NEEDS[constraint.kind]
    found = []
    if len(constraint.vms) < vms:
        found.append("names no VM")
    if len(constraint.hosts) < needed:
        found.append("names no host")
    if len(constraint.groups) < groups or not all(constraint.groups):
        found.append(f"needs at least {max(groups, 1)} groups, none of them empty")
    named = {*constraint.hosts, *(h for g in constraint.groups if constraint.kind is ConstraintKind.AMONG for h in g)}
    unknown = sorted(named - set(hosts))
    if unknown:
        found.append(f"names unknown hosts {', '.join(unknown)}; the inventory has {', '.join(hosts) or 'none'}")
    found += _number_problems(constraint)
    return tuple(found)


def _number_problems(c: Constraint) -> Iterator[str]:
    if c.memory_mib < 0 or c.vcpus < 0:
        yield f"asks to keep {c.memory_mib} MiB and {c.vcpus} vCPUs free: neither may be below 0"
    match c.kind:
        case ConstraintKind.PRESERVE if c.memory_mib == 0 and c.vcpus == 0:
            yield "keeps nothing free: give memory_mib or vcpus"
        case ConstraintKind.MAX_ONLINE if c.limit is None or c.limit < 0:
            yield f"needs a limit of hosts, 0 or more; it has {c.limit}"
        case ConstraintKind.OVERBOOK if c.ratio is None or c.ratio <= 0:
            yield f"needs a ratio above 0; it has {c.ratio}"
