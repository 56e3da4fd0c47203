"""How far one run is, for bars, lines and artifacts: percent, MiB/s, round, what is left; from samples alone.

One bar per VM counts what vmferry copies before the switch-over, disks that QEMU mirrors, and memory. It falls back
only when the guest has written again what was sent: a new round begins, and the words say which.
"""

from __future__ import annotations

import posixpath
from collections import deque

from vmferry.model.base import Model
from vmferry.model.disks import CopyStats
from vmferry.model.migration import JobStats, MigrationMode, MigrationPlan
from vmferry.reporting.units import format_bytes, format_clock, format_share

_WINDOW_S = 10.0  # rates are means of this long: QEMU's and ssh's buffers make shorter ones jump
_PAGE = 4096  # the page of libvirt's dirty rate, on x86-64


class Figures(Model):
    """How far a run is; `seconds_left` None: not known, or never. It is not in `words`: a bar shows it apart."""

    percent: float = 0.0
    words: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    rate_bytes_s: float | None = None
    round: int = 0  # pass over a memory that changes; 0 while files are copied
    seconds_left: float | None = None

    @property
    def left(self) -> str:
        """`0:42 left`; empty when nobody knows."""
        return f"{format_clock(self.seconds_left)} left" if self.seconds_left is not None else ""

    @property
    def line(self) -> str:
        """Words and what is left."""
        return ", ".join(part for part in (self.words, self.left) if part)


class Meter:
    """Turns the samples of one run into figures; for one listener, which is called by one thread."""

    def __init__(self, plan: MigrationPlan | None = None) -> None:
        self._files = {copy.source_path: copy.allocated_bytes for copy in plan.files} if plan else {}
        self._copied: dict[str, int] = {}
        self._job_bytes = _job_bytes(plan) if plan else 0
        self._rate = _Rate()
        self._at: tuple[str, int] = ("", 0)  # what the percent belongs to: the phase and its round
        self._most = 0.0
        self._predicted: tuple[float | None, float] = (None, 0.0)  # seconds left, and when that was said

    def copied(self, stats: CopyStats) -> Figures:
        """Take a sample of a file that vmferry copies."""
        self._files[stats.path] = max(stats.total_bytes, stats.done_bytes)
        self._copied[stats.path] = stats.done_bytes
        rate = self._rate.take(stats.path, stats.elapsed_s, stats.done_bytes)
        total, done = sum(self._files.values()), sum(self._copied.values())
        number = list(self._files).index(stats.path) + 1
        place = f" ({number} of {len(self._files)})" if len(self._files) > 1 else ""
        words = [
            f"copying {posixpath.basename(stats.path)}{place}: {format_share(stats.done_bytes, stats.total_bytes)}"
        ]
        return Figures(
            percent=self._percent("copy", 0, done, total + self._job_bytes),
            words=", ".join([*words, *_rate_words(rate)]),
            done_bytes=done,
            total_bytes=total,
            rate_bytes_s=rate,
            seconds_left=(total - done) / rate if rate else None,
        )

    def moved(self, stats: JobStats) -> Figures:
        """Take a sample of a migration job."""
        rate = self._rate.take("job", stats.elapsed_ms / 1000, stats.data_processed_bytes)
        files, total = sum(self._files.values()), stats.data_total_bytes
        done = max(0, total - stats.data_remaining_bytes)
        return Figures(
            percent=self._percent("job", stats.iteration, files + done, files + total) if total else self._most,
            words=", ".join([*_job_words(stats), *_rate_words(rate), *_guest_words(stats)]),
            done_bytes=done,
            total_bytes=total,
            rate_bytes_s=rate,
            round=stats.iteration,
            seconds_left=self._seconds_left(stats, rate),
        )

    def _seconds_left(self, stats: JobStats, rate: float | None) -> float | None:
        """Return the engine's prediction; in the first round, and in post-copy, what remains is all there is to send.

        The engine predicts when an iteration begins: from then on the clock runs.
        """
        elapsed_s = stats.elapsed_ms / 1000
        if stats.seconds_left is not None:
            if stats.seconds_left != self._predicted[0]:
                self._predicted = (stats.seconds_left, elapsed_s)
            return max(0.0, stats.seconds_left - (elapsed_s - self._predicted[1]))
        is_bounded = stats.iteration <= 1 or stats.is_postcopy
        return stats.data_remaining_bytes / rate if rate and is_bounded else None

    def _percent(self, phase: str, round_: int, done: int, total: int) -> float:
        percent = 100.0 * min(1.0, done / total) if total > 0 else 0.0
        if (phase, round_) == self._at or round_ <= 1:
            percent = max(percent, self._most)
        self._at, self._most = (phase, round_), percent
        return percent


