"""The checker finds every seeded defect; that it finds none in good plans is tested with the planner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.builders import GIB, GIB_KIB, IMAGES, build_cordon, build_fleet, build_off_vm, build_uuid, build_vm
from tests.unit.planning.fleets import SOURCE
from vmferry.model.evacuation import EvacuationPlan, EvacuationRequest, Move
from vmferry.model.facts import HugePages
from vmferry.model.host import FleetSnapshot, HostFacts, Reservation, Unreachable
from vmferry.model.migration import MigrationMode
from vmferry.planning import replay as replay_module
from vmferry.planning import replay_disks
from vmferry.planning.placement import plan_evacuation
from vmferry.planning.replay import replay

Defect = Callable[[EvacuationPlan], EvacuationPlan]
PAGES = HugePages(size_kib=2048, total=4096, free=4096)


def good_plan() -> EvacuationPlan:
    vms = [
        build_vm("a", memory_kib=4 * GIB_KIB),
        build_vm("b"),
        build_off_vm("c"),
        build_vm("d", snapshots=1),
        build_vm("e", hugepages=True, hugepage_kib=2048),
        build_vm("f", hugepages=True),
    ]
    made = build_fleet(vms)
    hosts = tuple(facts.model_copy(update={"hugepages": (PAGES,)}) for facts in made.hosts)
    return plan_evacuation(made.model_copy(update={"hosts": hosts}), EvacuationRequest(host=SOURCE))


def move_of(made: EvacuationPlan, vm: str) -> Move:
    return next(move for move in made.moves if move.vm == vm)


def with_move(made: EvacuationPlan, vm: str, /, **fields: object) -> EvacuationPlan:
    moves = tuple(m.model_copy(update=fields) if m.vm == vm else m for m in made.moves)
    return made.model_copy(update={"moves": moves})


def with_snapshot(made: EvacuationPlan, **fields: object) -> EvacuationPlan:
    return made.model_copy(update={"snapshot": made.snapshot.model_copy(update=fields)})


def with_facts(made: EvacuationPlan, **fields: object) -> EvacuationPlan:
    """Change the facts of every destination."""

    def changed(facts: HostFacts) -> HostFacts:
        return facts if facts.name == SOURCE else facts.model_copy(update=fields)

    return with_snapshot(made, hosts=tuple(changed(facts) for facts in made.snapshot.hosts))


def gathered(made: EvacuationPlan) -> EvacuationPlan:
    """Everything on one host that has room for each alone."""
    for vm in ("a", "b"):
        made = with_move(made, vm, dest="dest-1")
    return with_facts(made, memory_available_kib=5 * GIB_KIB)


def all_copies_on_one(made: EvacuationPlan) -> EvacuationPlan:
    return with_facts(made, storage_free_bytes={IMAGES: 1 << 40, "/srv/local": 1 << 29})


def few_cpus(made: EvacuationPlan) -> EvacuationPlan:
    return with_facts(gathered(made), cpus=0)


def all_pages_on_one(made: EvacuationPlan) -> EvacuationPlan:
    """Both guests on huge pages on a host that has pages for either."""
    for vm in ("e", "f"):
        made = with_move(made, vm, dest="dest-1")
    return with_facts(made, hugepages=(PAGES.model_copy(update={"free": 2047}),))


def promised(made: EvacuationPlan, **fields: Any) -> EvacuationPlan:
    return with_snapshot(made, reserved={f"dest-{n}": Reservation(**fields) for n in (1, 2)})


DEFECTS: dict[str, tuple[Defect, str]] = {
    "a VM is lost": (lambda p: p.model_copy(update={"moves": p.moves[1:]}), "appears 0 times"),
    "a VM is moved twice": (
        lambda p: p.model_copy(update={"moves": (*p.moves, p.moves[0])}),
        "appears 2 times",
    ),
    "a stranded VM is moved too": (
        lambda p: p.model_copy(
            update={"moves": (*p.moves, p.moves[0].model_copy(update={"vm": "d", "uuid": str(build_uuid("d"))}))}
        ),
        "appears 2 times",
    ),
    "a VM of elsewhere": (lambda p: with_move(p, "a", vm="ghost"), "is not a domain of"),
    "stranded without a reason": (
        lambda p: p.model_copy(update={"stranded": (p.stranded[0].model_copy(update={"reasons": {}}),)}),
        "without a reason",
    ),
    "the order has a hole": (lambda p: with_move(p, p.moves[-1].vm, order=7), "order of starting"),
    "to the source": (lambda p: with_move(p, "a", dest=SOURCE), "the host to be emptied"),
    "from elsewhere": (lambda p: with_move(p, "a", source="dest-2", dest="dest-1"), "the plan is for"),
    "to an unknown host": (lambda p: with_move(p, "a", dest="nowhere"), "which the inventory does not know"),
    "to an unreachable host": (
        lambda p: with_snapshot(p, unreachable=(Unreachable(host=p.moves[0].dest, reason="down"),)),
        "not read or is unreachable",
    ),
    "to a cordoned host": (
        lambda p: with_snapshot(p, cordons=(build_cordon(p.moves[0].dest),)),
        "closed for arrivals",
    ),
    "of a VM in a run": (
        lambda p: with_snapshot(p, open_runs={p.moves[0].uuid: "run-1"}),
        "already moves in run",
    ),
    "memory understated": (lambda p: with_move(p, "a", memory_kib=1), "the plan says 1"),
    "vCPUs understated": (lambda p: with_move(p, "a", vcpus=0), "the plan says 0"),
    "copies understated": (lambda p: with_move(p, "c", copy_bytes=0), "the plan says 0"),
    "too much memory on one host": (gathered, "is over-committed: 6"),
    "too many vCPUs on one host": (few_cpus, "vCPUs, 0 are allowed"),
    "too much disk on one host": (all_copies_on_one, "bytes arrive in /srv/local"),
    "reserved memory ignored": (
        lambda p: with_snapshot(p, reserved={f"dest-{n}": Reservation(memory_kib=63 * GIB_KIB) for n in (1, 2)}),
        "of memory arrive, 1024 MiB are free",
    ),
    "huge pages understated": (lambda p: with_move(p, "e", hugepages_kib=0), "the plan says 0"),
    "huge pages for a guest without": (lambda p: with_move(p, "a", hugepages_kib=2048), "the plan says 2048"),
    "too many huge pages on one host": (all_pages_on_one, "2048 pages of 2048 KiB arrive, 2047 are free"),
    "reserved huge pages ignored": (
        lambda p: promised(p, hugepages_kib=PAGES.free_kib),
        f"are free, {PAGES.free_kib} KiB are promised",
    ),
    "a pool that is gone": (lambda p: with_facts(p, hugepages=()), "0 are free"),
    "reserved disk ignored": (
        lambda p: promised(p, disk_bytes={"/srv/local/deep/er": 100 * GIB}),
        f"{100 * GIB} promised",
    ),
    "disk reserved at a place that was not read": (
        lambda p: promised(p, disk_bytes={"/elsewhere": 100 * GIB}),
        f"{100 * GIB} promised",
    ),
    "a rule blocks": (lambda p: with_facts(p, bridges=()), "rule bridge-missing blocks"),
    "the wrong mode": (lambda p: with_move(p, "a", mode=MigrationMode.OFFLINE), "rule mode-state blocks"),
    "the source was not read": (lambda p: with_snapshot(p, hosts=()), "cannot know its VMs"),
}


def test_the_plan_is_good_before_it_is_broken() -> None:
    assert replay(good_plan()) == ()


@pytest.mark.parametrize("name", DEFECTS)
def test_a_seeded_defect_is_found(name: str) -> None:
    break_it, words = DEFECTS[name]
    problems = replay(break_it(good_plan()))
    assert any(words in problem for problem in problems), problems


def test_the_checker_does_not_know_the_planner() -> None:
    for module in (replay_module, replay_disks):
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        imports = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
        others = [line for line in imports if "vmferry.planning" in line]
        assert all("planning.replay_disks" in line or "planning.constraints." in line for line in others)
        assert not any("vmferry.rules.room" in line or "vmferry.rules.disk_room" in line for line in imports)


def test_snapshots_of_a_fleet_are_values() -> None:
    assert isinstance(good_plan().snapshot, FleetSnapshot)
    assert good_plan() == good_plan()
