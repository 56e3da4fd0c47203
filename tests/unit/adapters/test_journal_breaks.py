"""A journal whose disk is full, whose last write was torn or whose file is gone in the middle of a move."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.steps.promises import wrongs_of
from tests.unit.steps.voyage import DEST, SCENARIOS, SOURCE, Scenario, Voyage
from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated import Blow, Fault, Operation, SimulatedCrash
from vmferry.adapters.simulated.faults import Gate
from vmferry.errors import AlreadyMoving, PermanentError, UnsafeError, VmferryError
from vmferry.model.journal import RunState
from vmferry.steps.forward import run_step
from vmferry.steps.names import StepName

LIVE, OFFLINE = SCENARIOS["live"], SCENARIOS["offline"]
CALM = Fault(does=Blow.CRASH_AFTER)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="vmferry.steps")


class AtWrite(Gate):
    """A gate that lets something happen around the nth write to the journal."""

    def __init__(self, voyage: Voyage, nth: int, before: Callable[[], None], after: Callable[[], None]) -> None:
        super().__init__(voyage.fleet.now, voyage.fleet._strike)
        voyage.fleet.gate = self
        self.left, self._before_it, self._after_it = nth, before, after

    def enter(self, operation: Operation) -> Blow | None:
        if operation.port == "journal" and operation.is_write:
            self.left -= 1
            if self.left == 0:
                self._before_it()
        return super().enter(operation)

    def leave(self, operation: Operation, blow: Blow | None) -> None:
        super().leave(operation, blow)
        if operation.port == "journal" and operation.is_write and self.left == 0:
            self.left = -1
            self._after_it()


def nothing() -> None:
    pass


def writes_of(scenario: Scenario) -> int:
    """Return how often a calm voyage writes to its journal."""
    voyage = Voyage(scenario)
    voyage.sail()
    return sum(o.port == "journal" and o.is_write for o in voyage.fleet.operations())


def touched(voyage: Voyage, since: int) -> list[str]:
    """Return what was changed on hosts since a touch; a phase of a call that runs already is none."""
    return [o.title for o in voyage.fleet.operations()[since:] if o.host and o.is_write and not o.phase]


# full


@contextmanager
def tiny_disk(at: Path) -> Iterator[Path]:
    """Mount a file system of half a MiB."""
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "vmferry-test", str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def fill(directory: Path) -> None:
    """Leave no byte free."""
    with (directory / "filler").open("ab", buffering=0) as filler:
        for size in (4096, 1):
            try:
                while filler.write(b"x" * size):
                    pass
            except OSError:
                continue


@pytest.mark.parametrize("scenario", [LIVE, OFFLINE], ids=["live", "offline"])
def test_when_the_journals_disk_is_full_no_host_is_touched_any_more_and_with_room_again_the_run_is_settled(
    scenario: Scenario, tmp_path: Path
) -> None:
    for nth in range(1, writes_of(scenario) + 1):
        with tiny_disk(tmp_path / f"disk-{nth}") as disk:
            voyage = Voyage(scenario, disk / "journal.db")
            begun: list[int] = []

            def strike(disk: Path = disk, voyage: Voyage = voyage, begun: list[int] = begun) -> None:
                begun.append(len(voyage.fleet.operations()))
                fill(disk)

            voyage.fleet.gate = AtWrite(voyage, nth, strike, nothing)
            with pytest.raises(VmferryError, match=r"journal: cannot be written.*full"):
                voyage.sail()
            assert touched(voyage, begun[0]) == [], nth
            (disk / "filler").unlink()
            voyage.process()
            voyage.recover_all()
            assert list(wrongs_of(voyage, CALM)) == [], nth
            assert voyage.record() is None or voyage.unsettled() == ()


def test_a_process_that_starts_on_a_full_disk_says_so_and_loses_nothing(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as disk:
        fill(disk)
        with pytest.raises(PermanentError, match="cannot be opened"):
            SqlJournal(f"sqlite:///{disk / 'journal.db'}")


# torn


@pytest.mark.parametrize("scenario", [LIVE, OFFLINE], ids=["live", "offline"])
def test_a_write_that_was_torn_is_no_write_and_the_run_goes_on_from_the_one_before(
    scenario: Scenario, tmp_path: Path
) -> None:
    for nth in range(2, writes_of(scenario) + 1):
        written = tmp_path / f"written-{nth}" / "journal.db"
        sizes: list[int] = []
        voyage = Voyage(scenario, written)
        wal = written.with_name("journal.db-wal")

        def die(wal: Path = wal, sizes: list[int] = sizes) -> None:
            sizes.append(wal.stat().st_size)
            raise SimulatedCrash("in the middle of a commit")

        voyage.fleet.gate = AtWrite(voyage, nth, lambda w=wal, s=sizes: s.append(w.stat().st_size), die)
        with pytest.raises(SimulatedCrash):
            voyage.sail()
        before, after = sizes
        assert after > before
        rows = len(voyage.journal.rows(voyage.run))
        torn = _torn_copy(written, tmp_path / f"torn-{nth}", before + (after - before) * (nth % 7) // 7)
        voyage.go_on_with(SqlJournal(f"sqlite:///{torn}", is_alive=lambda _: False))
        assert rows - 1 <= len(voyage.journal.rows(voyage.run)) <= rows
        voyage.recover_all()
        assert list(wrongs_of(voyage, CALM)) == [], nth


def _torn_copy(written: Path, to: Path, wal_bytes: int) -> Path:
    """Copy a database as a killed process leaves it, its log only up to some byte."""
    to.mkdir()
    shutil.copy(written, to / "journal.db")
    wal = written.with_name("journal.db-wal").read_bytes()
    (to / "journal.db-wal").write_bytes(wal[:wal_bytes])
    return to / "journal.db"


# gone


@pytest.mark.parametrize("scenario", [LIVE, OFFLINE], ids=["live", "offline"])
def test_a_move_whose_journal_was_removed_ends_by_itself_or_is_never_begun_again(
    scenario: Scenario, tmp_path: Path
) -> None:
    """The process has its file still; whoever comes later has an empty journal, and finds the mark on the VM."""
    for nth in range(2, writes_of(scenario) + 1, 3):
        directory = tmp_path / f"lost-{nth}"
        voyage = Voyage(scenario, directory / "journal.db")
        voyage.fleet.gate = AtWrite(voyage, nth, lambda d=directory: shutil.rmtree(d), nothing)
        voyage.sail_or_settle()
        assert [p.words() for p in voyage.fleet.problems()] == [], nth
        record = voyage.record()
        assert record is not None and record.state is RunState.CLOSED, nth
        assert list(wrongs_of(voyage, CALM)) == [], nth


@pytest.mark.parametrize("scenario", [LIVE, OFFLINE], ids=["live", "offline"])
def test_a_run_whose_process_and_journal_are_both_gone_is_not_repeated_by_the_next(
    scenario: Scenario, tmp_path: Path
) -> None:
    for last in (StepName.RESERVE, StepName.STORAGE, StepName.DEFINITION, StepName.MOVE):
        voyage = Voyage(scenario)
        voyage.world.journal.open_run(voyage.plan)
        for step in StepName:
            run_step(voyage.run, step, voyage.world)
            if step is last:
                break
        here = (voyage.state_on(SOURCE), voyage.state_on(DEST), voyage.files(DEST))
        voyage.go_on_with(SqlJournal(f"sqlite:///{tmp_path / f'{last}.db'}", is_alive=lambda _: False))
        voyage.recover_all()  # knows of nothing
        again = voyage.make_plan(run="again", files=voyage.plan.files)
        voyage.world.journal.open_run(again)
        with pytest.raises((AlreadyMoving, PermanentError, UnsafeError)):
            run_step("again", StepName.RESERVE, voyage.world)
        assert (voyage.state_on(SOURCE), voyage.state_on(DEST), voyage.files(DEST)) == here
