"""Bring VMs home: whose home still counts, and who goes next. Pure.

One stage after the other: a stage's moves run at the same time, then the fleet is read again. A home that is full of
VMs which belong elsewhere is made free by a hop: one of them waits on a third host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from vmferry.model.evacuation import Move
from vmferry.model.findings import PreflightReport
from vmferry.model.host import FleetSnapshot
from vmferry.model.operation import Home
from vmferry.model.returning import Refused, ReturnRequest, ReturnStage
from vmferry.model.vm import DomainState, Vm
from vmferry.planning.board import Board
from vmferry.planning.candidates import Candidate, Demand, demand_of, judge
from vmferry.planning.handling import handling_of
from vmferry.rules.case import Fleet
from vmferry.rules.judge import Judge

# Rules whose blocks go away when others leave.
ROOM_RULES = frozenset({"memory", "hugepages", "vcpu-ratio", "copy-space", "mirror-space"})
_NAMES_SHOWN = 6


@dataclass(frozen=True)
class Belongs:
    """A VM that is away from its home, found on the host where our last run took it."""

    home: Home
    vm: Vm

    @property
    def uuid(self) -> str:
        """The VM's UUID."""
        return self.home.uuid


@dataclass(frozen=True)
class Proof:
    """What the journal and the host say of a VM now."""

    last_run: str | None
    definition: str  # digest on the host where it is; empty: not read


def prove(home: Home, proof: Proof, snapshot: FleetSnapshot) -> Belongs | Refused | None:
    """Return the VM when its home still counts, why it does not, or None when it is at home already.

    A home counts as long as nobody but our own runs has moved the VM, and nobody has changed its definition.
    """
    found = {f.name: vm for f in snapshot.hosts if (vm := f.find_vm(home.uuid)) is not None}
    if set(found) == {home.home}:
        return None
    why = _why_not(home, proof, snapshot, found)
    return Refused(vm=home.vm, uuid=home.uuid, home=home.home, why=why) if why else Belongs(home, found[home.away])


def paused_since(one: Belongs, request: ReturnRequest) -> Refused | None:
    """Return why a VM that arrived paused is not moved on by itself; None for one that was named for it.

    QEMU 7.2 dies when what arrived paused and never ran moves again (seen in the lab, tests/cancelling/yard.py).
    Whether it has run since, nobody can tell but who let it.
    """
    is_one = one.home.state == DomainState.PAUSED and one.vm.state is DomainState.PAUSED
    if not is_one or {one.home.vm, one.uuid} & set(request.vms):
        return None
    vm, away, home = one.home.vm, one.home.away, one.home.home
    why = (
        f"has been paused since it arrived on {away}, and QEMU may die when it moves again before it ran; there: "
        f"`virsh resume {vm}; virsh suspend {vm}`, then: vmferry return {home} --vm {vm}"
    )
    return Refused(vm=one.home.vm, uuid=one.uuid, home=one.home.home, why=why)


def _why_not(home: Home, proof: Proof, snapshot: FleetSnapshot, found: Mapping[str, Vm]) -> str:
    if not found:
        lost = ", ".join(gone.host for gone in snapshot.unreachable)
        return "no host has it" + (f"; not read: {lost}" if lost else "; look with `virsh list --all`")
    if home.uuid in snapshot.open_runs:
        return f"moves in run {snapshot.open_runs[home.uuid]}; wait for its end, or `vmferry recover`"
    if proof.last_run != home.run:
        return f"run {proof.last_run} has moved it since its evacuation: {home.home} is not its home any more"
    if set(found) != {home.away}:
        where = ", ".join(found)
        return (
            f"was taken from {home.home} to {home.away}, and is on {where}: somebody else has moved it; move it by hand"
        )
    if home.definition and proof.definition != home.definition:
        return f"its definition was changed on {home.away}: whether it may still run on {home.home}, say by moving it"
    if snapshot.facts(home.home) is None:
        return f"its home {home.home} was not read; see `vmferry hosts`"
    return ""


def open_home(snapshot: FleetSnapshot, host: str) -> FleetSnapshot:
    """Return the snapshot in which the host takes arrivals, as it will before the first one comes."""
    return snapshot.model_copy(update={"cordons": tuple(c for c in snapshot.cordons if c.host != host)})


