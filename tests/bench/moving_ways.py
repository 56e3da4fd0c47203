"""One live move, by plain virsh and by vmferry's own steps, timed; and its downtime by the guest's heartbeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from infra.lab.lab import Lab
from infra.lab.proc import LabError
from infra.lab.watch import Watch
from vmferry.adapters.world import RealWorld
from vmferry.errors import VmferryError
from vmferry.model.convergence import PolicyName
from vmferry.model.migration import MigrationOutcome, MigrationPlan, MigrationRequest, OutcomeKind
from vmferry.model.transport import Encryption
from vmferry.planning.single import plan_vm
from vmferry.steps.forward import run_step
from vmferry.steps.names import StepName
from vmferry.steps.prepare import make_plan
from vmferry.steps.read import read_fleet, read_pairs
from vmferry.steps.recover import close, recover

_TRANSPORT = {Encryption.NONE: (), Encryption.TUNNELLED: ("--tunnelled",), Encryption.TLS: ("--tls",)}
_AFTER_S = 0.6  # the watch goes on: a copy that should not be there would beat meanwhile
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Moved:
    """One move; seconds from the start: of virsh's command, of vmferry's move step.

    `returned_s`: virsh has ended; of vmferry, the VM runs at the destination. `beats_s`: its first beat there.
    """

    has_ended: bool
    returned_s: float
    beats_s: float
    gap_ms: float  # the guest's longest silence
    overlap_s: float
    errors: int
    told_ms: float = float("nan")  # vmferry's own figure of the downtime
    switch: str = ""
    apart_s: dict[str, float] = field(default_factory=dict)  # each of vmferry's parts


Way = Callable[[Lab, str, str], Moved]


def by_virsh(encryption: Encryption, limit_s: float) -> Way:
    """Return plain `virsh migrate --live --p2p` over a transport; what has not ended by the limit is cancelled."""

    def move(lab: Lab, guest: str, dest: str) -> Moved:
        source = lab.running_on(guest)
        argv = ["virsh", "-q", "migrate", "--live", "--p2p", "--persistent", "--undefinesource"]
        argv += _TRANSPORT[encryption]
        if encryption is not Encryption.TUNNELLED:
            argv += ["--migrateuri", f"tcp://{lab.hosts[dest].address}"]
        with _watched(lab, guest) as watch:
            began = time.monotonic()
            has_ended = _ends(lab, source, [*argv, guest, lab.hosts[dest].peer_uri], guest, limit_s)
            returned = time.monotonic()
        return _moved(watch, dest, began, returned - began, has_ended=has_ended)

    return move


def _ends(lab: Lab, source: str, argv: list[str], guest: str, limit_s: float) -> bool:
    """Run virsh; cancel its job after the limit, and wait until the VM runs at the source only."""
    try:
        lab.hosts[source].run(argv, timeout=limit_s)
    except LabError:
        lab.hosts[source].run(["virsh", "-q", "domjobabort", guest], check=False)
        deadline = time.monotonic() + _PATIENCE_S
        while lab.where(guest) != {source: "running"}:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        return False
    return True


def by_vmferry(world: RealWorld, policy: PolicyName) -> Way:
    """Return what a flow does for one VM, in this process: read and judge, then the steps, one after the other."""

    def move(lab: Lab, guest: str, dest: str) -> Moved:
        apart: dict[str, float] = {}
        with _timed(apart, "read and judge"):
            plan = planned(world, guest, dest, policy)
        began: list[float] = []
        with _watched(lab, guest) as watch:
            outcome = _run(world, plan, apart, began)
        has_ended = outcome.kind is OutcomeKind.MOVED
        moved = _moved(watch, dest, began[0], outcome.move_seconds or float("nan"), has_ended=has_ended)
        told = float("nan") if outcome.downtime_ms is None else outcome.downtime_ms
        return Moved(**{**vars(moved), "told_ms": told, "switch": str(plan.switch), "apart_s": apart})

    return move


def planned(world: RealWorld, guest: str, dest: str, policy: PolicyName) -> MigrationPlan:
    """Read and judge as a flow does; raises RuntimeError when the move is blocked."""
    request = MigrationRequest(vm=guest, dest=dest, policy=policy)
    snapshot = read_fleet(world)
    first = plan_vm(snapshot, request)
    source = first.case.source.name
    pairs = read_pairs(world, snapshot, source, [dest], [first.vm])
    found = plan_vm(snapshot.model_copy(update={"pairs": pairs}), request.model_copy(update={"source": source}))
    if found.report.blockers:
        raise RuntimeError("; ".join(finding.message for finding in found.report.blockers))
    return make_plan(found, request, snapshot)


def _run(world: RealWorld, plan: MigrationPlan, apart: dict[str, float], began: list[float]) -> MigrationOutcome:
    world.journal.open_run(plan)
    try:
        for step in StepName:
            if step is StepName.MOVE:
                began.append(time.monotonic())
            with _timed(apart, step):
                run_step(plan.run, step, world)
        return close(world.journal.find(plan.run), world, OutcomeKind.MOVED)
    except VmferryError as error:
        return recover(plan.run, world, cause=str(error))


@contextmanager
def _timed(apart: dict[str, float], what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    apart[what] = time.monotonic() - began


@contextmanager
def _watched(lab: Lab, guest: str) -> Iterator[Watch]:
    with lab.watch(guest, interval_s=0.002) as watch:
        yield watch
        time.sleep(_AFTER_S)


def _moved(watch: Watch, dest: str, began: float, returned_s: float, *, has_ended: bool) -> Moved:
    first = next((spell.first_s for spell in watch.spells if spell.host == dest), float("nan"))
    return Moved(
        has_ended=has_ended,
        returned_s=returned_s,
        beats_s=watch.started_s + first - began,
        gap_ms=watch.longest_gap_s * 1000,
        overlap_s=watch.overlap_s,
        errors=watch.errors,
    )
