"""Check constraints on one state of a fleet, without knowing how a plan was made. Pure.

One checker per kind, as BtrPlace's: each says in names what does not hold. A VM that moves is on two hosts at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase

from vmferry.model.constraint import Constraint, ConstraintKind, FleetState, HostTraits, Level, Violation

Checker = Callable[[Constraint, FleetState], Iterator[str]]


def check_constraints(constraints: Iterable[Constraint], state: FleetState) -> tuple[Violation, ...]:
    """Return every constraint that does not hold now; discrete ones only where the state is an end.

    What did not hold at the start in the same words is no fault of an instant on the way, only of an end.
    """
    found: list[Violation] = []
    for constraint in constraints:
        if not (state.is_end or constraint.is_continuous):
            continue
        texts = list(_CHECKERS[constraint.kind](constraint, state))
        if state.at_start is not None and not state.is_end:
            before = set(_CHECKERS[constraint.kind](constraint, state.at_start))
            texts = [text for text in texts if text not in before]
        found += [Violation(constraint=constraint, text=text) for text in texts]
    return tuple(found)


def members_of(names: Iterable[str], state: FleetState) -> tuple[str, ...]:
    """Return the UUIDs of the VMs that names, UUIDs and patterns mean, in the state's order."""
    wanted = tuple(names)
    exact, patterns = set(wanted), [w for w in wanted if any(c in w for c in "*?[")]
    return tuple(
        uuid
        for uuid, vm in state.vms.items()
        if uuid in exact or vm.name in exact or any(fnmatchcase(vm.name, pattern) for pattern in patterns)
    )


def domain_of(host: str, traits: HostTraits, level: Level) -> str | None:
    """Return what `spread` counts: the host, its rack (None where nobody said it), its site."""
    match level:
        case Level.HOST:
            return host
        case Level.RACK:
            return traits.rack
        case Level.SITE:
            return traits.site


def _name(state: FleetState, uuid: str) -> str:
    return state.vms[uuid].name


def _places(state: FleetState, uuid: str) -> tuple[str, ...]:
    return state.where.get(uuid, ())


def _spread(c: Constraint, state: FleetState) -> Iterator[str]:
    before = _sharing(c, state.before) if state.before is not None else {}
    for domain, names in _sharing(c, state).items():
        if len(names) > 1 and not set(names) <= set(before.get(domain, ())):
            yield f"{', '.join(names)} share {c.level} {domain}"


def _sharing(c: Constraint, state: FleetState) -> dict[str, list[str]]:
    """Return which of the VMs are in each domain."""
    there: dict[str, list[str]] = {}
    for uuid in members_of(c.vms, state):
        domains = {domain_of(h, state.hosts[h], c.level) for h in _places(state, uuid) if h in state.hosts}
        for domain in sorted(d for d in domains if d is not None):
            there.setdefault(domain, []).append(_name(state, uuid))
    return there


def _gather(c: Constraint, state: FleetState) -> Iterator[str]:
    """All on one host; on the way each may be on the old or on the new one, and nobody is on a third."""
    members = [uuid for uuid in members_of(c.vms, state) if _places(state, uuid)]
    hosts = _hosts_of(members, state)
    if state.before is not None:
        old = _hosts_of(members, state.before)
        hosts = hosts - old if len(old) == 1 else set()
    if len(hosts) > 1:
        yield f"{', '.join(_name(state, u) for u in members)} are on {', '.join(sorted(hosts))}"


def _among(c: Constraint, state: FleetState) -> Iterator[str]:
    members = [uuid for uuid in members_of(c.vms, state) if _places(state, uuid)]
    hosts = _hosts_of(members, state)
    if state.before is not None and not _in_one_group(c, _hosts_of(members, state.before)):
        return
    if not _in_one_group(c, hosts):
        yield f"{', '.join(_name(state, u) for u in members)} on {', '.join(sorted(hosts))} are in no one group"


def _hosts_of(members: Iterable[str], state: FleetState) -> set[str]:
    return {host for uuid in members for host in _places(state, uuid)}


def _in_one_group(c: Constraint, hosts: set[str]) -> bool:
    return any(hosts <= set(group) for group in c.groups)


def _split(c: Constraint, state: FleetState) -> Iterator[str]:
    before = _owners(c, state.before) if state.before is not None else {}
    for host, there in _owners(c, state).items():
        first = {number: name for number, name in reversed(there)}
        if len(first) > 1 and not set(there) <= set(before.get(host, ())):
            names = (first[number] for number in sorted(first))
            yield f"{', '.join(names)} of different groups share {host}"


def _owners(c: Constraint, state: FleetState) -> dict[str, list[tuple[int, str]]]:
    """Return host → (number of a group, one of its VMs there)."""
    owners: dict[str, list[tuple[int, str]]] = {}
    for number, group in enumerate(c.groups):
        for uuid in members_of(group, state):
            for host in _places(state, uuid):
                owners.setdefault(host, []).append((number, _name(state, uuid)))
    return owners


