"""A part of the fault matrix on real hosts: one cell for each kind of fault and each decision of settlement.

All cells: `make fault-matrix`. The cells, and how each must end, are data: tests/matrix/table.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.lab import DiskKind
from tests.labs import lab_name
from tests.matrix.stand import Stand
from tests.matrix.table import CELLS, IMPOSSIBLE, Cell, Fault, Phase
from tests.matrix.trial import try_cell
from tests.prefect_side import PrefectServer

pytestmark = pytest.mark.lab
PART = [cell for cell in CELLS if cell.in_tests]


@pytest.fixture(scope="module")
def stand(prefect_server: PrefectServer) -> Iterator[Stand]:
    with Stand.up(lab_name("matrix"), prefect_server) as made:
        yield made


def test_every_fault_in_every_phase_is_a_cell_or_told_to_be_impossible() -> None:
    cells = {(cell.phase, cell.fault) for cell in CELLS if cell.disk is not DiskKind.SHARED}
    assert cells | set(IMPOSSIBLE) == set(itertools.product(Phase, Fault))
    assert not cells & set(IMPOSSIBLE)


def test_every_kind_of_fault_is_in_the_part() -> None:
    assert {cell.fault for cell in PART} == set(Fault)


@pytest.mark.parametrize("cell", PART, ids=[cell.name for cell in PART])
def test_a_fault_ends_as_the_settlement_table_says(
    stand: Stand, cell: Cell, prefect: PrefectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in stand.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    figures = try_cell(stand, cell)
    assert figures.problems == ()
    assert figures.copies <= 1
