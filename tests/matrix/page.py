"""docs/fault-matrix.md: the measured matrix, and what cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.matrix.proof import Figures
from tests.matrix.table import IMPOSSIBLE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "fault-matrix.md"
_HEAD = """\
# What happens when something dies

"""


def write_page(rows: Sequence[Figures]) -> None:
    PAGE.write_text(_HEAD)
