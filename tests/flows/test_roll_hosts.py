"""roll-hosts on the simulated fleet: host after host, work, reboot, health gate, return; stopped and continued."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from prefect.client.schemas.objects import State

from flows.roll_hosts import roll_hosts
from tasks import rolling
from tests.flows.yard import HOSTS, Yard
from vmferry.adapters.simulated import SimulatedFleet
from vmferry.errors import NotAgreed
from vmferry.model.operation import VmHandling, WayOut
from vmferry.model.returning import Returning
from vmferry.model.roll import CommandDone, WorkKind, WorkOptions
from vmferry.model.vm import DomainState

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect")]


def roll(yard: Yard, **given: Any) -> State[Any]:
    with yard.process():
        return roll_hosts(return_state=True, **given)


def populate(yard: Yard) -> dict[str, UUID]:
    """Two VMs on each host, one of them shut off."""
    vms = {f"run-{host}": yard.add(f"run-{host}", host) for host in HOSTS}
    return vms | {f"off-{host}": yard.add(f"off-{host}", host, state=DomainState.SHUTOFF) for host in HOSTS}


class Hands:
    """What the operator's command does on each host, and what was there meanwhile."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.worked: list[str] = []
        self.met: set[str] = set()
        self.broken = ""
        yard.fleet.command = self

    def __call__(self, host: str, argv: tuple[str, ...]) -> CommandDone:
        self.worked.append(host)
        self.met |= self.yard.names_on(host)
        if host == self.broken:
            self.yard.fleet.hosts[host].failed_units = ("nfs-mountd.service",)
        return CommandDone(exit_code=0, output=" ".join(argv))


COMMAND = WorkOptions(kind=WorkKind.COMMAND, command=["apt-get", "upgrade"], reboot=True, health_timeout_s=20)


def test_every_host_is_worked_on_while_it_is_empty_and_every_vm_is_home_again(yard: Yard) -> None:
    vms, hands = populate(yard), Hands(yard)
    boots = {name: host.boots for name, host in yard.fleet.hosts.items()}
    state = roll(yard, hosts=list(HOSTS), work=COMMAND)
    assert state.is_completed(), state.message
    assert hands.worked == list(HOSTS) and hands.met == set()
    assert {name: host.boots - boots[name] for name, host in yard.fleet.hosts.items()} == dict.fromkeys(HOSTS, 1)
    for name, uuid in vms.items():
        assert yard.where(uuid) == (name.partition("-")[2],)
    assert yard.fleet.down() == () and yard.journal.cordons() == () and yard.is_sound()


def test_a_host_that_is_not_well_stops_the_roll_and_the_next_one_goes_on(yard: Yard) -> None:
    vms, hands = populate(yard), Hands(yard)
    hands.broken = "kvm2"
    state = roll(yard, hosts=list(HOSTS), work=COMMAND)
    assert state.is_failed()
    assert "1 of 3 hosts done" in str(state.message) and "nfs-mountd.service" in str(state.message)
    assert hands.worked == ["kvm1", "kvm2"] and yard.names_on("kvm2") == set()
    assert [cordon.host for cordon in yard.journal.cordons()] == ["kvm2"]
    yard.fleet.hosts["kvm2"].failed_units, hands.broken = (), ""
    state = roll(yard, resume=True)
    assert state.is_completed(), state.message
    assert hands.worked == ["kvm1", "kvm2", "kvm3"]  # what was done is not done again
    assert all(yard.where(uuid) == (name.partition("-")[2],) for name, uuid in vms.items())
    assert yard.is_sound()


def test_a_vm_that_stands_still_for_too_long_is_the_last_one_that_the_roll_moves(yard: Yard) -> None:
    vms, hands = populate(yard), Hands(yard)
    wishes = {"run-kvm1": VmHandling(max_downtime_ms=1)}
    yard.fleet.inventory = yard.fleet.inventory.model_copy(update={"vms": wishes})
    state = roll(yard, hosts=["kvm1", "kvm2"], work=COMMAND)
    assert state.is_failed() and "run-kvm1 stood still for" in str(state.message)
    assert (hands.worked, yard.names_on("kvm1")) == ([], set())
    yard.fleet.inventory = yard.fleet.inventory.model_copy(update={"vms": {}})
    state = roll(yard, resume=True)
    assert state.is_completed(), state.message
    assert hands.worked == ["kvm1", "kvm2"]
    assert all(yard.where(uuid) == (name.partition("-")[2],) for name, uuid in vms.items())
    assert yard.is_sound()


