"""The traces: per day one row per VM, 288 samples of CPU use in percent, five minutes apart."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

Percents = npt.NDArray[np.uint8]
STEPS, STEP_S = 288, 300
_ARCHIVE = "planetlab_10days.tar.xz"
_ROOT = Path(__file__).resolve().parents[3]


def archive() -> Path:
    """Return the archive: in BENCH_DATA, or in a directory shared/data beside the checkout or above it."""
    given = os.environ.get("BENCH_DATA")
    places = [Path(given)] if given else [parent / "shared" / "data" for parent in _ROOT.parents]
    for place in places:
        if (place / _ARCHIVE).is_file():
            return place / _ARCHIVE
    raise FileNotFoundError(
        f"{_ARCHIVE} is in none of {', '.join(map(str, places))}; set BENCH_DATA to its directory (it is the folder "
        "planetlab of github.com/Cloudslab/cloudsim, packed)"
    )


def read_days() -> dict[str, Percents]:
    """Return day → samples, VMs in the order of their file names: CloudSim takes the order of the directory."""
    rows: dict[str, dict[str, list[int]]] = {}
    with tarfile.open(archive()) as packed:
        for member in packed:
            file = packed.extractfile(member) if member.isfile() else None
            if file is not None:
                day, name = member.name.split("/")[-2:]
                rows.setdefault(day, {})[name] = [int(word) for word in file.read().split()[:STEPS]]
    return {day: np.array([rows[day][name] for name in sorted(rows[day])], np.uint8) for day in sorted(rows)}
