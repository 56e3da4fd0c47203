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
from vmferry.planning.constraints.hold import HardConstraints, words_of
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
    turn = [b for b in _in_turn(belongs, snapshot) if b.uuid not in done]
    goers = [b for b in turn if b.home.home == request.host or b.uuid in hopped]
    guests = [b for b in turn if b.home.away == request.host and b not in goers]
    board = Board(fleet, tuple(n for n in fleet.sides if any(b.home.home == n for b in goers)))
    return _Stage(Judge(fleet, request.lift), board, HardConstraints.of(snapshot), request).next(goers, guests)


@dataclass(frozen=True)
class _Stuck:
    """A VM that cannot go home now; `breaks` is the hard constraint that forbids it, empty for other reasons."""

    one: Belongs
    candidate: Candidate
    breaks: str = ""

    @property
    def may_be_helped(self) -> bool:
        """Whether it might go home once others have left."""
        findings = self.candidate.reports[self.one.home.home].blockers
        return bool(self.breaks) or all(finding.rule in ROOM_RULES for finding in findings)


@dataclass(frozen=True)
class _Stage:
    """What one stage is planned with."""

    rules: Judge
    board: Board  # of the homes
    hard: HardConstraints
    request: ReturnRequest

    def next(self, goers: Sequence[Belongs], guests: Sequence[Belongs]) -> ReturnStage:
        """Return the moves home of all that may go, else hops of guests, else why nobody can."""
        moves, stuck = self._home(goers)
        if moves:  # those that lack only room may have it after these, and are told only when they do not
            sure = (s for s in stuck if s.breaks or not s.may_be_helped)
            refused = tuple(_refuse(self.rules, self.board, s) for s in sure)
            return ReturnStage(moves=_numbered(moves), refused=refused)
        hops = self._hops([s for s in stuck if s.one.home.home == self.request.host and s.may_be_helped], guests)
        refused = () if hops else tuple(_refuse(self.rules, self.board, s) for s in stuck)
        return ReturnStage(moves=_numbered(hops), is_hop=bool(hops), refused=refused)

    def _home(self, goers: Sequence[Belongs]) -> tuple[tuple[Move, ...], list[_Stuck]]:
        moves, stuck, going = list[Move](), list[_Stuck](), dict[str, _Stuck]()
        for one in goers:
            home = one.home.home
            candidate = judge(self.rules, one.vm, one.home.away, (home,), None, self.request.policy)
            if self.board.fits(candidate, home):
                self.board.place(candidate, home)
                moves.append(self._move(one, candidate, candidate.demands[home], home, "its home"))
                going[one.uuid] = _Stuck(one, candidate)
            else:
                stuck.append(_Stuck(one, candidate))
        kept, broken = self.hard.keep(moves)
        for uuid, why in broken.items():
            self.board.lift(going[uuid].candidate)
            stuck.append(replace(going[uuid], breaks=why))
        return kept, stuck

    def _hops(self, stuck: Sequence[_Stuck], guests: Sequence[Belongs]) -> list[Move]:
        """Return moves of VMs that belong elsewhere to third hosts, so that the first VM that this helps may come."""
        thirds = tuple(name for name in self.rules.fleet.sides if name != self.request.host)
        for waits in stuck:
            host, needed = self.request.host, _demand(self.rules, waits.one)
            comes = self._move(waits.one, waits.candidate, needed, host, "its home")
            room = self.board.rooms[host]
            free = replace(room, disk=dict(room.disk), hugepages=dict(room.hugepages))
            there, moves = Board(self.rules.fleet, thirds), list[Move]()
            for guest in sorted(guests, key=lambda guest: _helps(guest, waits)):
                hop = self._hop(guest, waits.one, there, moves)
                if hop is None:
                    continue
                moves.append(hop)
                free.add(there.rooms[hop.dest].placed[guest.uuid].demands[hop.dest], -1)
                if free.fits(needed) and not self.hard.broken([*moves, comes]):
                    return moves
        return []

    def _hop(self, guest: Belongs, comer: Belongs, there: Board, moves: Sequence[Move]) -> Move | None:
        """Put the guest on the first third host that may have it; None when none may."""
        host, thirds = self.request.host, tuple(there.rooms)
        candidate = judge(self.rules, guest.vm, host, thirds, None, self.request.policy)
        reason = f"makes room on {host} for {comer.vm.name}, and goes on to its own home {guest.home.home}"
        for dest in candidate.demands:
            if there.fits(candidate, dest):
                hop = self._move(guest, candidate, candidate.demands[dest], dest, reason)
                if not self.hard.broken([*moves, hop]):
                    there.place(candidate, dest)
                    return hop
        return None

    def _move(self, one: Belongs, candidate: Candidate, demand: Demand, dest: str, reason: str) -> Move:
        return Move(
            vm=one.vm.name,
            uuid=one.uuid,
            source=one.home.away,
            dest=dest,
            mode=candidate.mode,
            mode_reason=candidate.mode_reason,
            policy=self.request.policy,
            dest_reason=reason,
            order=0,
            memory_kib=demand.all_memory_kib,
            hugepages_kib=demand.hugepages_kib,
            vcpus=demand.vcpus,
            copy_bytes=demand.copy_bytes,
            warnings=candidate.reports[dest].warnings,
        )


def _helps(guest: Belongs, waits: _Stuck) -> tuple[bool, int, str]:
    """Sort key: first those that a broken constraint names, then the largest."""
    return (guest.vm.name not in words_of(waits.breaks), -guest.vm.memory_kib, guest.vm.name)


def _in_turn(belongs: Iterable[Belongs], snapshot: FleetSnapshot) -> list[Belongs]:
    """Highest priority first, then the largest: what is hard to place goes while there is room."""

    def rank(one: Belongs) -> tuple[int, int, str]:
        return (-(handling_of(snapshot.inventory, one.vm).priority or 0), -one.vm.memory_kib, one.vm.name)

    return sorted(belongs, key=rank)


def _demand(rules: Judge, one: Belongs) -> Demand:
    candidate = judge(rules, one.vm, one.home.away, (), None)
    return demand_of(rules.case(one.vm, one.home.away, one.home.home, candidate.mode))


def _refuse(rules: Judge, board: Board, stuck: _Stuck) -> Refused:
    one, home = stuck.one, stuck.one.home.home
    report: PreflightReport = stuck.candidate.reports[home]
    others = [f for f in report.blockers if f.rule not in ROOM_RULES]
    if others:
        why = "; ".join(f"{finding.rule}: {finding.message}" for finding in others)
    elif stuck.breaks:
        why = f"on {home} it would break what must hold: {stuck.breaks}; change that, or move who is in its way"
    else:
        vms = [vm for vm in rules.fleet.side(home).facts.vms if vm.is_active]
        names = ", ".join(f"{vm.name} ({vm.memory_kib // 1024} MiB)" for vm in vms[:_NAMES_SHOWN])
        more = f" and {len(vms) - _NAMES_SHOWN} more" if len(vms) > _NAMES_SHOWN else ""
        short = board.rooms[home].shortage(_demand(rules, one)) or "; ".join(f.message for f in report.blockers)
        there = f"there are now {names or 'no VMs'}{more}, and none of them can make room"
        why = f"{home} {short}; {there}; free room on it"
    return Refused(vm=one.home.vm, uuid=one.uuid, home=home, why=why)


def _numbered(moves: Sequence[Move]) -> tuple[Move, ...]:
    return tuple(move.model_copy(update={"order": order}) for order, move in enumerate(moves))
