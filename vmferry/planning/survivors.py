"""N-1: what would become of a host's VMs if it went down now."""

from __future__ import annotations

from collections.abc import Sequence

from vmferry.model.audit import HostLoss, Placed
from vmferry.model.evacuation import Stranded
from vmferry.model.findings import PreflightReport
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import Vm
from vmferry.planning.board import Board
from vmferry.planning.candidates import Candidate, Demand, demand_of
from vmferry.planning.placement import place_together
from vmferry.planning.repair import BUDGET
from vmferry.planning.stranding import why_stranded
from vmferry.rules.judge import Judge

# Of repairs, a tenth of an evacuation's: this answer is given for every host of a fleet at once.
_TRIES = BUDGET // 10
_START = "its host is lost: it would be started again"


def lose_host(rules: Judge, host: str) -> HostLoss:
    """Return who would run elsewhere, all running VMs placed together, and who could not; reads only.

    VMs that are shut off need no room: those are told that no host could start, each judged alone.
    """
    fleet = rules.fleet
    dests = tuple(name for name in fleet.sides if name != host)
    candidates = [_judge(rules, vm, host, dests) for vm in fleet.side(host).facts.vms]
    running = [candidate for candidate in candidates if candidate.vm.is_active]
    board = Board(fleet, dests)
    place_together(fleet, board, running, host, _TRIES)
    return HostLoss(
        host=host,
        survivors=tuple(
            Placed(vm=candidate.vm.name, uuid=candidate.key, dest=board.dest_of[candidate.key])
            for candidate in sorted(running, key=_by_name)
            if candidate.key in board.dest_of
        ),
        stranded=_stranded(rules, board, [c for c in running if c.key not in board.dest_of], host),
        unstartable=_stranded(rules, board, [c for c in candidates if not (c.vm.is_active or c.demands)], host),
    )


def _by_name(candidate: Candidate) -> tuple[str, str]:
    return candidate.vm.name, candidate.key


def _stranded(rules: Judge, board: Board, stuck: Sequence[Candidate], host: str) -> tuple[Stranded, ...]:
    tried = [name for name in rules.fleet.snapshot.inventory.names() if name != host]
    return tuple(why_stranded(rules.fleet, board, c, host, tried) for c in sorted(stuck, key=_by_name))


def _judge(rules: Judge, vm: Vm, host: str, dests: Sequence[str]) -> Candidate:
    """Judge every other host for a VM that has to be started there; it takes what a running VM takes."""
    reports: dict[str, PreflightReport] = {}
    demands: dict[str, Demand] = {}
    for dest in dests:
        case = rules.case(vm, host, dest, MigrationMode.LIVE)
        reports[dest] = rules.check_loss(case)
        if not reports[dest].blockers:
            demands[dest] = demand_of(case)
    return Candidate(vm, MigrationMode.LIVE, _START, reports, demands)
