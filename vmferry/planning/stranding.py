"""Why a VM stays behind: the reason for every host tried. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from vmferry.model.evacuation import Stranded
from vmferry.model.findings import Finding, Severity
from vmferry.model.host import FleetSnapshot
from vmferry.planning.board import Board
from vmferry.planning.candidates import Candidate
from vmferry.rules.case import Fleet

_PLANNER = "vmferry.planning.placement"
_NAMES_SHOWN = 5


def why_stranded(fleet: Fleet, board: Board, candidate: Candidate, source: str, tried: Sequence[str]) -> Stranded:
    """Return the reason for every host tried; those without a blocker had no room left."""
    reasons: dict[str, tuple[Finding, ...]] = {}
    for name in tried:
        if name not in fleet.sides:
            reasons[name] = (_unread(fleet.snapshot, name),)
        elif candidate.reports[name].blockers:
            reasons[name] = candidate.reports[name].blockers
        else:
            reasons[name] = (_no_room(board, candidate, name),)
    if not reasons:
        message = f"vm {candidate.vm.name}: the inventory has no other host than {source}; add one"
        reasons[source] = (_finding("no-destination", message),)
    return Stranded(vm=candidate.vm.name, uuid=candidate.key, reasons=reasons)


def _finding(rule: str, message: str) -> Finding:
    return Finding(rule=rule, severity=Severity.BLOCK, message=message, source=_PLANNER)


def _unread(snapshot: FleetSnapshot, name: str) -> Finding:
    why = next((u.reason for u in snapshot.unreachable if u.host == name), "it was not read")
    return _finding("host-unreachable", f"{name} cannot be used: {why}; see `vmferry hosts`")


def _no_room(board: Board, candidate: Candidate, name: str) -> Finding:
    room = board.rooms[name]
    names = [c.vm.name for c in room.placed.values()]
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    after = f"after placing {', '.join(names[:_NAMES_SHOWN])}{more}" if names else "beside what runs there"
    shortage = room.shortage(candidate.demands[name])
    message = f"vm {candidate.vm.name}: no room left on {name} {after}: {shortage}; free memory or add a host"
    return _finding("no-room-left", message)
