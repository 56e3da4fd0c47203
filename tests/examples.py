"""How many examples a property is tried on.

The profile `steady` takes the same examples on every run, so that a failing run was broken by its change. `nightly`
(`make test PROFILE=nightly`, environment variable VMFERRY_TEST_PROFILE) takes new ones each time, and many more.
"""

from __future__ import annotations

import os

from hypothesis import settings

TIMES = {"steady": 1, "nightly": 20}
USUAL = 50
PROFILE = os.environ.get("VMFERRY_TEST_PROFILE", "steady")

# No deadlines: a busy machine is no finding.
settings.register_profile("steady", max_examples=USUAL, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("nightly", max_examples=USUAL * TIMES["nightly"], deadline=None, print_blob=True)
settings.load_profile(PROFILE)


def examples(count: int) -> settings:
    """Return settings for a property that takes so many examples in the steady profile."""
    return settings(max_examples=count * TIMES[PROFILE])
