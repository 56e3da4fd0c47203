"""What a VM will need of CPUs in the next hours, from what it used: recent peaks, and those of the same hours before.

Pure. docs/decisions/0025-usage-and-worth.md tells why.

One busy minute moves nothing: peaks are percentiles of many samples. One quiet minute does not either: a VM that was
not observed for long enough counts with all of its vCPUs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pydantic import Field

from vmferry.model.base import Model
from vmferry.model.usage import Demand, UsageSample

DAY_S = 86400


class DemandPolicy(Model):
    """How far a forecast looks, back and ahead."""

    horizon_s: int = Field(default=6 * 3600, ge=300, le=DAY_S, description="demand of the next so many seconds")
    recent_s: int = Field(default=4 * 3600, ge=300, le=DAY_S, description="of the past, whatever the time of day")
    days: int = Field(default=14, ge=0, le=60, description="earlier days whose same hours count")
    percentile: float = Field(default=95.0, gt=0, le=100, description="of samples, weighted by time: the peak")
    known_after_s: int = Field(default=3600, ge=0, description="observed for less: its vCPUs are taken")
    learn_s: int = Field(
        default=0, ge=0, description="observed for so long: half itself, half one of its peers; 0: off"
    )


DEFAULT_DEMAND = DemandPolicy()


def windows(now_s: int, policy: DemandPolicy = DEFAULT_DEMAND) -> tuple[tuple[int, int], ...]:
    """Return the spans of the past that a forecast needs, newest first: (from, to), seconds since 1970."""
    days = ((now_s - day * DAY_S, now_s - day * DAY_S + policy.horizon_s) for day in range(1, policy.days + 1))
    return ((now_s - policy.recent_s, now_s), *days)


class Peers(Model):
    """What the VMs of a fleet use on the whole: shares of a vCPU, mean and standard deviation over VMs and time."""

    mean: float
    spread: float

    @classmethod
    def of(cls, vms: Iterable[tuple[Sequence[UsageSample], int]]) -> Peers:
        """Return it from samples and vCPUs of all VMs; zeros without any sample."""
        shares = [(sample.cpus / max(1, vcpus), sample.span_s) for samples, vcpus in vms for sample in samples]
        mean, spread = _moments(shares)
        return cls(mean=mean, spread=spread)


def forecast_demand(
    samples: Sequence[UsageSample],
    vcpus: int,
    now_s: int,
    policy: DemandPolicy = DEFAULT_DEMAND,
    peers: Peers | None = None,
) -> Demand:
    """Return what the VM will need until `now_s + horizon_s`: of each figure the highest of the windows.

    With `peers` and `learn_s` a VM that is not known for long is taken half for itself, half for one of them.
    Samples after `now_s` are refused by ValueError: a forecast may not know the future.
    """
    if any(sample.start_s >= now_s for sample in samples):
        raise ValueError("a sample lies in the future of the forecast")
    groups = [[s for s in samples if s.start_s < end and s.end_s > begin] for begin, end in windows(now_s, policy)]
    recent, earlier = groups[0], [group for group in groups[1:] if group]
    known_s = sum(sample.span_s for sample in recent)
    if not recent or known_s < policy.known_after_s:
        basis = f"observed for {known_s // 60} of {policy.known_after_s // 60} minutes: all of its vCPUs"
        return Demand(cpus=float(vcpus), mean_cpus=float(vcpus), samples=0, basis=basis)
    peak_now, *peaks = (percentile([(s.cpus_peak, s.span_s) for s in g], policy.percentile) for g in (recent, *earlier))
    means, spreads = zip(*(_moments([(s.cpus, s.span_s) for s in g]) for g in (recent, *earlier)), strict=True)
    peak, mean, spread = max([peak_now, *peaks]), max(means), max(spreads)
    since = "the last hours" if peak <= peak_now else "the same hours of an earlier day"
    count = sum(len(group) for group in (recent, *earlier))
    if peers is not None and policy.learn_s:
        own = known_s / (known_s + policy.learn_s)
        mean = own * mean + (1 - own) * peers.mean * vcpus
        spread = math.sqrt(own * spread**2 + (1 - own) * (peers.spread * vcpus) ** 2)
    return Demand(
        cpus=max(peak, mean),
        mean_cpus=mean,
        spread_cpus=spread,
        samples=count,
        basis=f"{count} samples, peak of {since}",
    )


def percentile(weighted: Iterable[tuple[float, int]], wanted: float) -> float:
    """Return the least value that is not passed in `wanted` percent of the weight; 0 of nothing."""
    ordered = sorted(weighted)
    need = sum(weight for _, weight in ordered) * wanted / 100
    seen = 0.0
    for value, weight in ordered:
        seen += weight
        if seen >= need - 1e-9:
            return value
    return ordered[-1][0] if ordered else 0.0


def _moments(weighted: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Return mean and standard deviation; zeros of nothing."""
    total = sum(weight for _, weight in weighted)
    if not total:
        return 0.0, 0.0
    mean = sum(value * weight for value, weight in weighted) / total
    return mean, math.sqrt(sum((value - mean) ** 2 * weight for value, weight in weighted) / total)


class Sizing(Model):
    """How the demands of many VMs add up on one host: their peaks do not all come at once.

    A host needs Σ mean + z·√(Σ spread²). The tangent of the root at a typical host, where √(Σ spread²) is
    `typical_spread`, is never below it and can be added VM by VM: each VM counts with `size`, each host gives
    `headroom` away. With z = 2 the CPUs of a host suffice for some 98 of 100 samples.
    """

    z: float = Field(default=2.0, ge=0, le=10)
    typical_spread: float = Field(default=1.0, gt=0)

    def size(self, demand: Demand) -> float:
        """Return how many CPUs a VM counts with on any host; never more than its own mean and z spreads."""
        spread = demand.spread_cpus
        return demand.mean_cpus + self.z * min(spread, spread**2 / (2 * self.typical_spread))

    def headroom(self) -> float:
        """Return how many CPUs of each host stay free for peaks that meet."""
        return self.z * self.typical_spread / 2

    @classmethod
    def of(cls, demands: Sequence[Demand], cpus_per_host: float, z: float = 2.0) -> Sizing:
        """Return the sizing whose typical host is three quarters busy and holds an equal share of these spreads."""
        hosts = max(1.0, sum(d.mean_cpus for d in demands) / (0.75 * max(cpus_per_host, 1e-9)))
        return cls(z=z, typical_spread=max(1e-6, math.sqrt(sum(d.spread_cpus**2 for d in demands) / hosts)))
