"""Usage samples on SQLite files and on a real PostgreSQL: written once, joined to hours, gone after a while."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.adapters.postgres import Postgres
from tests.unit.planning.test_usage import NS, build_counters, build_reading
from vmferry.adapters.journal_tables import create_tables, open_engine
from vmferry.adapters.usage_store import SqlUsage
from vmferry.errors import PermanentError
from vmferry.model.usage import SubjectKind, Usage

HOUR = 3600
BEGIN = int(build_reading(0).at.timestamp())


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres.running(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/journal.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


def open_store(url: str) -> SqlUsage:
    engine = open_engine(url)
    create_tables(engine)
    return SqlUsage(engine)


@pytest.fixture
def store(url: str) -> SqlUsage:
    return open_store(url)


def fill(store: SqlUsage, steps: int, cpus: float = 0.5, step_s: int = 300) -> None:
    for step in range(steps + 1):
        vm = build_counters(cpu_ns=round(cpus * step * step_s * NS))
        store.take(build_reading(step * step_s, vm, busy_s=step * step_s))


def all_of(store: SqlUsage) -> tuple[Usage, ...]:
    return store.read([(0, 1 << 40)])


def test_the_first_reading_gives_no_sample_and_each_further_one_of_host_and_vm(store: SqlUsage) -> None:
    assert store.take(build_reading(0, build_counters(), busy_s=0)) == 0
    assert store.take(build_reading(300, build_counters(cpu_ns=150 * NS), busy_s=300)) == 2
    host, vm = all_of(store)
    assert (host.subject.kind, vm.subject.kind, vm.subject.name) == (SubjectKind.HOST, SubjectKind.VM, "web")
    assert (vm.samples[0].cpus, vm.samples[0].start_s, vm.samples[0].span_s) == (0.5, BEGIN, 300)
    assert (vm.subject.cpus, vm.subject.memory_mib, vm.subject.host) == (2, 1024, "kvm1")


def test_asked_again_at_once_nothing_is_written_and_nothing_lost(store: SqlUsage) -> None:
    fill(store, 1)
    assert store.take(build_reading(310, build_counters(cpu_ns=300 * NS), busy_s=310)) == 0
    assert store.take(build_reading(600, build_counters(cpu_ns=450 * NS), busy_s=600)) == 2
    assert [sample.cpus for sample in all_of(store)[1].samples] == [0.5, 1.0]


def test_two_processes_that_keep_the_same_span_write_it_once(url: str) -> None:
    one, other = open_store(url), open_store(url)
    fill(one, 1)
    reading = build_reading(600, build_counters(cpu_ns=300 * NS), busy_s=600)
    before = one._before
    one._before = lambda connection, host: (before(connection, host), other.take(reading))[0]  # type: ignore[method-assign]
    assert one.take(reading) == 0
    assert [len(usage.samples) for usage in all_of(one)] == [2, 2]


def test_only_what_touches_a_span_is_read(store: SqlUsage) -> None:
    fill(store, 10)
    found = store.read([(BEGIN + 450, BEGIN + 901), (BEGIN + 2700, BEGIN + 2701)])
    assert [[s.start_s - BEGIN for s in usage.samples] for usage in found] == [[300, 600, 900, 2700]] * 2
    assert [u.subject.kind for u in store.read([(0, 1 << 40)], keys=[str(build_counters().uuid)])] == [SubjectKind.VM]
    assert store.read([]) == () == store.read([(0, 10)])


def test_old_samples_become_hours_that_keep_mean_and_peak(store: SqlUsage) -> None:
    fill(store, 24)
    store.take(build_reading(25 * 300, build_counters(cpu_ns=round((0.5 * 24 * 300 + 1.5 * 300) * NS)), busy_s=7500))
    now = BEGIN + 48 * HOUR + 3 * HOUR
    assert store.tidy(now, keep_days=14) == 50
    _, vm = all_of(store)
    first, second, third = vm.samples
    assert (first.start_s, first.span_s, first.cpus, first.cpus_peak) == (BEGIN, HOUR, 0.5, 0.5)
    assert (second.cpus, second.cpus_peak) == (0.5, 0.5)
    assert (third.start_s, third.span_s, third.cpus_peak) == (BEGIN + 2 * HOUR, 300, 1.5)
    assert store.tidy(now, keep_days=14) == 0, "what is joined stays as it is"
    assert len(all_of(store)[1].samples) == 3


def test_an_hour_that_is_not_over_for_long_stays_as_measured(store: SqlUsage) -> None:
    fill(store, 13)
    assert store.tidy(BEGIN + 48 * HOUR + HOUR + 10, keep_days=14) == 24
    assert [s.span_s for s in all_of(store)[1].samples] == [HOUR, 300]


def test_what_is_older_than_it_is_kept_for_is_gone_with_its_subject(store: SqlUsage) -> None:
    fill(store, 3)
    assert store.tidy(BEGIN + 15 * 24 * HOUR, keep_days=14) == 6
    assert all_of(store) == ()


def test_a_vm_that_moved_keeps_its_past_and_is_found_where_it_is(store: SqlUsage) -> None:
    fill(store, 1)
    for seconds, cpu_s in ((600, 0), (900, 30)):
        vm = build_counters(cpu_ns=cpu_s * NS, boot="77")
        store.take(build_reading(seconds, vm).model_copy(update={"host": "kvm2"}))
    (vm,) = store.read([(0, 1 << 40)], keys=[str(build_counters().uuid)])
    assert (vm.subject.host, [s.cpus for s in vm.samples]) == ("kvm2", [0.5, 0.1])


def test_a_database_that_fails_says_so_in_our_words(tmp_path: Path) -> None:
    store = SqlUsage(open_engine(f"sqlite:///{tmp_path}/empty.db"))  # its tables were never made
    for act in (
        lambda: store.take(build_reading(0)),
        lambda: store.read([(0, 9)]),
        lambda: store.tidy(0, keep_days=1),
    ):
        with pytest.raises(PermanentError, match="usage: cannot be"):
            act()