def next_stage(
    snapshot: FleetSnapshot,
    request: ReturnRequest,
    belongs: Sequence[Belongs],
    done: frozenset[str] = frozenset(),
    hopped: frozenset[str] = frozenset(),
) -> ReturnStage:
    """Return who goes next: all that have room at home; else hops that make room; else why nobody can.

    `belongs` holds VMs of other homes too: those on this host may have to make room. `done` are VMs that were tried
    already, `hopped` those that have made room: each does so once, and then goes on to its own home.
    """
    fleet = Fleet(open_home(snapshot, request.host))
    rules = Judge(fleet, request.lift)
    turn = [b for b in _in_turn(belongs, snapshot) if b.uuid not in done]
    goers = [b for b in turn if b.home.home == request.host or b.uuid in hopped]
    board, moves = Board(fleet, tuple(n for n in fleet.sides if any(b.home.home == n for b in goers))), list[Move]()
    stuck: list[tuple[Belongs, Candidate]] = []
    for one in goers:
        home = one.home.home
        candidate = judge(rules, one.vm, one.home.away, (home,), None, request.policy)
        if board.fits(candidate, home):
            board.place(candidate, home)
            moves.append(_move(one, candidate, home, "its home", request))
        else:
            stuck.append((one, candidate))
    if moves:
        return ReturnStage(moves=_numbered(moves))
    helped = [pair for pair in stuck if pair[0].home.home == request.host and _lacks_only_room(*pair)]
    guests = [b for b in turn if b.home.away == request.host and b not in goers]
    hops = _hops(rules, board, request, helped, guests)
    refused = () if hops else tuple(_refuse(rules, board, one, candidate) for one, candidate in stuck)
    return ReturnStage(moves=_numbered(hops), is_hop=bool(hops), refused=refused)


def _in_turn(belongs: Iterable[Belongs], snapshot: FleetSnapshot) -> list[Belongs]:
    """Highest priority first, then the largest: what is hard to place goes while there is room."""

    def rank(one: Belongs) -> tuple[int, int, str]:
        return (-(handling_of(snapshot.inventory, one.vm).priority or 0), -one.vm.memory_kib, one.vm.name)

    return sorted(belongs, key=rank)


def _lacks_only_room(one: Belongs, candidate: Candidate) -> bool:
    return all(finding.rule in ROOM_RULES for finding in candidate.reports[one.home.home].blockers)


def _hops(
    rules: Judge,
    board: Board,
    request: ReturnRequest,
    stuck: Sequence[tuple[Belongs, Candidate]],
    guests: Sequence[Belongs],
) -> list[Move]:
    """Return moves of VMs that belong elsewhere to third hosts, so that the first VM that this helps has room."""
    thirds = tuple(name for name in rules.fleet.sides if name != request.host)
    for one, _ in stuck:
        needed, room = _demand(rules, one), board.rooms[request.host]
        free, there, moves = (
            replace(room, disk=dict(room.disk), hugepages=dict(room.hugepages)),
            Board(rules.fleet, thirds),
            [],
        )
        for guest in sorted(guests, key=lambda guest: (-guest.vm.memory_kib, guest.vm.name)):
            candidate = judge(rules, guest.vm, request.host, thirds, None, request.policy)
            dest = next((d for d in candidate.demands if there.fits(candidate, d)), None)
            if dest is None:
                continue
            there.place(candidate, dest)
            free.add(candidate.demands[dest], -1)
            reason = f"makes room on {request.host} for {one.vm.name}, and goes on to its own home {guest.home.home}"
            moves.append(_move(guest, candidate, dest, reason, request))
            if free.fits(needed):
                return moves
    return []


def _demand(rules: Judge, one: Belongs) -> Demand:
    candidate = judge(rules, one.vm, one.home.away, (), None)
    return demand_of(rules.case(one.vm, one.home.away, one.home.home, candidate.mode))


def _refuse(rules: Judge, board: Board, one: Belongs, candidate: Candidate) -> Refused:
    home = one.home.home
    report: PreflightReport = candidate.reports[home]
    others = [f for f in report.blockers if f.rule not in ROOM_RULES]
    if others:
        why = "; ".join(f"{finding.rule}: {finding.message}" for finding in others)
    else:
        vms = [vm for vm in rules.fleet.side(home).facts.vms if vm.is_active]
        names = ", ".join(f"{vm.name} ({vm.memory_kib // 1024} MiB)" for vm in vms[:_NAMES_SHOWN])
        more = f" and {len(vms) - _NAMES_SHOWN} more" if len(vms) > _NAMES_SHOWN else ""
        short = board.rooms[home].shortage(_demand(rules, one)) or "; ".join(f.message for f in report.blockers)
        there = f"there are now {names or 'no VMs'}{more}, and none of them can make room"
        why = f"{home} {short}; {there}; free room on it"
    return Refused(vm=one.home.vm, uuid=one.uuid, home=home, why=why)


def _move(one: Belongs, candidate: Candidate, dest: str, reason: str, request: ReturnRequest) -> Move:
    demand = candidate.demands[dest]
    return Move(
        vm=one.vm.name,
        uuid=one.uuid,
        source=one.home.away,
        dest=dest,
        mode=candidate.mode,
        mode_reason=candidate.mode_reason,
        policy=request.policy,
        dest_reason=reason,
        order=0,
        memory_kib=demand.all_memory_kib,
        hugepages_kib=demand.hugepages_kib,
        vcpus=demand.vcpus,
        copy_bytes=demand.copy_bytes,
        warnings=candidate.reports[dest].warnings,
    )


def _numbered(moves: Sequence[Move]) -> tuple[Move, ...]:
    return tuple(move.model_copy(update={"order": order}) for order, move in enumerate(moves))
