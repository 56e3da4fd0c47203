"""The journal on a real SQLite file, used by real processes."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import get_args

import pytest

from tests.unit.builders import NOW, build_uuid
from vmferry.adapters.journal import SqlJournal, is_owner_alive, this_owner
from vmferry.adapters.simulated import SimulatedFleet
from vmferry.errors import AlreadyMoving, NotFound, PermanentError, UnsafeError
from vmferry.model import effects
from vmferry.model.effects import Effect
from vmferry.model.journal import Mark, RunState
from vmferry.model.migration import MigrationMode, MigrationOutcome, MigrationPlan, OutcomeKind
from vmferry.model.transport import Encryption
from vmferry.model.vm import DomainState
from vmferry.steps.forward import run_step
from vmferry.steps.names import StepName

UUID = build_uuid("wanderer1")
EFFECTS: tuple[Effect, ...] = (
    effects.FileMade(host="b", path="/srv/a file\nwith 'everything'.qcow2", uuid=UUID, inode=2**63),
    effects.FileMade(host="b", path="/srv/.vmferry-1/x", uuid=UUID),
    effects.DomainDefined(host="b", uuid=UUID),
    effects.FileSetAside(host="a", path="/srv/ö", aside="/srv/ö.vmferry-moved-1"),
    effects.AutostartCleared(host="a", uuid=UUID),
    effects.VmStopped(host="a", uuid=UUID),
    effects.VmMarked(host="a", uuid=UUID),
    effects.DomainMoved(host="b", uuid=UUID, bytes_sent=2**40, downtime_ms=0),
    effects.VolumeMade(
        host="b", pool="vg0", volume="wanderer1", path="/dev/vg0/wanderer1", uuid=UUID, device_id="LVM-1"
    ),
    effects.VolumeKept(host="a", path="/dev/vg0/wanderer1", pool="vg0", volume="wanderer1"),
    effects.Nothing(),
)


def build_plan(run: str = "run-1", vm: str = "wanderer1", **given: object) -> MigrationPlan:
    fields: dict[str, object] = {
        "run": run,
        "vm": vm,
        "uuid": build_uuid(vm),
        "source": "a",
        "dest": "b",
        "mode": MigrationMode.LIVE,
        "mode_reason": "asked for",
        "state_before": DomainState.RUNNING,
        "is_persistent": True,
        "is_autostart": False,
        "memory_kib": 1 << 20,
        "reserved_kib": 1 << 20,
        "encryption": Encryption.TUNNELLED,
        "peer_uri": "qemu+ssh://b/system",
        "migration_uri": "tcp://b",
        "deadline_s": 60.0,
    }
    return MigrationPlan.model_validate({**fields, **given})


def build_outcome(plan: MigrationPlan, kind: OutcomeKind = OutcomeKind.MOVED) -> MigrationOutcome:
    return MigrationOutcome(
        run=plan.run,
        vm=plan.vm,
        source=plan.source,
        dest=plan.dest,
        mode=plan.mode,
        kind=kind,
        started_at=NOW,
        ended_at=NOW + timedelta(seconds=9),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SqlJournal]:
    opened = open_journal(path)
    yield opened
    opened.close()


def open_journal(path: Path, owner: str | None = None, *alive: str) -> SqlJournal:
    return SqlJournal(f"sqlite:///{path}", owner=owner, is_alive=lambda name: name in alive)


# one run per VM


def test_a_vm_has_one_open_run_and_the_message_names_it(journal: SqlJournal) -> None:
    journal.open_run(build_plan("run-1"))
    with pytest.raises(AlreadyMoving, match="run-1"):
        journal.open_run(build_plan("run-2"))
    journal.open_run(build_plan("run-3", "wanderer2"))
    assert [record.run for record in journal.unsettled()] == ["run-1", "run-3"]


def test_a_held_run_still_holds_its_vm_and_a_closed_one_does_not(journal: SqlJournal) -> None:
    plan = build_plan("run-1")
    journal.open_run(plan)
    journal.hold("run-1", "a human must look")
    with pytest.raises(AlreadyMoving, match="held"):
        journal.open_run(build_plan("run-2"))
    journal.close_run("run-1", build_outcome(plan))
    journal.open_run(build_plan("run-2"))
    assert [record.run for record in journal.unsettled()] == ["run-2"]


RACER = """
    import sys, time
    from pathlib import Path
    from tests.unit.adapters.test_journal import build_plan
    from vmferry.adapters.journal import SqlJournal
    from vmferry.errors import AlreadyMoving
    url, number, gate = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    (gate / number).touch()
    while not (gate / "go").exists():
        time.sleep(0.001)
    try:
        SqlJournal(url).open_run(build_plan(f"run-{number}"))
        print("won")
    except AlreadyMoving:
        print("lost")
