"""Is a fleet out of balance, for long enough to do something about it? Pure.

One busy sample is none: a host counts as hot when in most of the time looked at it was busier than the fleet's mean by
the threshold. What it is busy with: CPUs, or memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from vmferry.model.optimization import Balance, BalanceRequest, HotHost
from vmferry.model.usage import UsageSample
from vmferry.planning.demand import percentile

_CPU, _MEMORY = "CPU", "memory"
# Samples must cover so much of the time: what was not looked at did not last.
_COVERED = 0.8


def find_imbalance(
    samples: Mapping[str, Sequence[UsageSample]],
    cpus: Mapping[str, int],
    memory_mib: Mapping[str, int],
    request: BalanceRequest,
    now: datetime,
) -> Balance:
    """Return the hosts that stay above the mean, the hottest first; all mappings are by host.

    A host without enough samples is neither hot nor counted in the mean.
    """
    end_s = now.timestamp()
    begin_s = end_s - request.lasting_s
    recent = {
        host: [s for s in found if s.end_s > begin_s and s.start_s < end_s]
        for host, found in samples.items()
        if cpus.get(host) and memory_mib.get(host)
    }
    known = {
        host: found
        for host, found in recent.items()
        if sum(min(s.end_s, end_s) - max(s.start_s, begin_s) for s in found) >= _COVERED * request.lasting_s
    }
    if len(known) < 2:
        minutes = request.lasting_s // 60
        return Balance(hot=(), reason=f"nothing worth doing: {len(known)} hosts were observed for {minutes} minutes")
    busy = {_CPU: _shares(known, cpus, _CPU), _MEMORY: _shares(known, memory_mib, _MEMORY)}
    hot = [one for resource, shares in busy.items() for one in _hot(resource, shares, request)]
    hot.sort(key=lambda one: (one.mean_percent - one.percent, one.host, one.resource))
    return Balance(hot=tuple(hot), reason=_words(hot, busy, request))


Shares = Mapping[str, list[tuple[float, int]]]


def _shares(known: Mapping[str, Sequence[UsageSample]], most: Mapping[str, int], resource: str) -> Shares:
    """Return per host the percents of the resource that were used, each with its seconds."""
    return {
        host: [((s.cpus if resource == _CPU else s.memory_mib) / most[host] * 100, s.span_s) for s in found]
        for host, found in known.items()
    }


def _mean(weighted: Sequence[tuple[float, int]]) -> float:
    return sum(value * weight for value, weight in weighted) / max(1, sum(weight for _, weight in weighted))


def _hot(resource: str, shares: Shares, request: BalanceRequest) -> list[HotHost]:
    mean = sum(_mean(found) for found in shares.values()) / len(shares)
    reached = {host: percentile(found, 100 - request.share_percent) for host, found in shares.items()}
    return [
        HotHost(host=host, resource=resource, percent=percent, mean_percent=mean)
        for host, percent in reached.items()
        if percent - mean >= request.threshold_percent
    ]


def _words(hot: Sequence[HotHost], busy: Mapping[str, Shares], request: BalanceRequest) -> str:
    minutes = request.lasting_s // 60
    if hot:
        return "; ".join(
            f"{one.host} had {one.percent:.0f} % of its {one.resource} or more in use for most of {minutes} minutes, "
            f"the mean of all hosts was {one.mean_percent:.0f} %"
            for one in hot
        )
    told = []
    for resource, shares in busy.items():
        host, most = max(((host, _mean(found)) for host, found in shares.items()), key=lambda pair: (pair[1], pair[0]))
        mean = sum(_mean(found) for found in shares.values()) / len(shares)
        told.append(f"{resource}: busiest {host} with {most:.0f} %, mean {mean:.0f} %")
    return (
        f"nothing worth doing: no host was {request.threshold_percent:g} points above the mean for most of "
        f"{minutes} minutes ({'; '.join(told)})"
    )
