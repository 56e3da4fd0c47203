"""Where machine code is kept: never in the package, never where others may write, and nowhere if nothing can be
written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vmferry.solver.reassignment import compiling

SOLVE = (
    "from tests.unit.solver.reassignment.problems import tiny; from vmferry.solver.reassignment import Budget, solve;"
    "from vmferry.solver.reassignment.compiling import cache_room;"
    "print(solve(tiny(), Budget(steps=0)).problems, cache_room())"
)


def _room(monkeypatch: pytest.MonkeyPatch, **given: Path) -> Path | None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/none")
    monkeypatch.setenv("HOME", "/dev/null/none")
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))
    compiling.cache_room.cache_clear()
    try:
        return compiling.cache_room()
    finally:
        compiling.cache_room.cache_clear()


def test_the_users_cache_directory_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    room = _room(monkeypatch, XDG_CACHE_HOME=tmp_path)
    assert room is not None
    assert room.parent == tmp_path
    assert room.stat().st_mode & 0o777 == 0o700


def test_temporary_files_are_the_last_resort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    room = _room(monkeypatch)
    assert room is not None
    assert room.parent == tmp_path / f"vmferry-{os.getuid()}"


def test_a_directory_that_others_may_write_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/dev/null/none")
    room = _room(monkeypatch, XDG_CACHE_HOME=tmp_path)
    assert room is not None
    room.chmod(0o777)
    assert _room(monkeypatch, XDG_CACHE_HOME=tmp_path) is None


def test_without_any_place_for_machine_code_the_solver_can_be_imported_and_answers() -> None:
    nowhere = {"HOME": "/dev/null/none", "XDG_CACHE_HOME": "/dev/null/none", "TMPDIR": "/dev/null/none"}
    code = "import tempfile; tempfile.tempdir = '/dev/null/none';" + SOLVE
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **nowhere},
        capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[4],
    )  # fmt: skip
    assert done.stdout.strip() == "() None", done.stderr
