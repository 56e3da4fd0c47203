"""The destination's answer to Finish is lost: plain libvirt ends with two running copies, vmferry never does.

The control connection of the source's libvirtd goes over plain TCP here, apart from memory, so that nftables can take
away just that answer. libvirt gives up after its keepalive, which is short in this lab.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial

import pytest

from flows.migrate_vm import migrate_vm
from infra.lab import DiskKind, GuestSpec, Lab, LabSpec, Watch, take_down
from infra.lab.conditions import swallowed_answers
from tasks import _wiring
from tests.labs import lab_name
from tests.prefect_side import PrefectServer
from vmferry.adapters.world import RealWorld, open_world
from vmferry.errors import LeftBehind
from vmferry.inventory import load_inventory
from vmferry.model.convergence import PolicyName
from vmferry.model.journal import RunState
from vmferry.model.migration import MigrationOutcome, OutcomeKind
from vmferry.model.transport import Encryption, Switch
from vmferry.settings import read_settings

pytestmark = pytest.mark.lab

LINK_MIB_S = 12  # memory flows for some seconds


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    name = lab_name("finish")
    try:
        made = Lab.up(LabSpec(name=name, listen_tcp=True, keepalive=(1, 3)))
        made.hosts["kvm1"].cap_link(LINK_MIB_S)
        yield made
    finally:
        take_down(name)


@pytest.fixture
def tcp_world(lab: Lab, prefect: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealWorld]:
    """The lab, its hosts reaching each other's libvirt over plain TCP; flows use this world."""
    monkeypatch.setenv("VMFERRY_SETTLE_PATIENCE_S", "12")
    opened = open_world(load_inventory(lab.inventory_path), read_settings(connect_timeout_s=5))
    hosts = tuple(
        host.model_copy(
            update={"peer_uri": f"qemu+tcp://{lab.hosts[host.name].address}/system", "encryption": Encryption.NONE}
        )
        for host in opened.inventory.hosts
    )
    opened.inventory = opened.inventory.model_copy(update={"hosts": hosts})
    with _wiring.use(opened):
        yield opened
    opened.close()


def add_guest(lab: Lab, name: str, disk: DiskKind) -> None:
    lab.add_guest(GuestSpec(name=name, disk=disk, dirty_mib_s=40, working_set_mib=40, disk_mib=8, disk_data_mib=2))
    wait_until(lambda: (beat := lab.heartbeats(name).get("kvm1")) is not None and beat.passes > 0, "memory is touched")
    lab.set_rate(name, 0.4)


def wait_until(is_true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline, f"not seen: {what}"
        time.sleep(0.05)


def lose_finish(lab: Lab, guest: str, move: Callable[[], object]) -> tuple[Watch, BaseException | object]:
    """Begin a move, lose the answer to Finish; return what the guest's copies did, and how the move ended."""
    source, dest = lab.hosts["kvm1"], lab.hosts["kvm2"]
    with lab.watch(guest) as watch, ThreadPoolExecutor(max_workers=1) as pool:
        # In this test's own context: Prefect keeps there which server it talks to.
        future: Future[object] = pool.submit(copy_context().run, move)
        wait_until(lambda: is_moving(lab, guest) or future.done(), "memory flows")
        with swallowed_answers(source, dest):
            error = future.exception(timeout=120)
        time.sleep(1)  # a second copy would beat now
    return watch, error or future.result()


def is_moving(lab: Lab, guest: str) -> bool:
    job = lab.hosts["kvm1"].run(["virsh", "domjobinfo", guest], check=False).stdout
    return "Data processed:" in job and "Expected downtime" in job


def test_plain_virsh_ends_with_two_running_copies(lab: Lab) -> None:
    """What the fault is: libvirt alone, on storage without locks between the hosts."""
    add_guest(lab, "plain1", DiskKind.NOLOCK)
    source, dest = lab.hosts["kvm1"], lab.hosts["kvm2"]
    uris = [f"qemu+tcp://{dest.address}/system", "--migrateuri", f"tcp://{dest.address}"]
    watch, error = lose_finish(lab, "plain1", lambda: source.virsh("migrate", "--live", "--p2p", "plain1", *uris))
    assert isinstance(error, BaseException), "virsh did not notice"
    assert lab.where("plain1") == {"kvm1": "running", "kvm2": "running"}
    assert watch.overlap_s > 0.5 and watch.alive_on("kvm1") and watch.alive_on("kvm2")
    dest.virsh("destroy", "plain1")


def test_a_guarded_move_of_a_vm_without_disks_ends_with_one_copy(lab: Lab, tcp_world: RealWorld) -> None:
    """With disks, with and without locks between the hosts: tests/lab/test_fault_matrix.py."""
    add_guest(lab, "guarded1", DiskKind.NONE)
    watch, error = lose_finish(lab, "guarded1", lambda: migrate_vm(vm="guarded1", dest="kvm2"))
    assert isinstance(error, LeftBehind), error
    run = tcp_world.journal.recent(1)[0]
    assert run.plan.switch is Switch.GUARDED and run.state is RunState.CLOSED
    assert lab.where("guarded1") == {"kvm1": "running"}
    assert watch.alive_on("kvm1") and [spell.host for spell in watch.spells if spell.host == "kvm2"] == []
    assert watch.overlap_s == 0 and watch.errors == 0


def test_where_libvirt_lets_it_run_without_locks_the_source_is_kept_from_running_again(
    lab: Lab, tcp_world: RealWorld
) -> None:
    """A move that may become post-copy, and ends before that: it cannot be guarded."""
    add_guest(lab, "split1", DiskKind.NOLOCK)
    move = partial(migrate_vm, vm="split1", dest="kvm2", policy=PolicyName.POST_COPY)
    watch, outcome = lose_finish(lab, "split1", move)
    assert isinstance(outcome, MigrationOutcome) and outcome.kind is OutcomeKind.MOVED, outcome
    assert tcp_world.journal.find(outcome.run).plan.switch is Switch.POSTCOPY
    assert any("its paused remains there are ended" in row.note for row in tcp_world.journal.rows(outcome.run))
    assert lab.where("split1") == {"kvm2": "running"}
    assert watch.alive_on("kvm2") and watch.overlap_s == 0 and watch.errors == 0
