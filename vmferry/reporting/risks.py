"""What may go wrong with a plan, for whoever has to agree to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vmferry.model.convergence import DEFAULT_POLICY, PolicyName
from vmferry.model.evacuation import EvacuationPlan, Move
from vmferry.model.forecast import Ending
from vmferry.model.migration import MigrationMode
from vmferry.reporting.units import format_kib, format_ms

_LONG_PAUSE_MS = 1000  # an ordinary TCP client does not notice less
_TIGHT_SHARE = 0.1  # of a host's memory


def risks(plan: EvacuationPlan) -> tuple[str, ...]:
    """Return one line per risk, overrides first; empty for a plan without any."""
    found = [line for check in (_lifted, _no_way_back, _stands_still, _endless) for line in check(plan)]
    return (*found, *_tight(plan), *_stays(plan))


def _lifted(plan: EvacuationPlan) -> Iterator[str]:
    for move in plan.moves:
        for finding in move.warnings:
            if finding.is_lifted:
                yield f"{move.vm}: rule {finding.rule} was lifted by the operator: {finding.message}"


def _policy(plan: EvacuationPlan, move: Move) -> PolicyName:
    source = plan.snapshot.inventory.find(move.source)
    return move.policy or (source.convergence if source else DEFAULT_POLICY)


def _no_way_back(plan: EvacuationPlan) -> Iterator[str]:
    for move in plan.moves:
        policy = _policy(plan, move)
        if policy in (PolicyName.POST_COPY, PolicyName.VERY_LARGE_VM) and move.mode is MigrationMode.LIVE:
            yield (
                f"{move.vm}: policy {policy} may switch to post-copy: when the link to {move.dest} breaks then, the VM "
                "stands still until it is back, and it is lost when one of the hosts fails"
            )


def _stands_still(plan: EvacuationPlan) -> Iterator[str]:
    for move in plan.moves:
        pause = move.forecast.downtime_ms if move.forecast else None
        if move.restart:
            yield f"{move.vm}: is shut down, moved and started on {move.dest}"
        elif move.mode is MigrationMode.NON_LIVE:
            yield f"{move.vm}: moves non-live: a running VM stands still while its memory travels"
        elif pause is not None and pause > _LONG_PAUSE_MS:
            yield f"{move.vm}: is expected to stand still for {format_ms(pause)}"


def _endless(plan: EvacuationPlan) -> Iterator[str]:
    for move in plan.moves:
        if move.mode is MigrationMode.OFFLINE or move.forecast is None:
            continue
        if move.forecast.ending is Ending.NEVER:
            yield f"{move.vm}: is not expected to converge under its policy: it is tried, and stays when it does not"
        elif move.forecast.ending is Ending.UNKNOWN:
            yield f"{move.vm}: how long it takes is not known: {move.forecast.basis or 'nothing was measured'}"


def _tight(plan: EvacuationPlan) -> Iterator[str]:
    arriving: Counter[str] = Counter()
    for move in plan.moves:
        arriving[move.dest] += move.memory_kib - move.hugepages_kib
    for host in plan.snapshot.inventory.hosts:
        facts = plan.snapshot.facts(host.name)
        if facts is None or not arriving[host.name]:
            continue
        left = facts.memory_available_kib - host.reserves.memory_mib * 1024 - arriving[host.name]
        if left < _TIGHT_SHARE * facts.memory_total_kib:
            yield f"{host.name}: keeps {format_kib(max(0, left))} of memory for more VMs when all have arrived"


def _stays(plan: EvacuationPlan) -> Iterator[str]:
    if plan.stranded:
        names = ", ".join(stranded.vm for stranded in plan.stranded)
        yield f"{plan.host}: will not be empty: {names} cannot leave"
