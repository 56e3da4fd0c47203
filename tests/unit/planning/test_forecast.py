"""The forecast: QEMU's pre-copy played through the engine that will steer it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import GIB, build_facts, build_host, build_pair, build_snapshot, build_vm
from vmferry.model.convergence import POLICIES, PolicyName, Suspend
from vmferry.model.disks import FileCopy
from vmferry.model.forecast import DirtyRate, Ending, Forecast, PastRate
from vmferry.model.migration import MigrationMode, MigrationPlan
from vmferry.model.transport import Encryption, Switch
from vmferry.model.vm import DomainState, Vm
from vmferry.planning.dirty import is_busy, join_windows
from vmferry.planning.forecast import forecast_move
from vmferry.planning.past import PastMove, past_rates
from vmferry.planning.rehearsal import Load, rehearse
from vmferry.rules.case import Case, Fleet
from vmferry.rules.pace import QEMU_KIB

MIB = 2**20
HERE, THERE = "source-example", "dest-example"


def plan_of(vm: Vm, policy: PolicyName = PolicyName.MINIMAL_DOWNTIME, **fields: Any) -> MigrationPlan:
    given_fields: dict[str, Any] = {
        "run": "r",
        "vm": vm.name,
        "uuid": vm.uuid,
        "source": HERE,
        "dest": THERE,
        "mode": MigrationMode.LIVE,
        "mode_reason": "it runs",
        "state_before": vm.state,
        "is_persistent": True,
        "is_autostart": False,
        "memory_kib": vm.memory_kib,
        "reserved_kib": 0,
        "encryption": Encryption.NONE,
        "peer_uri": "",
        "migration_uri": "",
        "policy": policy,
        "deadline_s": POLICIES[policy].deadline_s(vm.memory_kib),
    }
    return MigrationPlan(**{**given_fields, **fields})


def case_of(
    vm: Vm,
    *,
    dirty: DirtyRate | None = None,
    mib_s: float | None = 100.0,
    past: tuple[PastRate, ...] = (),
    mode: MigrationMode = MigrationMode.LIVE,
) -> Case:
    facts = build_facts(HERE, [vm], dirty={str(vm.uuid): dirty} if dirty else {})
    pair = build_pair(HERE, THERE, [vm], mib_s=mib_s, past=past)
    hosts = [(build_host(HERE), facts), (build_host(THERE), build_facts(THERE))]
    return Fleet(build_snapshot(hosts, pairs=[pair])).case(vm, HERE, THERE, mode)


def dirty_of(used_mib: int, mib_s: float, working_set_mib: float | None = None) -> DirtyRate:
    return DirtyRate(mib_s=mib_s, resident_kib=used_mib * 1024 + QEMU_KIB, working_set_mib=working_set_mib)


def foretell(vm: Vm, dirty: DirtyRate | None, policy: PolicyName, **fields: Any) -> Forecast:
    mib_s = fields.pop("mib_s", 100.0)
    return forecast_move(case_of(vm, dirty=dirty, mib_s=mib_s), plan_of(vm, policy, **fields))


# what is sent


def test_only_memory_in_use_takes_time() -> None:
    vm = build_vm(memory_kib=8 << 20)
    small = foretell(vm, dirty_of(1000, 0), PolicyName.MINIMAL_DOWNTIME)
    large = foretell(vm, dirty_of(4000, 0), PolicyName.MINIMAL_DOWNTIME)
    assert small.ending is large.ending is Ending.CONVERGES
    assert small.seconds is not None and large.seconds is not None
    assert large.seconds - small.seconds == pytest.approx(30, abs=1)
    assert 10 < small.seconds < 12


def test_of_huge_pages_all_memory_is_sent() -> None:
    vm = build_vm(memory_kib=1 << 20, hugepages=True)
    found = foretell(vm, dirty_of(10, 0), PolicyName.MINIMAL_DOWNTIME)
    assert found.seconds is not None and found.seconds > 10.24


def test_memory_in_use_is_never_more_than_the_vm_has() -> None:
    vm = build_vm(memory_kib=1 << 20)
    found = foretell(vm, dirty_of(4000, 0), PolicyName.MINIMAL_DOWNTIME)
    assert found.seconds is not None and found.seconds < 13


def test_what_is_written_meanwhile_is_sent_again() -> None:
    """Half of what is sent is written again: 1 + 1/2 + 1/4 + …"""
    vm = build_vm(memory_kib=4 << 20)
    found = foretell(vm, dirty_of(4000, 50), PolicyName.MINIMAL_DOWNTIME)
    assert found.seconds == pytest.approx(80, rel=0.05)
    assert found.ending is Ending.CONVERGES and found.help == ""


def test_copies_come_before_the_move() -> None:
    vm = build_vm()
    files = (FileCopy(source_path="/a", dest_path="/a", size_bytes=GIB, allocated_bytes=GIB),)
    found = foretell(vm, dirty_of(100, 0), PolicyName.MINIMAL_DOWNTIME, files=files)
    assert found.copy_seconds == pytest.approx(10.24)
    assert found.all_seconds == pytest.approx(10.24 + (found.seconds or 0))


def test_an_offline_move_takes_its_copies() -> None:
    vm = build_vm(state=DomainState.SHUTOFF)
    case = case_of(vm, mode=MigrationMode.OFFLINE)
    files = (FileCopy(source_path="/a", dest_path="/a", size_bytes=GIB, allocated_bytes=GIB),)
    found = forecast_move(case, plan_of(vm, mode=MigrationMode.OFFLINE, files=files))
    assert (found.copy_seconds, found.downtime_ms) == (pytest.approx(10.24), None)


# how it ends

SWAMPED = dirty_of(500, 150)


def test_a_vm_that_writes_more_than_the_way_carries_never_ends_without_help() -> None:
    found = foretell(build_vm(), SWAMPED, PolicyName.MINIMAL_DOWNTIME)
    assert (found.ending, found.seconds) == (Ending.NEVER, None)
    assert "150 MiB/s written" in found.basis


def test_a_suspend_ends_it_and_its_pause_is_told() -> None:
    found = foretell(build_vm(), SWAMPED, PolicyName.SUSPEND_IF_NEEDED)
    assert (found.ending, found.help) == (Ending.WITH_HELP, "suspend")
    assert found.downtime_ms == pytest.approx(5000 + 150, rel=0.05)


def test_throttling_ends_it_with_a_short_pause() -> None:
    found = foretell(build_vm(), SWAMPED, PolicyName.AUTO_CONVERGE)
    assert found.ending is Ending.WITH_HELP and "CPU throttled by" in found.help
    assert found.downtime_ms is not None and found.downtime_ms <= 750


def test_post_copy_ends_it() -> None:
    found = foretell(build_vm(), SWAMPED, PolicyName.POST_COPY, switch=Switch.POSTCOPY)
    assert (found.ending, found.help) == (Ending.WITH_HELP, "post-copy")


def test_a_small_working_set_ends_by_itself_however_fast_it_is_written() -> None:
    found = foretell(build_vm(), dirty_of(1500, 150, working_set_mib=20), PolicyName.MINIMAL_DOWNTIME)
    assert found.ending is Ending.CONVERGES
    assert "at least 150 MiB/s written to 20 MiB" in found.basis


def test_a_cap_counts_for_the_passes_and_not_for_the_last_one() -> None:
    found = foretell(build_vm(), dirty_of(500, 30), PolicyName.SUSPEND_IF_NEEDED, bandwidth_mib_s=20)
    assert (found.ending, found.rate_mib_s) == (Ending.WITH_HELP, 20)
    assert found.downtime_ms is not None and found.downtime_ms < 6000  # 25 s at the cap


def test_a_vm_that_stands_still_is_paused_for_all_of_its_move() -> None:
    found = foretell(build_vm(), dirty_of(1000, 50), PolicyName.MINIMAL_DOWNTIME, mode=MigrationMode.NON_LIVE)
    assert found.seconds is not None and found.downtime_ms == round(found.seconds * 1000)


def test_a_vm_that_its_user_paused_has_no_downtime() -> None:
    vm = build_vm(state=DomainState.PAUSED)
    found = foretell(vm, dirty_of(1000, 0), PolicyName.MINIMAL_DOWNTIME)
    assert found.downtime_ms is None and found.seconds is not None


# what is not known


def test_an_unknown_dirty_rate_is_said_and_the_seconds_are_the_least() -> None:
    detail = "libvirt 6.0.0 is older than 7.2.0 and cannot measure it"
    dirty = DirtyRate(resident_kib=1000 * 1024 + QEMU_KIB, detail=detail)
    found = foretell(build_vm(), dirty, PolicyName.MINIMAL_DOWNTIME)
    assert found.ending is Ending.UNKNOWN and detail in found.basis
    assert found.seconds is not None and found.seconds > 10


def test_without_any_speed_there_are_no_seconds() -> None:
    found = foretell(build_vm(), dirty_of(1000, 0), PolicyName.MINIMAL_DOWNTIME, mib_s=None)
    assert (found.seconds, found.ending, found.basis) == (None, Ending.UNKNOWN, "the speed of the way is not known")


def test_moves_before_tell_more_than_a_probe() -> None:
    past = (PastRate(encryption=Encryption.NONE, connections=None, compression=None, mib_s=50, moves=3),)
    found = forecast_move(case_of(build_vm(), dirty=dirty_of(1000, 0), past=past), plan_of(build_vm()))
    assert found.rate_mib_s == 50 and "as 3 moves before" in found.basis
    tls = plan_of(build_vm(), encryption=Encryption.TLS)
    other = forecast_move(case_of(build_vm(), dirty=dirty_of(1000, 0), past=past), tls)
    assert other.rate_mib_s == 100, "another kind of transport"


def test_a_tunnelled_stream_is_bounded_by_libvirt() -> None:
    plan = plan_of(build_vm(), encryption=Encryption.TUNNELLED)
    assert forecast_move(case_of(build_vm(), dirty=dirty_of(1000, 0), mib_s=1000), plan).rate_mib_s == 140
    assert forecast_move(case_of(build_vm(), dirty=dirty_of(1000, 0), mib_s=30), plan).rate_mib_s == 30


def test_moves_that_share_a_way_share_its_rate() -> None:
    case, plan = case_of(build_vm(), dirty=dirty_of(1000, 0)), plan_of(build_vm())
    alone, beside = forecast_move(case, plan), forecast_move(case, plan, sharing=2)
    assert (alone.rate_mib_s, beside.rate_mib_s) == (100, 50)
    assert "shared by 2 moves" in beside.basis


# windows of QEMU's samples


@pytest.mark.parametrize(
    ("first", "second", "rate", "working_set"),
    [
        (40, 40, 40, None),
        (30, 45, 40, None),  # 120 MiB in 3 s
        (64, 32, 64, 64),  # 64 MiB in 1 s, 64 MiB in 2 s: that is all of it
        (8, 4, 16 / 3, None),  # four samples say nothing of the working set
    ],
)
def test_two_windows_tell_rate_and_working_set(
    first: float, second: float, rate: float, working_set: float | None
) -> None:
    found = join_windows(DirtyRate(mib_s=first), DirtyRate(mib_s=second))
    assert (found.mib_s, found.working_set_mib) == (pytest.approx(rate), working_set)


def test_a_window_that_failed_leaves_the_other_one() -> None:
    known, lost = DirtyRate(mib_s=10), DirtyRate(detail="gone")
    assert join_windows(known, lost) == join_windows(lost, known) == known


def test_an_idle_vm_is_not_measured_again() -> None:
    assert not is_busy(DirtyRate(mib_s=2)) and not is_busy(DirtyRate(detail="?")) and is_busy(DirtyRate(mib_s=4))


# history


def test_the_best_of_earlier_moves_counts_and_capped_ones_do_not() -> None:
    vm = build_vm()
    moves = [
        PastMove(plan=plan_of(vm), sent_bytes=500 * MIB, seconds=11.1),
        PastMove(plan=plan_of(vm), sent_bytes=500 * MIB, seconds=6.1),
        PastMove(plan=plan_of(vm), sent_bytes=10 * MIB, seconds=1.2),  # handshakes
        PastMove(plan=plan_of(vm, bandwidth_mib_s=20), sent_bytes=500 * MIB, seconds=26.1),
    ]
    (rate,) = past_rates(moves)
    assert rate.mib_s == pytest.approx(100) and rate.moves == 2


# the rehearsal, whatever the load

speeds = st.floats(min_value=0.5, max_value=2000)


@given(
    policy=st.sampled_from(list(PolicyName)),
    memory_mib=st.floats(min_value=4, max_value=100_000),
    rate=speeds,
    dirty=st.floats(min_value=0, max_value=3000),
    share=st.floats(min_value=0.01, max_value=1),
)
def test_a_rehearsal_ends_by_its_deadline_and_sends_each_byte_once_at_least(
    policy: PolicyName, memory_mib: float, rate: float, dirty: float, share: float
) -> None:
    vm = build_vm(memory_kib=round(memory_mib * 1024))
    plan = plan_of(vm, policy, switch=Switch.POSTCOPY if policy is PolicyName.POST_COPY else Switch.GUARDED)
    load = Load(
        memory_bytes=memory_mib * MIB,
        all_bytes=memory_mib * MIB,
        rate_bytes_s=rate * MIB,
        link_bytes_s=rate * MIB,
        dirty_bytes_s=dirty * MIB,
        working_set_bytes=memory_mib * MIB * share,
    )
    found = rehearse(plan, load)
    assert found == rehearse(plan, load)
    assert found.seconds * rate * MIB >= found.sent_bytes * 0.999
    if found.is_over:
        assert found.sent_bytes >= load.memory_bytes * 0.999
    else:
        assert found.seconds <= plan.deadline_s
    if not any(isinstance(order.action, Suspend) for order in found.orders):
        assert found.rest_s <= 5.001, "the largest limit of any ladder"
