"""Two real moves over a link with a total: each takes its half, and the one that stays takes over the other's.

The moves are tunnelled: QEMU holds back what it writes, so the cap counts there too.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from flows.migrate_vm import migrate_vm
from infra.lab import DiskKind, GuestSpec, Lab
from tasks import _wiring
from tests.lab.test_faults import has_touched_memory, wait_until
from vmferry.adapters.world import RealWorld, open_world
from vmferry.inventory import load_inventory
from vmferry.model.migration import JobStats, MigrationOutcome, OutcomeKind
from vmferry.progress import CopyProgress, Event, MoveProgress, listening
from vmferry.reporting.meter import Figures, Meters
from vmferry.settings import read_settings

pytestmark = pytest.mark.lab

TOTAL_MIB_S = 20
MIB = 2**20


@pytest.fixture
def shared_link(fleet: Lab, world: RealWorld) -> Iterator[RealWorld]:
    """The lab, with a total for all moves that leave kvm1 together."""
    inventory = load_inventory(fleet.inventory_path)
    limits = {"kvm1": {"total_mib_s": TOTAL_MIB_S}}
    hosts = tuple(
        host.model_copy(update={"limits": host.limits.model_copy(update=limits.get(host.name, {}))})
        for host in inventory.hosts
    )
    limited = open_world(inventory.model_copy(update={"hosts": hosts}), read_settings(connect_timeout_s=5))
    with _wiring.use(limited):
        yield limited
    limited.close()


def add_guest(lab: Lab, name: str, memory_mib: int, written_mib: int, dirty_mib_s: float) -> None:
    memory = {"memory_mib": memory_mib, "working_set_mib": written_mib, "dirty_mib_s": dirty_mib_s}
    lab.add_guest(GuestSpec.model_validate({"name": name, "disk": DiskKind.NOLOCK, **memory}))
    wait_until(lambda: has_touched_memory(lab, name), f"{name} has touched its memory")


def move(name: str) -> MigrationOutcome:
    outcome = migrate_vm(vm=name, dest="kvm2")
    assert isinstance(outcome, MigrationOutcome)
    return outcome


def mean_mib_s(samples: list[JobStats]) -> float:
    first, last = samples[0], samples[-1]
    assert last.elapsed_ms - first.elapsed_ms > 1000, "long enough to be measured"
    return (last.data_processed_bytes - first.data_processed_bytes) / MIB / (last.elapsed_ms - first.elapsed_ms) * 1000


def test_two_moves_share_a_link_and_the_second_takes_over_what_the_first_leaves(
    fleet: Lab, shared_link: RealWorld
) -> None:
    add_guest(fleet, "large", memory_mib=320, written_mib=260, dirty_mib_s=8)
    add_guest(fleet, "small", memory_mib=48, written_mib=16, dirty_mib_s=2)
    together: dict[str, list[JobStats]] = {"large": [], "small": []}
    alone: list[JobStats] = []
    told, meters = list[Figures](), Meters()

    def listen(event: Event) -> None:
        if isinstance(event, MoveProgress | CopyProgress):
            told.append(meters.read(event.run, event.stats))
        if not isinstance(event, MoveProgress) or event.stats.data_processed_bytes == 0:
            return
        if shared_link.journal.unsettled()[1:]:
            together[event.vm].append(event.stats)
        else:
            alone.append(event.stats)

    with listening(listen), fleet.watch("large") as watch:
        # An evacuation would move one after the other: each fills the link alone.
        with ThreadPoolExecutor(max_workers=2) as pool:
            first = pool.submit(copy_context().run, move, "large")
            wait_until(lambda: bool(alone) or first.done(), "the large one's memory travels", timeout_s=60)
            moves = [first, pool.submit(copy_context().run, move, "small")]
        outcomes = [one.result() for one in moves]
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.MOVED] * 2
    assert fleet.where("large") == {"kvm2": "running"}
    assert watch.overlap_s == 0 and watch.errors == 0
    both = {name: mean_mib_s(samples) for name, samples in together.items()}
    after = mean_mib_s([sample for sample in alone if sample.elapsed_ms > alone[0].elapsed_ms + 1000])
    assert max(both.values()) < TOTAL_MIB_S * 0.7, (
        both
    )  # about its half; the one that comes second is told a moment later
    assert both["large"] * 1.3 < after < TOTAL_MIB_S * 1.15, (both, after)
    # The figures are those of the job: memory that travels, what it dirties, and an end in sight.
    assert any("memory" in figures.words and "MiB/s" in figures.words and figures.left for figures in told)
    assert all(0 <= figures.percent <= 100 for figures in told)
