"""A share on hosts that really change: what it makes, that every failure is taken back, and the way back."""

from __future__ import annotations

import pytest

from tests.unit.planning.shares import DEST, FSTAB, REQUEST, SERVER, SOURCE
from tests.unit.steps.share_yard import IMAGE, VM, Yard, lost
from vmferry.errors import InvalidInput, PermanentError, VmferryError
from vmferry.model.sharing import ShareState
from vmferry.model.vm import DomainState

SHARED = f"{REQUEST.directory}/{VM}.qcow2"


def acts_of_a_share() -> int:
    """Count the acts up to the boot."""
    yard = Yard()
    yard.share()
    return len(yard.acts)


ACTS = acts_of_a_share()


def test_both_hosts_use_the_servers_file_and_the_vm_runs_from_it() -> None:
    yard = Yard()
    yard.share()
    assert yard.read(SOURCE, IMAGE) == yard.read(DEST, IMAGE) == yard.files[SERVER, SHARED][1] == "first, booted"
    assert yard.machines[SOURCE].vms[VM] is DomainState.RUNNING
    assert [record.state for record in yard.shares.shares()] == [ShareState.SHARED]


def test_a_second_run_changes_nothing() -> None:
    yard = Yard()
    yard.share()
    before, done = yard.snapshot(), len(yard.acts)
    assert yard.share().steps == ()
    assert yard.snapshot() == before
    assert [words for _, words in yard.acts[done:]] == ["mark", "mark"]


def test_what_somebody_took_away_is_put_back_by_the_next_run() -> None:
    yard = Yard()
    yard.share()
    before = yard.snapshot()
    yard.machines[DEST].mounted = ""
    assert [(step.host, step.kind.value) for step in yard.share().steps] == [(DEST, "mount")]
    assert yard.snapshot() == before


@pytest.mark.parametrize("number", range(1, ACTS + 1))
def test_whatever_act_fails_the_hosts_are_as_they_were(number: int) -> None:
    yard = Yard()
    before = yard.snapshot()
    yard.fail = lambda now, host, words: PermanentError(f"host {host}: {words}: no") if now == number else None
    with pytest.raises(VmferryError, match="no"):
        yard.share()
    assert yard.problems == ()
    assert yard.snapshot() == before
    assert yard.machines[SOURCE].vms[VM] is DomainState.SHUTOFF
    assert yard.shares.shares() == ()


def test_a_vm_that_does_not_boot_takes_everything_back() -> None:
    yard = Yard()
    before, yard.boots = yard.snapshot(), False
    with pytest.raises(PermanentError, match="after its start from the shared image"):
        yard.share()
    assert yard.snapshot() == before


@pytest.mark.parametrize("number", range(1, ACTS + 1))
def test_a_server_that_dies_in_the_middle_leaves_the_two_hosts_as_they_were(number: int) -> None:
    """What is left on the server is held, and taken back when it is up again."""
    yard = Yard()
    before = yard.snapshot()
    yard.fail = lambda now, host, words: lost(host) if now >= number and host == SERVER else None
    try:
        yard.share()
    except VmferryError:
        hosts = dict(zip(yard.machines, yard.snapshot()[0], strict=True))
        was = dict(zip(yard.machines, before[0], strict=True))
        assert (hosts[SOURCE], hosts[DEST]) == (was[SOURCE], was[DEST])
        assert yard.read(SOURCE, IMAGE) == "first"
        yard.fail = lambda _now, _host, _words: None
        if yard.problems:
            assert yard.unshare() == ()
        assert yard.snapshot() == before


def test_the_way_back_brings_the_image_as_it_is_now_and_restores_every_file() -> None:
    yard = Yard()
    before = yard.snapshot()
    yard.share()
    # It moved live to the other host, and was shut down there.
    yard.machines[DEST].vms[VM] = DomainState.SHUTOFF
    del yard.machines[SOURCE].vms[VM]
    assert yard.unshare() == ()
    hosts, files = yard.snapshot()
    kept = {f"{REQUEST.directory}"}
    was = {name: state for name, state in zip(yard.machines, before[0], strict=True)}
    now = {name: state for name, state in zip(yard.machines, hosts, strict=True)}
    assert (now[SOURCE], now[DEST]) == (was[SOURCE], was[DEST])
    yard.machines[SERVER].directories -= kept  # the old copy is still in it
    assert yard.machines[SERVER].state() == was[SERVER]
    assert yard.read(DEST, IMAGE) == "first, booted"
    contents = {(host, path.partition(".vmferry")[0]): content for (host, path), (_, content) in files}
    assert contents == {(DEST, IMAGE): "first, booted", (SERVER, SHARED): "first, booted", (SOURCE, IMAGE): "first"}
    assert yard.machines[SOURCE].texts["/etc/fstab"] == FSTAB


def test_a_share_that_a_vm_runs_from_stays() -> None:
    yard = Yard()
    yard.share()
    before = yard.snapshot()
    with pytest.raises(InvalidInput, match=f"vm {VM} runs from"):
        yard.unshare()
    assert yard.snapshot() == before


def test_an_image_that_cannot_come_home_leaves_it_shared() -> None:
    yard = Yard()
    yard.share()
    yard.machines[SOURCE].vms[VM] = DomainState.SHUTOFF
    before = yard.snapshot()
    yard.fail = lambda _now, host, words: PermanentError("no room") if words.startswith("copy") else None
    with pytest.raises(PermanentError, match="no room"):
        yard.unshare()
    assert yard.snapshot() == before
    assert [record.state for record in yard.shares.shares()] == [ShareState.SHARED]


@pytest.mark.parametrize("number", range(1, 40))
def test_a_way_back_that_breaks_anywhere_can_be_gone_again_and_loses_nothing(number: int) -> None:
    yard = Yard()
    yard.share()
    yard.machines[SOURCE].vms[VM] = DomainState.SHUTOFF
    done = len(yard.acts)
    yard.fail = lambda now, host, words: lost(host) if now == done + number else None
    broke = False
    try:
        broke = bool(yard.unshare())
    except VmferryError:
        broke = True
    yard.fail = lambda _now, _host, _words: None
    assert "first, booted" in [content for _, content in yard.files.values()]
    if broke:
        assert yard.unshare() == ()
    assert yard.read(SOURCE, IMAGE) == "first, booted"
    assert yard.shares.shares() == ()
    assert yard.machines[SOURCE].texts == {"/etc/fstab": FSTAB}


def test_a_running_vm_and_images_of_others_are_told_at_once_and_nothing_is_touched() -> None:
    yard = Yard()
    yard.machines[SOURCE].vms[VM] = DomainState.RUNNING
    yard.put(DEST, f"{REQUEST.mount_at}/other.qcow2", "precious")
    before = yard.snapshot()
    with pytest.raises(InvalidInput) as told:
        yard.share()
    text = "\n".join(told.value.problems)
    assert "virsh shutdown web1" in text
    assert "other.qcow2" in text
    assert yard.snapshot() == before
    assert yard.acts == []


def test_a_program_that_is_missing_at_its_step_leaves_nothing_and_holds_nothing() -> None:
    """Its undo would want the same program: a step whose first program is not there has touched nothing."""
    yard = Yard()
    before = yard.snapshot()
    yard.missing = "firewall-cmd"
    with pytest.raises(PermanentError, match=r"firewall-cmd.*a program is missing"):
        yard.share()
    assert yard.problems == ()
    assert yard.snapshot() == before
