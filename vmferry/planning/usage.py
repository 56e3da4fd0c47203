"""Counters of two moments → what was used between them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.usage import HostCounters, Subject, SubjectKind, SubjectSample, UsageSample, VmCounters

# Shorter spans tell of noise; asked again within this time nothing is recorded.
MIN_SPAN_S = 30
# Longer ones tell of nothing: a day's mean is no busy hour.
MAX_SPAN_S = 2 * 3600
_NS = 10**9


def samples_between(before: HostCounters | None, now: HostCounters) -> tuple[SubjectSample, ...]:
    """Return one sample per subject that was counted at both moments: the host first, then its VMs.

    A VM that started, or came, since is left out until the next time. Empty when there is no moment before, or when
    the time between is below MIN_SPAN_S or above MAX_SPAN_S.
    """
    if before is None:
        return ()
    start_s, span_s = _span(before, now)
    if not MIN_SPAN_S <= span_s <= MAX_SPAN_S:
        return ()
    return (*_of_host(before, now, start_s, span_s), *_of_vms(before, now, start_s, span_s))


def is_too_soon(before: HostCounters | None, now: HostCounters) -> bool:
    """Whether the moment before stays the one to count from."""
    return before is not None and 0 <= _span(before, now)[1] < MIN_SPAN_S


def _span(before: HostCounters, now: HostCounters) -> tuple[int, int]:
    start_s = int(before.at.timestamp())
    return start_s, int(now.at.timestamp()) - start_s


def _of_host(before: HostCounters, now: HostCounters, start_s: int, span_s: int) -> Iterator[SubjectSample]:
    if before.busy_ns is None or now.busy_ns is None or now.busy_ns < before.busy_ns:  # it was started again
        return
    cpus = min(float(now.cpus), (now.busy_ns - before.busy_ns) / _NS / span_s)
    total_mib = now.memory_total_kib // 1024
    subject = Subject(
        kind=SubjectKind.HOST,
        key=now.host,
        name=now.host,
        host=now.host,
        cpus=now.cpus,
        memory_mib=total_mib,
        seen_at=now.at,
    )
    used_mib = max(0, total_mib - now.memory_available_kib // 1024)
    yield SubjectSample(
        subject=subject,
        sample=UsageSample(start_s=start_s, span_s=span_s, cpus=cpus, cpus_peak=cpus, memory_mib=used_mib),
    )


def _of_vms(before: HostCounters, now: HostCounters, start_s: int, span_s: int) -> Iterator[SubjectSample]:
    known = {vm.uuid: vm for vm in before.vms}
    for vm in now.vms:
        old = known.get(vm.uuid)
        if old is None or old.boot != vm.boot or vm.cpu_ns < old.cpu_ns:
            continue
        # QEMU's own threads count too, so that a VM may use more than its vCPUs.
        cpus = (vm.cpu_ns - old.cpu_ns) / _NS / span_s
        subject = Subject(
            kind=SubjectKind.VM,
            key=str(vm.uuid),
            name=vm.name,
            host=now.host,
            cpus=vm.vcpus,
            memory_mib=vm.memory_kib // 1024,
            seen_at=now.at,
        )
        yield SubjectSample(subject=subject, sample=_sample(old, vm, cpus, start_s, span_s))


def _sample(old: VmCounters, vm: VmCounters, cpus: float, start_s: int, span_s: int) -> UsageSample:
    resident_kib = vm.memory_kib if vm.resident_kib is None else vm.resident_kib
    return UsageSample(
        start_s=start_s,
        span_s=span_s,
        cpus=cpus,
        cpus_peak=cpus,
        memory_mib=resident_kib // 1024,
        disk_kib_s=_rate_kib_s(old.disk_bytes, vm.disk_bytes, span_s),
        net_kib_s=_rate_kib_s(old.net_bytes, vm.net_bytes, span_s),
    )


def _rate_kib_s(old: int | None, now: int | None, span_s: int) -> int:
    """Return 0 where one of them was not told, and where a device was plugged out: its count went with it."""
    return 0 if old is None or now is None else max(0, now - old) // 1024 // span_s
