"""A simulated fleet for each flow test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.yard import Yard


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """Return kvm1, kvm2 and kvm3 with nothing on them, and an empty journal."""
    return Yard(tmp_path / "journal.db")