class Meters:
    """The meter of every run that is under way; one listener's own."""

    def __init__(self) -> None:
        self._meters: dict[str, Meter] = {}

    def start(self, plan: MigrationPlan) -> None:
        """Begin with a run."""
        self._meters[plan.run] = Meter(plan)

    def read(self, run: str, stats: JobStats | CopyStats) -> Figures:
        """Return the run's figures after a sample; a run that began before we listened has a meter too."""
        meter = self._meters.setdefault(run, Meter())
        return meter.copied(stats) if isinstance(stats, CopyStats) else meter.moved(stats)

    def end(self, run: str) -> None:
        """Forget a run."""
        self._meters.pop(run, None)


class _Rate:
    """The mean rate of the last seconds; begins anew with every file and with the job."""

    def __init__(self) -> None:
        self._of = ""
        self._samples: deque[tuple[float, int]] = deque()

    def take(self, of: str, elapsed_s: float, done_bytes: int) -> float | None:
        """Return bytes per second; None until there are two samples."""
        if of != self._of or (self._samples and elapsed_s < self._samples[-1][0]):
            self._of = of
            self._samples.clear()
        if self._samples and self._samples[-1][1] == done_bytes == 0:
            self._samples.clear()  # a job's clock runs from before its first byte
        self._samples.append((elapsed_s, done_bytes))
        while len(self._samples) > 2 and elapsed_s - self._samples[0][0] > _WINDOW_S:
            self._samples.popleft()
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        return max(0, last - first) / (last_s - first_s) if last_s > first_s else None


def _job_bytes(plan: MigrationPlan) -> int:
    """Return what the job will carry, as far as the plan knows: so the copies before it get their part of the bar."""
    if plan.mode is MigrationMode.OFFLINE:
        return 0
    return plan.memory_kib * 1024 + sum(disk.allocated_bytes for disk in plan.disks)


def _job_words(stats: JobStats) -> list[str]:
    words = []
    if stats.disk_total_bytes:
        words.append(
            f"disks {format_share(stats.disk_total_bytes - stats.disk_remaining_bytes, stats.disk_total_bytes)}"
        )
    memory = stats.data_total_bytes - stats.disk_total_bytes
    if memory > 0:
        left = stats.data_remaining_bytes - stats.disk_remaining_bytes
        how = "post-copy: memory" if stats.is_postcopy else "memory"
        words.append(f"{how} {format_share(memory - left, memory)}")
    elif not words:
        sent = stats.data_processed_bytes
        words.append(f"{format_bytes(sent)} sent" if sent else "connecting")
    return words


def _rate_words(rate: float | None) -> list[str]:
    return [f"{format_bytes(round(rate))}/s"] if rate else []


def _guest_words(stats: JobStats) -> list[str]:
    words = []
    if stats.dirty_rate_pages_s and not stats.is_postcopy:
        words.append(f"dirty {format_bytes(stats.dirty_rate_pages_s * _PAGE)}/s")
    if stats.throttle_percent:
        words.append(f"CPU throttled by {stats.throttle_percent} %")
    if stats.iteration > 1:
        words.append(f"round {stats.iteration}")
    return words
