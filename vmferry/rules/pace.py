"""Whether a VM writes to its memory faster than the way carries it; what moves is measured beside the pairs."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.convergence import FIRST_LIMIT_MS, POLICIES, AtDeadline, Policy, SetDowntime, Suspend
from vmferry.model.findings import Severity
from vmferry.model.forecast import DirtyRate
from vmferry.model.host import Profile
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import DomainState
from vmferry.rules.case import Case
from vmferry.rules.connections import link_mbit_s
from vmferry.rules.rule import Rule, Weights

# What a QEMU takes beside its guest's memory: binary, libraries, heap (QEMU 7.2: 42.5 MiB with 8 to 300 MiB in use).
QEMU_KIB = 42 * 1024
_LEAST_MIB = 4.0  # devices and firmware of the smallest guest
_NO_GAIN = 0.9  # of the rate: each pass leaves nearly as much as the one before (vmferry.planning.convergence)
_OF_NOMINAL = 0.94  # Ethernet, IP and TCP headers
_MIB_PER_MBIT = 1e6 / 8 / 2**20


def memory_in_use_mib(case: Case, dirty: DirtyRate) -> float:
    """Return what the first pass sends; pages of zeros cost next to nothing, huge pages are not in a process's RSS."""
    vm = case.vm
    if vm.hugepages or dirty.resident_kib <= 0:
        return vm.memory_kib / 1024
    return min(vm.memory_kib / 1024, max(_LEAST_MIB, (dirty.resident_kib - QEMU_KIB) / 1024))


def nominal_mib_s(case: Case) -> float | None:
    """Return what the network devices of the way say, less headers; None where one says nothing."""
    speed = link_mbit_s(case)
    return speed * _MIB_PER_MBIT * _OF_NOMINAL if speed else None


def forecast_never(case: Case) -> Iterator[str]:
    """A VM writes to its memory slower than the way carries it, or its policy helps it, where both were measured."""
    dirty, rate = case.source.facts.dirty.get(str(case.vm.uuid)), _rate_mib_s(case)
    if dirty is None or dirty.mib_s is None or rate is None or case.vm.state is not DomainState.RUNNING:
        return
    set_mib = min(memory_in_use_mib(case, dirty), dirty.working_set_mib or float("inf"))
    policy, pause_s = POLICIES[case.convergence], set_mib / rate
    if dirty.mib_s < _NO_GAIN * rate or pause_s * 1000 <= _limit_ms(policy) or _is_helped(policy, pause_s):
        return
    yield (
        f"vm {case.vm.name} writes about {dirty.mib_s:.0f} MiB/s to its memory, the way to {case.dest.name} carries "
        f"{rate:.0f}: it will not converge under policy {policy.name}; `--policy suspend-if-needed` would let it stand "
        f"still for about {pause_s:.0f} s, `--policy auto-converge` slows it down meanwhile"
    )


def _rate_mib_s(case: Case) -> float | None:
    """Return the rate that is known best: of moves before, of a probe, of the devices; at most the inventory's cap."""
    pair = case.pair
    past = max((one.mib_s for one in pair.past), default=None) if pair is not None else None
    probed = pair.mib_s if pair is not None else None
    rates = [past or probed or nominal_mib_s(case)]
    rates += [side.host.limits.bandwidth_mib_s for side in (case.source, case.dest)]
    known = [rate for rate in rates if rate]
    return min(known) if known else None


def _limit_ms(policy: Policy) -> int:
    limits = [rung.action.limit_ms for rung in policy.rungs if isinstance(rung.action, SetDowntime)]
    return max([FIRST_LIMIT_MS, *limits])


def _is_helped(policy: Policy, pause_s: float) -> bool:
    """Whether the policy slows the VM down, fetches its memory afterwards, or may stop it for so long."""
    may_suspend = policy.at_deadline is AtDeadline.SUSPEND or any(isinstance(r.action, Suspend) for r in policy.rungs)
    return policy.throttle is not None or policy.may_postcopy or (may_suspend and pause_s <= policy.max_pause_s)


_LIVE: Weights = {(profile, MigrationMode.LIVE): Severity.WARN for profile in Profile}

RULES: tuple[Rule, ...] = (
    Rule("forecast-never", forecast_never, _LIVE, "failure mode of pre-copy; docs/decisions/0019"),
)
