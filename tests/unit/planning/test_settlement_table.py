"""The whole outcome table as data: every pair that two hosts can show, under everything that a journal can add.

Written from `failure-modes.md` 3.0, not from the code: a row per sight of the source, a column per sight of the
destination. `test_settlement` has what must hold whatever the table says.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.planning.test_settlement import is_postcopy, sightings
from vmferry.model.migration import MigrationMode
from vmferry.model.sighting import Sighting
from vmferry.model.transport import Switch
from vmferry.model.vm import DomainState
from vmferry.planning.settlement import Facts, Verdict, settle

CODES = {
    ".": Verdict.HOLD,
    "back": Verdict.ROLL_BACK,
    "forward": Verdict.FORWARD,
    "kill-dest": Verdict.DESTROY_DEST,
    "kill-dest-resume": Verdict.DESTROY_DEST_RESUME_SOURCE,
    "resume-source": Verdict.RESUME_SOURCE,
    "resume-dest": Verdict.RESUME_DEST,
    "kill-source": Verdict.DESTROY_SOURCE,
}
# What a sight is called here: off is shut off for whatever reason but the move; arrived is paused (user), moving is
# paused (migrating), stuck is paused for any other reason: it ran, and something stopped it.
COLUMNS = ("absent", "off", "migrated", "running", "arrived", "moving", "stuck", "other")
HELD_ROW = "other      .  .  .  .  .  .  .  ."

NEVER_RAN = f"""
absent     .             .             .             forward      resume-dest       .                 .  .
off        .             .             .             forward      .                 .                 .  .
migrated   .             .             .             forward      resume-dest       .                 .  .
running    back          back          back          .            kill-dest         kill-dest         .  .
arrived    .             .             .             .            .                 .                 .  .
moving     resume-source resume-source resume-source kill-source  kill-dest-resume  kill-dest-resume  .  .
stuck      .             .             .             .            .                 .                 .  .
{HELD_ROW}
"""
# This run had stopped it itself: libvirt may call that the user's.
SUSPENDED = NEVER_RAN.replace(
    "arrived    .             .             .             .            .                 .                 .  .",
    "arrived    resume-source resume-source resume-source .            kill-dest-resume  kill-dest-resume  .  .",
)
MAY_HAVE_RUN = f"""
absent     .     .     .     forward      resume-dest  .  .  .
off        .     .     .     forward      .            .  .  .
migrated   .     .     .     forward      resume-dest  .  .  .
running    back  back  back  .            .            .  .  .
arrived    .     .     .     .            .            .  .  .
moving     .     .     .     kill-source  .            .  .  .
stuck      .     .     .     .            .            .  .  .
{HELD_ROW}
"""
USER_PAUSED = f"""
absent     .     .     .     forward      forward    .          .  .
off        .     .     .     forward      .          .          .  .
migrated   .     .     .     forward      forward    .          .  .
running    back  back  back  .            kill-dest  kill-dest  .  .
arrived    back  back  back  .            kill-dest  kill-dest  .  .
moving     back  back  back  kill-source  kill-dest  kill-dest  .  .
stuck      back  back  back  .            kill-dest  kill-dest  .  .
{HELD_ROW}
"""
# libvirt lets it run; a persistent VM is defined at the destination before its CPUs run there.
LIBVIRTS = f"""
absent     .              .     .     forward      .  .                 .  .
off        .              .     .     forward      .  .                 .  .
migrated   .              .     .     forward      .  .                 .  .
running    back           back  back  .            .  kill-dest         .  .
arrived    .              .     .     .            .  .                 .  .
moving     resume-source  .     .     kill-source  .  kill-dest-resume  .  .
stuck      .              .     .     .            .  .                 .  .
{HELD_ROW}
"""
LIBVIRTS_TRANSIENT = LIBVIRTS.replace("moving     resume-source", "moving     .            ")
# Once post-copy was ordered, a source that does not run may hold what the destination lacks.
ORDERED = f"""
absent     .     .     .     forward  .  .          .  .
off        .     .     .     forward  .  .          .  .
migrated   .     .     .     forward  .  .          .  .
running    back  back  back  .        .  kill-dest  .  .
arrived    .     .     .     .        .  .          .  .
moving     .     .     .     .        .  .          .  .
stuck      .     .     .     .        .  .          .  .
{HELD_ROW}
"""
OFFLINE = f"""
absent     .     forward  forward  forward  .  .  .  .
off        back  back     back     .        .  .  .  .
migrated   back  back     back     .        .  .  .  .
running    back  back     back     .        .  .  .  .
arrived    back  back     back     .        .  .  .  .
moving     .     .        .        .        .  .  .  .
stuck      back  back     back     .        .  .  .  .
{HELD_ROW}
"""
PAST_PIVOT = f"""
absent     .     forward  forward  forward  .  .  .  .
off        back  forward  forward  forward  .  .  .  .
migrated   back  forward  forward  forward  .  .  .  .
running    .     .        .        .        .  .  .  .
arrived    .     .        .        .        .  .  .  .
moving     .     .        .        .        .  .  .  .
stuck      .     .        .        .        .  .  .  .
{HELD_ROW}
"""
OWN: dict[str, Any] = {"must_run": True, "switch": Switch.LIBVIRT, "may_dest_have_run": True}
TABLES: dict[str, tuple[str, dict[str, Any]]] = {
    "guarded": (NEVER_RAN, {"must_run": True}),
    "guarded, transient": (NEVER_RAN, {"must_run": True, "is_persistent": False}),
    "guarded, suspended by us": (SUSPENDED, {"must_run": True, "was_suspended": True}),
    "guarded, let run": (MAY_HAVE_RUN, {"must_run": True, "may_dest_have_run": True}),
    "paused by its user": (USER_PAUSED, {"must_run": False}),
    "libvirt's own": (LIBVIRTS, OWN),
    "libvirt's own, transient": (LIBVIRTS_TRANSIENT, {**OWN, "is_persistent": False}),
    "post-copy, not ordered": (LIBVIRTS, {**OWN, "switch": Switch.POSTCOPY}),
    "post-copy, ordered": (ORDERED, {**OWN, "switch": Switch.POSTCOPY, "was_postcopy_ordered": True}),
}
OFFLINE_TABLES: dict[str, tuple[str, dict[str, Any]]] = {
    "offline": (OFFLINE, {"must_run": False}),
    "offline, past the pivot": (PAST_PIVOT, {"must_run": False, "is_pivot_done": True}),
}


def parse(table: str) -> dict[tuple[str, str], Verdict]:
    """Return the verdict per pair; every cell is there."""
    cells = {}
    for line in table.strip().splitlines():
        row, *verdicts = line.split()
        cells |= {(row, column): CODES[code] for column, code in zip(COLUMNS, verdicts, strict=True)}
    assert {row for row, _ in cells} == set(COLUMNS)
    return cells


def name(seen: Sighting) -> str:
    """Return how the tables call a sight."""
    match seen.state:
        case DomainState.ABSENT:
            return "absent"
        case DomainState.SHUTOFF | DomainState.CRASHED:
            return "migrated" if seen.reason == "migrated" else "off"
        case DomainState.RUNNING | DomainState.BLOCKED:
            return "running"
        case DomainState.PAUSED:
            return {"user": "arrived", "migrating": "moving"}.get(seen.reason, "stuck")
        case _:
            return "other"


def known(host: str) -> list[Sighting]:
    return [s for s in sightings(host) if s.is_reachable and not is_postcopy(s)]


@pytest.mark.parametrize(
    ("title", "mode"),
    [
        *((title, mode) for title in TABLES for mode in (MigrationMode.LIVE, MigrationMode.NON_LIVE)),
        *((title, MigrationMode.OFFLINE) for title in OFFLINE_TABLES),
    ],
)
def test_every_pair_of_sights_has_the_verdict_of_its_cell(title: str, mode: MigrationMode) -> None:
    table, given = (TABLES | OFFLINE_TABLES)[title]
    cells, facts = parse(table), Facts(mode=mode, **given)
    wrong = []
    for source in known("kvm1"):
        for dest in known("kvm2"):
            has_job = source.has_job or dest.has_job
            wanted = Verdict.WATCH if has_job else cells[name(source), name(dest)]
            if (verdict := settle(source, dest, facts)) is not wanted:
                wrong.append(f"{source.words()} | {dest.words()}: {verdict.name}, not {wanted.name}")
    assert not wrong, "\n".join(wrong[:20])
