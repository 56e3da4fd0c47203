"""Counters of two moments → samples."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.unit.builders import NOW, build_uuid
from vmferry.model.usage import HostCounters, SubjectKind, UsageSample, VmCounters
from vmferry.planning.usage import is_too_soon, samples_between

NS = 10**9


def build_counters(vm: str = "web", **fields: Any) -> VmCounters:
    given = {"boot": "1", "vcpus": 2, "cpu_ns": 0, "memory_kib": 1 << 20, "disk_bytes": 0, "net_bytes": 0}
    return VmCounters(uuid=build_uuid(vm), name=vm, **{**given, **fields})


def build_reading(seconds: float, *vms: VmCounters, busy_s: float | None = 0) -> HostCounters:
    return HostCounters(
        host="kvm1",
        at=NOW + timedelta(seconds=seconds),
        cpus=8,
        busy_ns=None if busy_s is None else round(busy_s * NS),
        memory_total_kib=16 << 20,
        memory_available_kib=12 << 20,
        vms=vms,
    )


def sample_of(before: HostCounters, now: HostCounters, kind: SubjectKind = SubjectKind.VM) -> UsageSample | None:
    found = [item.sample for item in samples_between(before, now) if item.subject.kind is kind]
    return found[0] if found else None


def test_rates_are_differences_over_the_time_between() -> None:
    before = build_reading(0, build_counters(cpu_ns=5 * NS, disk_bytes=0, net_bytes=1024), busy_s=100)
    now = build_reading(300, build_counters(cpu_ns=155 * NS, disk_bytes=300 << 20, net_bytes=1024), busy_s=700)
    vm, host = sample_of(before, now), sample_of(before, now, SubjectKind.HOST)
    assert vm is not None and host is not None
    assert (vm.cpus, vm.span_s, vm.memory_mib, vm.disk_kib_s, vm.net_kib_s) == (0.5, 300, 1024, 1024, 0)
    assert (host.cpus, host.memory_mib, host.start_s) == (2.0, 4096, int(NOW.timestamp()))


def test_a_vm_that_was_started_again_or_came_is_left_out_once() -> None:
    before = build_reading(0, build_counters(cpu_ns=5 * NS))
    assert sample_of(before, build_reading(300, build_counters(cpu_ns=9 * NS, boot="2"))) is None
    assert sample_of(before, build_reading(300, build_counters(cpu_ns=1 * NS))) is None
    assert sample_of(before, build_reading(300, build_counters("new", cpu_ns=9 * NS))) is None


def test_a_host_that_was_started_again_or_does_not_tell_is_left_out() -> None:
    assert sample_of(build_reading(0, busy_s=9), build_reading(300, busy_s=3), SubjectKind.HOST) is None
    assert sample_of(build_reading(0, busy_s=None), build_reading(300, busy_s=3), SubjectKind.HOST) is None


def test_what_is_counted_at_nearly_the_same_time_or_hours_apart_tells_nothing() -> None:
    first = build_reading(0, build_counters())
    assert samples_between(None, first) == ()
    for seconds in (-5, 0, 29, 3 * 3600):
        assert samples_between(first, build_reading(seconds, build_counters(cpu_ns=NS))) == ()
    assert is_too_soon(first, build_reading(29)) and not is_too_soon(first, build_reading(30))
    assert not is_too_soon(first, build_reading(-5)), "a clock that went back must not stop the sampling for ever"
    assert not is_too_soon(None, first)


def test_what_was_not_told_is_no_traffic() -> None:
    before = build_reading(0, build_counters(disk_bytes=None, net_bytes=9000))
    now = build_reading(300, build_counters(disk_bytes=9000, net_bytes=10))
    sample = sample_of(before, now)
    assert sample is not None and (sample.disk_kib_s, sample.net_kib_s) == (0, 0)
