"""Names of the labs of a test run, so that its end finds those that a killed worker left."""

from __future__ import annotations

import os

# The workers are children of the process that was started, and inherit its number.
RUN = os.environ.setdefault("VMFERRY_TEST_RUN", str(os.getpid()))


def lab_name(word: str) -> str:
    """Return a name that no other worker and no other run uses."""
    return f"t{RUN}-{os.getpid()}-{word}"


def take_down_left() -> None:
    """Remove what is left of this run's labs; a worker that was interrupted is killed after ten seconds."""
    from infra.lab import Lab, take_down

    for name in Lab.names():
        if name.startswith(f"t{RUN}-"):
            take_down(name)
