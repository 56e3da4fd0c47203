"""What the memory of earlier moves reached, from their bytes and seconds: pure."""

from __future__ import annotations

from collections.abc import Sequence

from vmferry.model.base import Model
from vmferry.model.forecast import PastRate
from vmferry.model.migration import MigrationPlan
from vmferry.planning.overhead import around_s

_MIB = 2**20
# Less, and the handshakes around the stream, which vary by a tenth of a second, hide its rate.
_LEAST_MIB, _LEAST_S = 64, 0.7
# A stream that filled its own cap tells of the cap, not of the way.
_NEAR_CAP = 0.85


class PastMove(Model):
    """One move that ended well."""

    plan: MigrationPlan
    sent_bytes: int
    seconds: float  # of the whole move step


def past_rates(moves: Sequence[PastMove]) -> tuple[PastRate, ...]:
    """Return the best rate per kind of transport: others ran beside the slower ones, or they were helped along."""
    rates: dict[tuple[object, ...], list[PastRate]] = {}
    for move in moves:
        rate = _rate(move)
        if rate is not None:
            rates.setdefault((rate.encryption, rate.connections, rate.compression), []).append(rate)
    best = (
        max(found, key=lambda rate: rate.mib_s).model_copy(update={"moves": len(found)}) for found in rates.values()
    )
    return tuple(best)


def _rate(move: PastMove) -> PastRate | None:
    plan, mib, seconds = move.plan, move.sent_bytes / _MIB, move.seconds - around_s(move.plan)
    if mib < _LEAST_MIB or seconds < _LEAST_S:
        return None
    if plan.bandwidth_mib_s is not None and mib / seconds > _NEAR_CAP * plan.bandwidth_mib_s:
        return None
    return PastRate(
        encryption=plan.encryption,
        connections=plan.transport.connections,
        compression=plan.transport.compression,
        mib_s=mib / seconds,
        moves=1,
    )
