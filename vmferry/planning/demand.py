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


DEFAULT_DEMAND = DemandPolicy()


def windows(now_s: int, policy: DemandPolicy = DEFAULT_DEMAND) -> tuple[tuple[int, int], ...]:
    """Return the spans of the past that a forecast needs, newest first: (from, to), seconds since 1970."""
    days = ((now_s - day * DAY_S, now_s - day * DAY_S + policy.horizon_s) for day in range(1, policy.days + 1))
    return ((now_s - policy.recent_s, now_s), *days)


def forecast_demand(
    samples: Sequence[UsageSample], vcpus: int, now_s: int, policy: DemandPolicy = DEFAULT_DEMAND
) -> Demand:
    """Return what the VM will need at its peak until `now_s + horizon_s`: the highest of the windows' percentiles.

    Samples after `now_s` are refused by ValueError: a forecast may not know the future.
    """
    if any(sample.start_s >= now_s for sample in samples):
        raise ValueError("a sample lies in the future of the forecast")
    groups = [[s for s in samples if s.start_s < end and s.end_s > begin] for begin, end in windows(now_s, policy)]
    recent, earlier = groups[0], [group for group in groups[1:] if group]
    known_s = sum(sample.span_s for sample in recent)
    if known_s < policy.known_after_s:
        basis = f"observed for {known_s // 60} of {policy.known_after_s // 60} minutes: all of its vCPUs"
        return Demand(cpus=float(vcpus), mean_cpus=float(vcpus), samples=0, basis=basis)
    peak_now = percentile([(s.cpus_peak, s.span_s) for s in recent], policy.percentile)
    peaks = [percentile([(s.cpus_peak, s.span_s) for s in group], policy.percentile) for group in earlier]
    peak = max([peak_now, *peaks])
    mean = max([_mean(group) for group in (recent, *earlier)])
    since = "the last hours" if peak <= peak_now else "the same hours of an earlier day"
    count = sum(len(group) for group in (recent, *earlier))
    return Demand(cpus=max(peak, mean), mean_cpus=mean, samples=count, basis=f"{count} samples, peak of {since}")


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


def _mean(samples: Sequence[UsageSample]) -> float:
    total = sum(s.span_s for s in samples)
    return sum(s.cpus * s.span_s for s in samples) / total if total else 0.0


class Sizing(Model):
    """How the demands of many VMs add up on one host: their peaks do not all come at once.

    A host needs Σ mean + z·√(Σ spread²), with spread = (peak − mean) ÷ z of each VM. The tangent of the root at a
    typical host, where √(Σ spread²) is `typical_spread`, is never below it and can be added VM by VM: each VM is
    `size`, each host gives `headroom` away.
    """

    z: float = Field(default=2.0, ge=0)
    typical_spread: float = Field(default=1.0, gt=0)

    def size(self, demand: Demand) -> float:
        """Return how many CPUs a VM counts with on any host; never more than its own peak."""
        spread = (demand.cpus - demand.mean_cpus) / self.z if self.z else 0.0
        return min(demand.cpus, demand.mean_cpus + self.z * spread**2 / (2 * self.typical_spread))

    def headroom(self) -> float:
        """Return how many CPUs of each host stay free for peaks that meet."""
        return self.z * self.typical_spread / 2

    @classmethod
    def of(cls, demands: Sequence[Demand], hosts: int, z: float = 2.0) -> Sizing:
        """Return the sizing whose typical host holds an equal share of these VMs' spread."""
        total = sum(((d.cpus - d.mean_cpus) / z) ** 2 for d in demands) if z else 0.0
        return cls(z=z, typical_spread=max(1e-6, math.sqrt(total / max(1, hosts))))
