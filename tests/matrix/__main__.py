"""`make fault-matrix`: try all cells, print the matrix with its figures, and write docs/fault-matrix.md."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # a failing move is what is wanted here

from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    temporary_settings,
)

from tests.matrix.page import write_page
from tests.matrix.proof import Figures
from tests.matrix.stand import Missed, Stand
from tests.matrix.table import CELLS, Cell
from tests.matrix.trial import try_cell
from tests.prefect_side import PrefectServer


def main() -> int:
    """Return 0 when every cell ended as its row says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cells whose name contains this text")
    parser.add_argument("--part", default="1/1", help="which of how many parts: 1/2")
    parser.add_argument("--data", type=Path, help="also write the figures as JSON")
    parser.add_argument("--page", action="store_true", help="write docs/fault-matrix.md")
    parser.add_argument("--from-data", type=Path, nargs="*", help="write the page of figures measured before")
    options = parser.parse_args()
    if options.from_data:
        rows = [Figures(**row) for path in options.from_data for row in json.loads(path.read_text())]
        write_page(rows)
        return 0
    part, parts = (int(word) for word in options.part.split("/"))
    cells = [cell for cell in CELLS if options.only in cell.name][part - 1 :: parts]
    with _stand() as stand:
        rows = [row for number, cell in enumerate(cells, 1) if (row := _try(stand, cell, f"{number}/{len(cells)}"))]
    if options.data:
        options.data.write_text(json.dumps([row.as_data() for row in rows], indent=1))
    if options.page:
        write_page(rows)
    wrong = len(cells) - sum(not row.problems for row in rows)
    print(f"{len(cells)} cells, {wrong} of them wrong")
    return 1 if wrong else 0


@contextmanager
def _stand() -> Iterator[Stand]:
    room = Path(tempfile.mkdtemp(prefix="vmferry-matrix-", dir="/var/tmp"))
    try:
        with PrefectServer.running(room) as server:
            wanted = {
                PREFECT_API_URL: server.api_url,
                PREFECT_HOME: server.home,
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
            }
            with temporary_settings(wanted), Stand.up(f"matrix-{os.getpid()}", server) as stand:
                yield stand
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _try(stand: Stand, cell: Cell, number: str) -> Figures | None:
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as state_dir:  # what a wrong cell leaves open stays its own
            os.environ.update(Stand.environment(Path(state_dir)))
            row = try_cell(stand, cell)
    except (Missed, Exception) as error:
        print(f"{number} WRONG {cell.name}: {type(error).__name__}: {error}", flush=True)
        return None
    word = "WRONG" if row.problems else "ok"
    took = time.monotonic() - began
    print(
        f"{number} {word} {row.phase} × {row.fault}: {row.seen} → {row.decisions or 'settled at once'} → "
        f"{row.outcome}, {row.seconds} s, silence {row.silence_s} s (cell: {took:.0f} s)",
        flush=True,
    )
    for problem in row.problems:
        print(f"    {problem}", flush=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
