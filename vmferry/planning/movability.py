"""Who could go where: every VM of every host, judged for every other host as if it were alone."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from vmferry.model.audit import Movability, VmRow
from vmferry.model.findings import Finding
from vmferry.model.host import FleetSnapshot, Unreachable
from vmferry.planning.candidates import Candidate, judge
from vmferry.rules.case import Fleet
from vmferry.rules.judge import Judge


def movability(snapshot: FleetSnapshot, lifted: Iterable[str] = ()) -> Movability:
    """Return the matrix, each VM in the mode that it would take. Pure; raises InvalidInput for rules not to be lifted.

    Hosts that were not read are columns without an answer and give no rows.
    """
    rules = Judge(Fleet(snapshot), lifted)
    with no_collection():
        rows = [row_of(host, candidate) for host in rules.fleet.sides for candidate in judge_host(rules, host)]
    return matrix(rules, rows)


@contextmanager
def no_collection() -> Iterator[None]:
    """Pause the search for cyclic garbage: judging a large fleet makes none, and searching costs a quarter."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def judge_host(rules: Judge, host: str) -> list[Candidate]:
    """Judge all VMs of a host that was read for all others that were, sorted by name."""
    dests = [name for name in rules.fleet.sides if name != host]
    vms = sorted(rules.fleet.side(host).facts.vms, key=lambda vm: (vm.name, str(vm.uuid)))
    return [judge(rules, vm, host, dests, None) for vm in vms]


def matrix(rules: Judge, rows: Iterable[VmRow]) -> Movability:
    """Return the matrix of these rows."""
    snapshot = rules.fleet.snapshot
    return Movability(
        taken_at=snapshot.taken_at,
        hosts=snapshot.inventory.names(),
        unread=unread_hosts(rules.fleet),
        rows=tuple(rows),
        lifted=rules.policy.lifted,
    )


def unread_hosts(fleet: Fleet) -> tuple[Unreachable, ...]:
    """Return the hosts of the inventory that may not be used, each with the reason."""
    why = {u.host: u.reason for u in fleet.snapshot.unreachable}
    names = fleet.snapshot.inventory.names()
    return tuple(Unreachable(host=n, reason=why.get(n, "it was not asked")) for n in names if n not in fleet.sides)


def row_of(host: str, candidate: Candidate) -> VmRow:
    """Return the row of one VM."""
    free: list[str] = []
    warned: dict[str, tuple[str, ...]] = {}
    blocked: dict[str, tuple[Finding, ...]] = {}
    for dest, report in candidate.reports.items():
        if not report.findings:
            free.append(dest)
        elif blockers := report.blockers:
            blocked[dest] = blockers
        elif warnings := report.warnings:
            warned[dest] = tuple(dict.fromkeys(finding.rule for finding in warnings))
        else:
            free.append(dest)
    vm = candidate.vm
    return VmRow(
        vm=vm.name,
        uuid=candidate.key,
        host=host,
        state=vm.state,
        mode=candidate.mode,
        mode_reason=candidate.mode_reason,
        memory_kib=vm.memory_kib,
        free=tuple(free),
        warned=warned,
        blocked=blocked,
    )
