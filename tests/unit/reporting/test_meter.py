"""Figures of a run: what the samples mean, in bytes, percent, MiB/s and time left."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmferry.model.disks import CopyStats, FileCopy
from vmferry.model.migration import JobStats, MigrationMode, MigrationPlan
from vmferry.model.transport import Encryption
from vmferry.model.vm import DomainState
from vmferry.reporting.meter import Meter
from vmferry.reporting.units import format_clock, format_share

MIB = 1 << 20
GIB = 1 << 30


def plan(*sizes_mib: int, mode: MigrationMode = MigrationMode.LIVE) -> MigrationPlan:
    return MigrationPlan(
        run="r1",
        vm="web",
        uuid=UUID(int=1),
        source="kvm1",
        dest="kvm2",
        mode=mode,
        mode_reason="",
        state_before=DomainState.RUNNING,
        is_persistent=True,
        is_autostart=False,
        memory_kib=1 << 20,
        reserved_kib=0,
        encryption=Encryption.TUNNELLED,
        peer_uri="",
        migration_uri="",
        deadline_s=60,
        files=tuple(
            FileCopy(
                source_path=f"/a/{n}.img", dest_path=f"/a/{n}.img", size_bytes=size * MIB, allocated_bytes=size * MIB
            )
            for n, size in enumerate(sizes_mib)
        ),
    )


def job(left_mib: int, *, at_s: float = 0.0, sent_mib: int = 0, **rest: object) -> JobStats:
    sample = {"elapsed_ms": round(at_s * 1000), "data_total_bytes": GIB, "data_remaining_bytes": left_mib * MIB}
    return JobStats.model_validate({**sample, "data_processed_bytes": sent_mib * MIB, "iteration": 1, **rest})


def copy(number: int, done_mib: int, of_mib: int, at_s: float) -> CopyStats:
    return CopyStats(path=f"/a/{number}.img", total_bytes=of_mib * MIB, done_bytes=done_mib * MIB, elapsed_s=at_s)


def test_the_words_of_a_live_move() -> None:
    meter = Meter(plan())
    meter.moved(job(1024))
    figures = meter.moved(
        job(724, at_s=3, sent_mib=330, iteration=3, dirty_rate_pages_s=3072, throttle_percent=20, seconds_left=42.0)
    )
    words = "memory 300 of 1024 MiB, 110 MiB/s, dirty 12 MiB/s, CPU throttled by 20 %, round 3"
    assert (figures.words, figures.line) == (words, f"{words}, 0:42 left")
    assert figures.percent == pytest.approx(29.3, abs=0.1)


def test_disks_are_told_apart_from_memory() -> None:
    stats = job(
        1024 + 512,
        data_total_bytes=3 * GIB,
        disk_total_bytes=2 * GIB,
        disk_remaining_bytes=512 * MIB,
    )
    figures = Meter(plan()).moved(stats)
    assert figures.words == "disks 1536 of 2048 MiB, memory 0 of 1024 MiB"
    assert figures.percent == 50


def test_postcopy_says_so_and_has_an_end() -> None:
    meter = Meter(plan())
    meter.moved(job(1024, iteration=4))
    figures = meter.moved(job(512, at_s=4, sent_mib=512, iteration=4, is_postcopy=True, dirty_rate_pages_s=9))
    assert figures.line == "post-copy: memory 512 of 1024 MiB, 128 MiB/s, round 4, 0:04 left"


def test_the_first_round_ends_when_all_is_sent_a_later_one_when_the_engine_says() -> None:
    meter = Meter(plan())
    assert meter.moved(job(1024)).seconds_left is None
    assert meter.moved(job(924, at_s=1, sent_mib=100)).seconds_left == pytest.approx(9.24)
    assert meter.moved(job(500, at_s=12, sent_mib=1200, iteration=2)).seconds_left is None


def test_the_time_before_the_first_byte_is_no_part_of_the_rate() -> None:
    meter = Meter(plan())
    assert meter.moved(JobStats(elapsed_ms=100)).line == "connecting"
    meter.moved(job(1024, at_s=3))
    assert meter.moved(job(924, at_s=4, sent_mib=100)).rate_bytes_s == pytest.approx(100 * MIB)


def test_between_two_predictions_the_clock_runs() -> None:
    meter = Meter(plan())
    left = [
        meter.moved(job(9, at_s=at_s, iteration=2, seconds_left=seconds)).seconds_left
        for at_s, seconds in ((10, 5.0), (12, 5.0), (17, 5.0), (18, 3.0))
    ]
    assert left == [5.0, 3.0, 0.0, 3.0]


def test_a_sample_without_a_total_tells_what_was_sent() -> None:
    assert Meter().moved(JobStats(data_processed_bytes=5 * MIB)).line == "5.0 MiB sent"


def test_files_one_after_the_other_and_then_memory_fill_one_bar() -> None:
    meter = Meter(plan(512, 512))
    first = meter.copied(copy(0, 0, 512, 0))
    assert first.line == "copying 0.img (1 of 2): 0 of 512 MiB"
    second = meter.copied(copy(0, 256, 512, 2))
    assert second.line == "copying 0.img (1 of 2): 256 of 512 MiB, 128 MiB/s, 0:06 left"
    assert second.percent == 12.5
    meter.copied(copy(0, 512, 512, 4))
    third = meter.copied(copy(1, 512, 512, 4))
    assert (third.percent, third.words) == (50.0, "copying 1.img (2 of 2): 512 of 512 MiB")
    assert meter.moved(job(512)).percent == 75


def test_what_an_offline_move_copies_is_all_there_is() -> None:
    assert Meter(plan(512, mode=MigrationMode.OFFLINE)).copied(copy(0, 256, 512, 1)).percent == 50


def test_a_copy_that_is_resumed_counts_only_what_it_sends_as_rate() -> None:
    meter = Meter(plan(1000, mode=MigrationMode.OFFLINE))
    meter.copied(copy(0, 800, 1000, 1.0))
    assert meter.copied(copy(0, 810, 1000, 2.0)).seconds_left == pytest.approx(19)


def test_a_file_unknown_to_the_meter_is_counted() -> None:
    """Recovery, or a listener that came late, has no plan."""
    assert Meter().copied(copy(7, 10, 40, 1)).percent == 25


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 1024)), min_size=1, max_size=30))
def test_a_bar_falls_back_only_with_a_new_round(samples: list[tuple[int, int]]) -> None:
    meter, before, round_ = Meter(plan()), 0.0, 0
    for number, left in sorted(samples, key=lambda sample: sample[0]):
        figures = meter.moved(job(left, iteration=number))
        assert 0 <= figures.percent <= 100
        if figures.percent < before:
            assert figures.round > max(round_, 1) and f"round {figures.round}" in figures.words
        before, round_ = figures.percent, figures.round


@pytest.mark.parametrize(
    ("seconds", "clock"), [(0, "0:00"), (-3, "0:00"), (42.4, "0:42"), (725, "12:05"), (11220, "3:07:00")]
)
def test_clocks(seconds: float, clock: str) -> None:
    assert format_clock(seconds) == clock


def test_shares_have_one_unit() -> None:
    assert format_share(300 * MIB, GIB) == "300 of 1024 MiB"
    assert format_share(3 * GIB, 200 * GIB) == "3.0 of 200.0 GiB"
    assert format_share(-5, 0) == "0 of 0 MiB"
