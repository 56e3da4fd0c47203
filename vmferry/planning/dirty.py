"""What several windows of QEMU's page sampling say together of one VM: pure."""

from __future__ import annotations

from vmferry.model.forecast import DirtyRate

FIRST_S, SECOND_S = 1, 2  # lengths of the two windows
# Below that a VM writes next to nothing on any link, and a second window tells no more: two samples of 2 MiB.
BUSY_MIB_S = 4.0
# A window twice as long shows twice the pages, unless all of the working set was written already.
_NO_MORE = 1.25
# With fewer samples their chance decides (2 MiB each, ± 1/√n): then nothing is said of the working set.
_FEWEST_SAMPLES = 8
_SAMPLE_MIB = 2.0


def is_busy(rate: DirtyRate) -> bool:
    """Whether a second, longer window is worth its time."""
    return rate.mib_s is not None and rate.mib_s >= BUSY_MIB_S


def join_windows(first: DirtyRate, second: DirtyRate) -> DirtyRate:
    """Return the rate of both windows, and the working set where the longer one shows no more of it.

    Then the rate is a lower bound: it was all written within the first window.
    """
    if first.mib_s is None or second.mib_s is None:
        return first if second.mib_s is None else second
    early_mib, late_mib = first.mib_s * FIRST_S, second.mib_s * SECOND_S
    newer = {"resident_kib": max(first.resident_kib, second.resident_kib)}
    if early_mib >= _FEWEST_SAMPLES * _SAMPLE_MIB and late_mib < _NO_MORE * early_mib:
        most = max(early_mib, late_mib)
        return second.model_copy(update={**newer, "mib_s": early_mib / FIRST_S, "working_set_mib": most})
    rate = (early_mib + late_mib) / (FIRST_S + SECOND_S)
    return second.model_copy(update={**newer, "mib_s": rate, "working_set_mib": None})