"""


def test_of_many_processes_that_start_at_once_on_a_new_database_one_gets_the_vm(path: Path, tmp_path: Path) -> None:
    racers = 4
    children = [run_child(RACER, f"sqlite:///{path}", str(number), str(tmp_path)) for number in range(racers)]
    while sum((tmp_path / str(number)).exists() for number in range(racers)) < racers:
        assert all(child.poll() is None for child in children), [child.communicate() for child in children]
    (tmp_path / "go").touch()
    said = [child.communicate(timeout=60) for child in children]
    assert sorted(out.strip() for out, _ in said) == ["lost"] * (racers - 1) + ["won"], said
    assert len(open_journal(path).unsettled()) == 1


def run_child(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", dedent(script), *arguments],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# durable


def test_every_connection_writes_through_to_the_disk(journal: SqlJournal) -> None:
    with journal._engine.connect() as one, journal._engine.connect() as two:
        for connection in (one, two):
            found = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("synchronous", "journal_mode", "foreign_keys")
            ]
            assert found == [2, "wal", 1]  # 2: FULL


DYING = """
    import os, signal, sys
    from tests.unit.adapters.test_journal import EFFECTS, build_plan
    from vmferry.adapters.journal import SqlJournal
    from vmferry.model.journal import Mark
    journal = SqlJournal(sys.argv[1])
    journal.open_run(build_plan())
    for effect in EFFECTS:
        journal.write("run-1", "storage", Mark.EFFECT, effect)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_wrote_is_there_and_its_run_can_be_taken_over(path: Path) -> None:
    child = run_child(DYING, f"sqlite:///{path}")
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == -9, stderr
    journal = SqlJournal(f"sqlite:///{path}")
    assert tuple(row.effect for row in journal.rows("run-1")) == EFFECTS
    assert journal.take_over("run-1")
    assert journal.find("run-1").owner == this_owner()


def test_rows_survive_a_reopening_in_their_order_and_as_they_were(path: Path) -> None:
    first = open_journal(path)
    first.open_run(build_plan())
    first.write("run-1", "reserve", Mark.INTENDED)
    for effect in EFFECTS:
        first.write("run-1", "storage", Mark.EFFECT, effect, note="naïve 'note'\n")
    before = first.rows("run-1")
    first.close()
    after = open_journal(path).rows("run-1")
    assert after == before
    assert [row.seq for row in after] == sorted(row.seq for row in after)
    assert tuple(row.effect for row in after[1:]) == EFFECTS
    assert all(row.at.tzinfo is not None for row in after)


def test_every_kind_of_effect_is_tried_here() -> None:
    assert {type(effect) for effect in EFFECTS} == set(get_args(get_args(Effect)[0]))


def test_the_plan_is_stored_whole_but_without_the_secrets_of_its_xml(path: Path) -> None:
    plan = build_plan(dest_xml="<secret/>", dest_persistent_xml="<secret/>")
    journal = open_journal(path)
    journal.open_run(plan)
    journal.close()
    stored = open_journal(path).find("run-1").plan
    assert stored == plan.model_copy(update={"dest_xml": None, "dest_persistent_xml": None})
    assert b"<secret/>" not in b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_the_state_directory_is_closed_to_others(journal: SqlJournal, path: Path) -> None:
    assert path.parent.stat().st_mode & 0o077 == 0


# owners


def test_a_run_is_taken_over_from_a_dead_owner_only_and_by_one_taker(path: Path) -> None:
    open_journal(path, "first").open_run(build_plan())
    assert open_journal(path, "second", "first").take_over("run-1") is False
    assert open_journal(path, "second").take_over("run-1") is True
    assert open_journal(path, "third", "second").take_over("run-1") is False
    assert open_journal(path, "second", "second").take_over("run-1") is True  # its own
    assert open_journal(path).find("run-1").owner == "second"


