"""What a human is told: at most one way to let a VM run, whatever the hosts show."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import NamedTuple

import pytest

from tests.unit.planning.test_settlement import ON_CPU, see, sightings
from vmferry.model.migration import MigrationMode
from vmferry.model.sighting import Sighting
from vmferry.model.transport import Switch
from vmferry.planning.advice import Act, advise
from vmferry.planning.settlement import Facts, Verdict, settle

LETS_RUN = ("start", "resume")
START_DEST, START_SOURCE = (Act("start", "kvm2"),), (Act("start", "kvm1"),)
LIBVIRT = {"switch": Switch.LIBVIRT, "may_dest_have_run": True}


class Case(NamedTuple):
    source: Sighting
    dest: Sighting
    acts: tuple[Act, ...]


@cache
def space() -> tuple[Case, ...]:
    """Return every pair that is held, defined on neither, one or both hosts, under every fact."""
    facts = [
        Facts(mode=MigrationMode.LIVE, must_run=True, switch=switch, may_dest_have_run=may_have_run)
        for switch in (Switch.GUARDED, Switch.LIBVIRT)
        for may_have_run in (False, True)
    ]
    seen = ([one for one in sightings(host) if not one.has_job] for host in ("kvm1", "kvm2"))
    sides = [[s.model_copy(update={"is_persistent": p}) for s in side for p in (False, True)] for side in seen]
    return tuple(
        Case(source, dest, advise(source, dest, fact, has_own_disks=has_own_disks))
        for (source, dest), fact in product(product(*sides), facts)
        if settle(source, dest, fact) is Verdict.HOLD
        for has_own_disks in (False, True)
    )


def test_a_vm_is_let_run_at_most_once_and_only_where_nothing_else_of_it_is_active() -> None:
    for case in space():
        running = [act for act in case.acts if act.verb in LETS_RUN]
        assert len(running) == bool(case.acts), case
        ended = {act.host for act in case.acts if act.verb == "destroy"}
        active = {seen.host for seen in (case.source, case.dest) if seen.state.is_active} - ended
        assert all(active <= ({act.host} if act.verb == "resume" else set()) for act in running), case


def test_nothing_but_looking_is_advised_while_a_host_is_silent_or_a_copy_runs() -> None:
    for case in space():
        if not (case.source.is_reachable and case.dest.is_reachable):
            assert case.acts == (), case
        if case.source.state in ON_CPU or case.dest.state in ON_CPU:
            assert case.acts == (), case


def test_a_vm_is_started_only_from_a_definition() -> None:
    for case in space():
        defined = {seen.host for seen in (case.source, case.dest) if seen.is_persistent}
        assert {act.host for act in case.acts if act.verb == "start"} <= defined, case


@pytest.mark.parametrize(
    ("source", "dest", "given", "has_own_disks", "acts"),
    [
        ("shut off (crashed)", "absent", {}, False, START_SOURCE),
        ("shut off (migrated)", "shut off (crashed)", {}, True, START_DEST),
        ("shut off (crashed)", "shut off (failed)", {}, True, START_SOURCE),
        ("shut off", "shut off (crashed)", {"may_dest_have_run": True}, True, START_DEST),
        ("shut off", "shut off", LIBVIRT, True, START_DEST),  # defined there: its CPUs may have run
        ("absent", "absent", {}, False, ()),
        ("shut off", "absent", {"may_dest_have_run": True}, False, START_SOURCE),
        ("shut off", "absent", {"may_dest_have_run": True}, True, ()),  # the disks written last have no definition
        ("shut off (crashed)", "paused (user)", {}, True, (Act("destroy", "kvm2"), Act("start", "kvm1"))),
        ("shut off", "paused (user)", {"may_dest_have_run": True}, True, (Act("resume", "kvm2"),)),
        ("shut off (crashed)", "paused (I/O error)", {}, False, ()),
        ("running", "running", {}, False, ()),
    ],
)
def test_the_vm_is_to_run_where_its_disks_were_written_last(
    source: str, dest: str, given: dict[str, object], has_own_disks: bool, acts: tuple[Act, ...]
) -> None:
    sides = [see(source), see(dest, host="kvm2")]
    here, there = (s.model_copy(update={"is_persistent": str(s.state) != "absent"}) for s in sides)
    facts = Facts.model_validate({"mode": MigrationMode.LIVE, "must_run": True, **given})
    assert advise(here, there, facts, has_own_disks=has_own_disks) == acts