def _fence(c: Constraint, state: FleetState) -> Iterator[str]:
    for uuid in members_of(c.vms, state):
        for host in _places(state, uuid):
            if host not in c.hosts:
                yield f"{_name(state, uuid)} is on {host}, not on one of {', '.join(c.hosts)}"


def _ban(c: Constraint, state: FleetState) -> Iterator[str]:
    for uuid in members_of(c.vms, state):
        for host in _places(state, uuid):
            if host in c.hosts:
                yield f"{_name(state, uuid)} is on {host}"


def _root(c: Constraint, state: FleetState) -> Iterator[str]:
    for uuid in members_of(c.vms, state):
        home = state.vms[uuid].home
        for host in _places(state, uuid):
            if host != home:
                yield f"{_name(state, uuid)} moves from {home} to {host}"


def _lonely(c: Constraint, state: FleetState) -> Iterator[str]:
    members = set(members_of(c.vms, state))
    theirs = {host for uuid in members for host in _places(state, uuid)}
    for uuid, places in state.where.items():
        for host in places:
            if uuid not in members and host in theirs:
                yield f"{_name(state, uuid)} is on {host} beside them"


def _quarantine(c: Constraint, state: FleetState) -> Iterator[str]:
    for uuid, vm in state.vms.items():
        for host in _places(state, uuid):
            if host != vm.home and host in c.hosts:
                yield f"{vm.name} enters {host}"
            if host != vm.home and vm.home in c.hosts:
                yield f"{vm.name} leaves {vm.home}"


def _offline(c: Constraint, state: FleetState) -> Iterator[str]:
    """Nobody is on the hosts at the end; on the way nobody enters."""
    for uuid, vm in state.vms.items():
        for host in _places(state, uuid):
            if host in c.hosts and (state.is_end or host != vm.home):
                yield f"{vm.name} is on {host}"


def _online(c: Constraint, state: FleetState) -> Iterator[str]:
    """That a host stays on is kept by who switches hosts off: a state of VMs cannot break it."""
    del c, state
    yield from ()


def _max_online(c: Constraint, state: FleetState) -> Iterator[str]:
    used = sorted(_in_use(c, state))
    most = max(c.limit, len(_in_use(c, state.before))) if c.limit is not None and state.before is not None else c.limit
    if most is not None and len(used) > most:
        yield f"{len(used)} of these hosts have VMs ({', '.join(used)}), at most {c.limit} may"


def _in_use(c: Constraint, state: FleetState) -> set[str]:
    return {host for places in state.where.values() for host in places if host in c.hosts}


def _load(state: FleetState, host: str) -> tuple[int, int]:
    there = [state.vms[uuid] for uuid, places in state.where.items() if host in places]
    return sum(vm.memory_kib for vm in there), sum(vm.vcpus for vm in there)


def _preserve(c: Constraint, state: FleetState) -> Iterator[str]:
    for host in (h for h in c.hosts if h in state.hosts):
        memory, vcpus = _load(state, host)
        if _is_no_worse(state, host):
            continue
        free, cpus = state.hosts[host].free_kib - memory, state.hosts[host].free_vcpus - vcpus
        if free < c.memory_mib * 1024:
            yield f"{host} keeps {max(0, free) // 1024} MiB free, {c.memory_mib} MiB are to stay"
        if cpus < c.vcpus:
            yield f"{host} keeps {max(0.0, cpus):g} vCPUs free, {c.vcpus} are to stay"


def _overbook(c: Constraint, state: FleetState) -> Iterator[str]:
    for host in (h for h in c.hosts if h in state.hosts):
        allowed = state.hosts[host].cpus * (c.ratio or 0.0)
        vcpus = _load(state, host)[1]
        if vcpus > allowed and not _is_no_worse(state, host):
            yield f"{host} runs {vcpus} vCPUs, {allowed:g} are allowed ({c.ratio:g} for each of its CPUs)"


def _is_no_worse(state: FleetState, host: str) -> bool:
    """Whether nobody came to a host: room that was short before is no fault of a plan that brings nobody there."""
    if state.at_start is None:
        return False
    before = Counter(uuid for uuid, places in state.at_start.where.items() if host in places)
    return all(before[uuid] for uuid, places in state.where.items() if host in places)


_CHECKERS: dict[ConstraintKind, Checker] = {
    ConstraintKind.SPREAD: _spread,
    ConstraintKind.GATHER: _gather,
    ConstraintKind.AMONG: _among,
    ConstraintKind.SPLIT: _split,
    ConstraintKind.FENCE: _fence,
    ConstraintKind.BAN: _ban,
    ConstraintKind.ROOT: _root,
    ConstraintKind.LONELY: _lonely,
    ConstraintKind.QUARANTINE: _quarantine,
    ConstraintKind.OFFLINE: _offline,
    ConstraintKind.ONLINE: _online,
    ConstraintKind.MAX_ONLINE: _max_online,
    ConstraintKind.PRESERVE: _preserve,
    ConstraintKind.OVERBOOK: _overbook,
}