def test_an_owner_elsewhere_is_followed_only_by_who_saw_its_lease_end(path: Path) -> None:
    away, here = "ops@elsewhere:4711:99", this_owner()
    open_journal(path, away).open_run(build_plan("run-1"))
    open_journal(path, here).open_run(build_plan("run-2", uuid=build_uuid("wanderer2")))
    second = open_journal(path, "ops@second:1:1", away, here)
    assert second.take_over("run-1") is False
    assert second.take_over("run-1", lost_owner="ops@other:1:1") is False
    assert second.take_over("run-2", lost_owner=here) is False  # a process of this machine: it can be asked for
    assert second.take_over("run-1", lost_owner=away) is True


def test_who_has_lost_a_run_writes_nothing_more_of_it(path: Path) -> None:
    first, second = open_journal(path, "first"), open_journal(path, "second")
    first.open_run(build_plan("run-1"))
    first.write("run-1", "move", Mark.INTENDED)
    assert second.take_over("run-1")
    for act in (lambda: first.write("run-1", "move", Mark.DONE), lambda: first.hold("run-1", "x")):
        with pytest.raises(UnsafeError, match=r"second .* has taken it over"):
            act()
    assert [row.mark for row in second.rows("run-1")] == [Mark.INTENDED]
    assert second.find("run-1").state is RunState.OPEN


def test_a_closed_run_is_not_taken_over(journal: SqlJournal, path: Path) -> None:
    journal.open_run(build_plan())
    journal.close_run("run-1", build_outcome(build_plan()))
    assert open_journal(path, "second").take_over("run-1") is False


def test_this_process_lives_and_a_process_with_its_reused_pid_is_another() -> None:
    hostname, pid, ticks = this_owner().rsplit(":", 2)
    assert is_owner_alive(this_owner())
    assert int(pid) == os.getpid()
    assert not is_owner_alive(f"{hostname}:{pid}:{int(ticks) - 1}")


def test_an_ended_process_is_dead() -> None:
    child = run_child("from vmferry.adapters.journal import this_owner; print(this_owner())")
    out, _ = child.communicate(timeout=60)
    assert not is_owner_alive(out.strip())


def test_an_owner_on_another_machine_counts_as_alive() -> None:
    assert is_owner_alive("elsewhere.invalid:1:1")


# states


def test_a_held_run_can_be_recovered_and_closed(journal: SqlJournal) -> None:
    plan = build_plan()
    journal.open_run(plan)
    journal.hold("run-1", "two copies")
    held = journal.find("run-1")
    assert (held.state, held.reason, held.outcome, held.closed_at) == (RunState.HELD, "two copies", None, None)
    journal.close_run("run-1", build_outcome(plan, OutcomeKind.ROLLED_BACK))
    closed = journal.find("run-1")
    assert (closed.state, closed.outcome) == (RunState.CLOSED, OutcomeKind.ROLLED_BACK)
    assert closed.closed_at is not None
    assert closed.closed_at >= closed.opened_at


def test_a_closed_run_is_never_opened_again(journal: SqlJournal) -> None:
    """Its VM may have another open run by then; the outcome is history."""
    plan = build_plan()
    journal.open_run(plan)
    journal.close_run("run-1", build_outcome(plan))
    journal.hold("run-1", "late")
    assert journal.find("run-1").state is RunState.CLOSED


def test_an_unknown_run_is_said_to_be_unknown(journal: SqlJournal) -> None:
    with pytest.raises(NotFound, match="run-9"):
        journal.find("run-9")


def test_the_newest_runs_come_first_and_no_more_than_asked_for(journal: SqlJournal) -> None:
    for number in range(4):
        journal.open_run(build_plan(f"run-{number}", f"vm-{number}"))
    assert [record.run for record in journal.recent(3)] == ["run-3", "run-2", "run-1"]


