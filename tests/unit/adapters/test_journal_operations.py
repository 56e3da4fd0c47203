"""What the journal remembers of operations: the freeze, homes, saved operations, and a journal of an older version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.adapters.test_journal import build_plan
from vmferry.adapters.journal import SqlJournal
from vmferry.errors import NotFound
from vmferry.model.operation import Home, OperationKind, SavedOperation

AT = datetime(2026, 1, 10, 22, 0, tzinfo=UTC)
UUID = "0e5a3f5e-4b8e-4f64-8b0e-1d2c3b4a5f60"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def open_journal(path: Path, owner: str = "me") -> SqlJournal:
    return SqlJournal(f"sqlite:///{path}", owner=owner)


@pytest.fixture
def journal(path: Path) -> Iterator[SqlJournal]:
    opened = open_journal(path)
    yield opened
    opened.close()


def test_the_first_freeze_holds_for_all_that_share_the_journal(journal: SqlJournal, path: Path) -> None:
    assert journal.frozen() is None
    first = journal.freeze("audit", "CHG-7")
    assert open_journal(path, "other").freeze("something else") == first == open_journal(path).frozen()
    assert (first.owner, first.reason, first.ticket) == ("me", "audit", "CHG-7")
    assert (journal.unfreeze(), journal.unfreeze(), journal.frozen()) == (True, False, None)


def build_home(vm: str = "web", home: str = "kvm1", uuid: str = UUID) -> Home:
    return Home(uuid=uuid, vm=vm, home=home, away="kvm2", run="r1", state="running", is_autostart=True, since=AT)


def test_a_vm_has_one_home_that_is_written_anew_and_forgotten(journal: SqlJournal, path: Path) -> None:
    journal.remember_home(build_home())
    journal.remember_home(build_home("db", "kvm3", "u2"))
    changed = build_home().model_copy(update={"away": "kvm3", "run": "r2", "definition": "d"})
    journal.remember_home(changed)
    assert open_journal(path).homes() == (build_home("db", "kvm3", "u2"), changed)
    assert (journal.homes("kvm1"), journal.find_home(UUID), journal.find_home("nobody")) == ((changed,), changed, None)
    journal.forget_home(UUID)
    journal.forget_home(UUID)
    assert journal.find_home(UUID) is None


def test_the_newest_run_of_a_vm_is_known(journal: SqlJournal) -> None:
    plan = build_plan("run-1")
    assert journal.last_run(str(plan.uuid)) is None
    journal.open_run(plan)
    assert journal.last_run(str(plan.uuid)) == "run-1"


def build_operation(id: str, minutes: int = 0, subject: str = "kvm1") -> SavedOperation:
    at = AT + timedelta(minutes=minutes)
    return SavedOperation(
        id=id,
        kind=OperationKind.EVACUATION,
        subject=subject,
        content="{}",
        owner="me",
        started_at=at,
        changed_at=at,
    )


def test_the_newest_operation_of_a_subject_goes_on(journal: SqlJournal, path: Path) -> None:
    for saved in (build_operation("a"), build_operation("b", 5), build_operation("c", 9, "kvm2")):
        journal.save_operation(saved)
    over = build_operation("b", 5).model_copy(update={"is_over": True, "content": '{"x": 1}'})
    journal.save_operation(over)
    assert open_journal(path).last_operation(OperationKind.EVACUATION, "kvm1") == over == journal.operation("b")
    assert journal.last_operation(OperationKind.ROLL, "kvm1") is None
    with pytest.raises(NotFound, match="operation z"):
        journal.operation("z")


def test_cordons_of_an_older_journal_are_kept_and_have_no_ticket(path: Path) -> None:
    with sqlite3.connect(path) as old:
        old.execute(
            "CREATE TABLE cordons (host VARCHAR(255) PRIMARY KEY, owner VARCHAR(255), reason TEXT, since DATETIME)"
        )
        old.execute("INSERT INTO cordons VALUES ('kvm1', 'ops', 'fans', '2026-01-10 22:00:00.000000')")
    old.close()
    journal = open_journal(path)
    (cordon,) = journal.cordons()
    assert (cordon.host, cordon.words(), cordon.ticket) == ("kvm1", "fans", "")
    journal.cordon("kvm2", "memory", "CHG-1")
    assert open_journal(path).cordons()[1].words() == "memory (CHG-1)"