def test_a_host_that_does_not_come_back_stops_the_roll(yard: Yard) -> None:
    populate(yard)
    yard.fleet.hosts["kvm1"].reboot_s = None
    state = roll(yard, hosts=["kvm1", "kvm2"], work=COMMAND)
    assert state.is_failed() and "is not back" in str(state.message)
    assert yard.names_on("kvm2") >= {"run-kvm2"} and yard.fleet.down() == ()


def test_a_command_that_fails_stops_the_roll_with_what_it_said(yard: Yard) -> None:
    populate(yard)
    yard.fleet.command = lambda host, argv: CommandDone(exit_code=100, output="E: disk full")
    state = roll(yard, hosts=["kvm1"], work=COMMAND)
    assert state.is_failed() and "ended with 100: E: disk full" in str(state.message)
    assert yard.fleet.hosts["kvm1"].boots == 1


def test_a_host_with_a_vm_that_must_stay_and_runs_is_not_rebooted(yard: Yard) -> None:
    populate(yard)
    state = roll(yard, hosts=["kvm1"], work=COMMAND, modes={"run-kvm1": WayOut.LEAVE})
    assert state.is_failed() and "is not rebooted: run-kvm1 stays there and runs" in str(state.message)
    assert yard.fleet.hosts["kvm1"].boots == 1 and yard.fleet.down() == ()


def test_hosts_are_empty_together_only_where_the_others_have_room(yard: Yard) -> None:
    """Three hosts of 6 GiB with 2 GiB used: one takes the VMs of one more, not of two, unless they are small."""
    yard.fleet = SimulatedFleet.of(*HOSTS, memory_mib=6144)
    for host in HOSTS:
        yard.add(f"run-{host}", host, memory_mib=2048)
    hands = Hands(yard)
    together: list[set[str]] = []

    def work(host: str, argv: tuple[str, ...]) -> CommandDone:
        together.append({name for name in HOSTS if not yard.names_on(name)})
        return hands(host, argv)

    yard.fleet.command = work
    state = roll(yard, hosts=list(HOSTS), at_once=2, work=WorkOptions(kind=WorkKind.COMMAND, command=["true"]))
    assert state.is_completed(), state.message
    assert sorted(hands.worked) == list(HOSTS)
    assert max(len(empty) for empty in together) == (2 if together else 0) or all(len(e) == 1 for e in together)
    assert yard.fleet.down() == () and yard.is_sound()


def test_vms_that_are_not_to_return_stay_and_the_host_is_open(yard: Yard) -> None:
    yard.add("wanderer")
    state = roll(yard, hosts=["kvm1"], returning=Returning.NEVER)
    assert state.is_completed(), state.message
    assert yard.names_on("kvm1") == set() and yard.journal.cordons() == ()


def test_wrong_input_is_told_at_once_and_nothing_is_touched(yard: Yard) -> None:
    state = roll(yard, hosts=["kvm1", "kvm1", "nowhere"], work=WorkOptions(kind=WorkKind.COMMAND))
    assert all(word in str(state.message) for word in ("nowhere", "given twice", "none is given"))
    assert yard.writes() == ()


def test_a_roll_waits_for_a_person_and_can_be_continued_when_nobody_came(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = yard.add("wanderer")
    came = [False, True]

    def await_person(what: str, _minutes: float) -> None:
        assert what == "work on kvm1" and yard.names_on("kvm1") == set()
        if not came.pop(0):
            raise NotAgreed(f"{what}: nobody has said")

    monkeypatch.setattr(rolling, "await_person", await_person)
    work = WorkOptions(kind=WorkKind.HUMAN)
    assert "nobody has said" in str(roll(yard, hosts=["kvm1"], work=work).message)
    state = roll(yard, resume=True)
    assert state.is_completed(), state.message
    assert yard.where(vm) == ("kvm1",)