def test_the_first_cordon_of_a_host_stays_until_it_is_taken_away(path: Path) -> None:
    journal = open_journal(path, "admin")
    journal.cordon("b", "memory is replaced")
    journal.cordon("b", "another reason")
    journal.cordon("a", "evacuation")
    found = [(c.host, c.reason, c.owner) for c in open_journal(path).cordons()]
    assert found == [("a", "evacuation", "admin"), ("b", "memory is replaced", "admin")]
    assert (journal.uncordon("b"), journal.uncordon("b")) == (True, False)
    assert [c.host for c in journal.cordons()] == ["a"]


# a database that fails

FULL_DISK = """
    import resource, signal, sys
    from tests.unit.adapters.test_journal import build_plan
    from vmferry.adapters.journal import SqlJournal
    from vmferry.errors import UnsafeError
    from vmferry.model.journal import Mark
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    journal = SqlJournal(sys.argv[1])
    journal.open_run(build_plan())
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    for number in range(10_000):
        try:
            journal.write("run-1", "storage", Mark.NOTE, note="x" * 8000)
        except UnsafeError as error:
            print(number, error)
            break
"""


def test_a_full_disk_is_unsafe_and_what_was_confirmed_before_is_kept(path: Path) -> None:
    out, stderr = run_child(FULL_DISK, f"sqlite:///{path}").communicate(timeout=120)
    found = re.match(r"(\d+) journal: cannot be written", out)
    assert found is not None, (out, stderr)
    assert len(open_journal(path).rows("run-1")) == int(found.group(1)) > 0


def lose_table(path: Path, name: str) -> None:
    """Break the database as a failing disk would: every use of one table fails."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute(f"DROP TABLE {name}")


def test_no_host_is_touched_when_the_intent_cannot_be_written(path: Path) -> None:
    fleet = SimulatedFleet.of("a", "b")
    uuid = fleet.add_vm("a", "wanderer1", is_autostart=True)
    world = fleet.world(journal=open_journal(path))
    world.journal.open_run(build_plan(uuid=uuid, is_autostart=True, peer_uri=fleet.hosts["b"].entry.peer_uri))
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TRIGGER broken BEFORE INSERT ON rows BEGIN SELECT RAISE(FAIL, 'disk I/O'); END")
    for step in StepName:
        with pytest.raises(UnsafeError, match="cannot be written"):
            run_step("run-1", step, world)
    assert [operation.title for operation in fleet.operations() if operation.host] == []


WRITES: dict[str, Callable[[SqlJournal], object]] = {
    "open_run": lambda journal: journal.open_run(build_plan("run-2", "other")),
    "write": lambda journal: journal.write("run-1", "move", Mark.INTENDED),
    "hold": lambda journal: journal.hold("run-1", "x"),
    "close_run": lambda journal: journal.close_run("run-1", build_outcome(build_plan())),
    "take_over": lambda journal: journal.take_over("run-1"),
    "cordon": lambda journal: journal.cordon("a", "x"),
    "uncordon": lambda journal: journal.uncordon("a"),
}
READS: dict[str, Callable[[SqlJournal], object]] = {
    "rows": lambda journal: journal.rows("run-1"),
    "find": lambda journal: journal.find("run-1"),
    "unsettled": lambda journal: journal.unsettled(),
    "recent": lambda journal: journal.recent(1),
    "cordons": lambda journal: journal.cordons(),
}


@pytest.mark.parametrize("name", [*WRITES, *READS])
def test_a_database_that_fails_is_unsafe_whatever_is_asked_of_it(journal: SqlJournal, path: Path, name: str) -> None:
    journal.open_run(build_plan())
    for table in ("cordons", "rows", "runs"):
        lose_table(path, table)
    with pytest.raises(UnsafeError, match="journal"):
        (WRITES | READS)[name](journal)


def no_database(tmp_path: Path) -> Path:
    (tmp_path / "text.db").write_text("this is no database " * 100)
    return tmp_path / "text.db"


def below_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    return tmp_path / "file" / "journal.db"


def a_directory(tmp_path: Path) -> Path:
    (tmp_path / "journal.db").mkdir()
    return tmp_path / "journal.db"


@pytest.mark.parametrize("place", [no_database, below_a_file, a_directory])
def test_a_journal_that_cannot_be_opened_says_so_in_our_words(place: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="cannot be opened"):
        open_journal(place(tmp_path))
