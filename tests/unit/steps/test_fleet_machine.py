"""Random operations of two installations, random faults, and people who know of neither: what always holds of a fleet.

The nightly profile takes more than 10,000 steps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.examples import examples
from tests.unit.steps.histories import in_one_thread
from tests.unit.steps.seas import HOSTS, KINDS, Installation, Seas, Vm
from vmferry.adapters.simulated import CLIENT, Blow, Fault
from vmferry.adapters.simulated.endings import PHASE_WORDS
from vmferry.adapters.simulated.faults import CALL_BLOWS
from vmferry.errors import VmferryError
from vmferry.steps.names import StepName

STEPS = 50
EXAMPLES = 14  # in the nightly profile twenty times as many: 14,000 steps

numbers = st.integers(0, len(KINDS) - 1)
hosts = st.sampled_from(HOSTS)
installations = st.integers(0, 1)
WORLD = (Blow.POWER_CUT, Blow.ISOLATED, Blow.LINK_DOWN, Blow.LIBVIRTD_KILLED, Blow.LIBVIRTD_RESTARTED)
anywhere = st.builds(
    Fault,
    does=st.sampled_from([*sorted(CALL_BLOWS), *WORLD]),
    host=st.sampled_from(["", *HOSTS]),
    nth=st.integers(1, 60),
    target=hosts,
    peer=hosts,
)
in_a_move = st.builds(
    Fault,
    does=st.sampled_from([blow for blow in Blow if blow is not Blow.DISK_FULL]),
    op=st.just("migrate"),
    phase=st.sampled_from(list(PHASE_WORDS.values())),
    target=hosts,
    peer=hosts,
)
faults = st.none() | anywhere | in_a_move


DISASTERS = ("libvirtd dies", "power fails", "QEMU dies", "link breaks")


class FleetMachine(RuleBasedStateMachine):
    """Each rule is a command of vmferry, a disaster, or what somebody types."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.seas = Seas()

    # vmferry

    @rule(who=installations, number=numbers, dest=hosts, fault=faults)
    def move(self, who: int, number: int, dest: str, fault: Fault | None) -> None:
        self._move(self.seas.ours[who], self.seas.vms[number], dest, fault)

    @rule(who=installations, number=numbers, dest=hosts, step=st.sampled_from(StepName))
    def move_and_cancel(self, who: int, number: int, dest: str, step: StepName) -> None:
        self._move(self.seas.ours[who], self.seas.vms[number], dest, None, stop_after=step)

    @rule(number=numbers, dest=hosts, other=hosts, nth=st.integers(1, 60))
    def move_while_another_installation_moves_it(self, number: int, dest: str, other: str, nth: int) -> None:
        vm = self.seas.vms[number]
        self.seas.gate.meddle(nth, lambda: self._move(self.seas.ours[1], vm, other, None))
        self._move(self.seas.ours[0], vm, dest, None)

    @rule(number=numbers, dest=hosts, nth=st.integers(1, 60), act=st.sampled_from(["abort", "destroy", "suspend"]))
    def move_while_somebody_types(self, number: int, dest: str, nth: int, act: str) -> None:
        vm = self.seas.vms[number]
        self.seas.gate.meddle(nth, lambda: self._type(vm, act))
        self._move(self.seas.ours[0], vm, dest, None)

    @rule(who=installations, host=hosts, fault=faults)
    def evacuate(self, who: int, host: str, fault: Fault | None) -> None:
        dest = HOSTS[(HOSTS.index(host) + 1) % len(HOSTS)]
        for vm in self.seas.vms:
            if host in self.seas.hosts_of(vm):
                self._move(self.seas.ours[who], vm, dest, fault, source=host)

    @rule(who=installations, fault=faults)
    def recover(self, who: int, fault: Fault | None) -> None:
        self.seas.arm(fault)
        self.seas.as_process(self.seas.ours[who].recover)

    @rule(who=installations, fault=faults)
    def purge(self, who: int, fault: Fault | None) -> None:
        self.seas.arm(fault)
        self.seas.as_process(self.seas.ours[who].purge)

    def _move(
        self,
        installation: Installation,
        vm: Vm,
        dest: str,
        fault: Fault | None,
        source: str = "",
        stop_after: StepName | None = None,
    ) -> None:
        there = self.seas.hosts_of(vm)
        if not there or dest == (source or there[0]):
            return
        self.seas.arm(fault)
        self.seas.as_process(lambda: installation.move(vm, source or there[0], dest, stop_after))

    # disasters

    @rule(what=st.sampled_from(DISASTERS), host=hosts, other=st.sampled_from([CLIENT, *HOSTS]), number=numbers)
    def disaster(self, what: str, host: str, other: str, number: int) -> None:
        fleet = self.seas.fleet
        match what:
            case "libvirtd dies":
                fleet.kill_libvirtd(host)
            case "power fails":
                fleet.cut_power(host)
            case "QEMU dies":
                fleet.kill_qemu(host, self.seas.vms[number].uuid)
            case _ if other != host:
                fleet.cut_link(host, other)

    @rule(seconds=st.sampled_from([1, 10, 60, 4000]))
    def time_passes(self, seconds: int) -> None:
        self.seas.fleet.advance(seconds)

    @rule()
    def somebody_repairs_the_network_and_the_daemons(self) -> None:
        self.seas.arm(None)
        self.seas.fleet.heal()

    # people

    @rule(number=numbers, act=st.sampled_from(["abort", "destroy", "suspend", "resume", "start", "define"]))
    def somebody_types(self, number: int, act: str) -> None:
        self._type(self.seas.vms[number], act)

    def _type(self, vm: Vm, act: str) -> None:
        """Do what a sensible human may do who sees one host only, or that nothing of the VM is active anywhere."""
        fleet, seas = self.seas.fleet, self.seas
        domains = {host: fleet.domain(host, vm.uuid) for host in seas.hosts_of(vm)}
        active = [host for host, domain in domains.items() if domain is not None and domain.is_active]
        if act in ("resume", "start") and (len(active) > (act == "resume") or seas.is_busy(vm)):
            return  # to let it run while there is another copy is no accident
        for host in active if act != "start" else list(domains)[:1]:
            seas.as_human(self._virsh(act, vm, host))

    def _virsh(self, act: str, vm: Vm, host: str) -> Callable[[], None]:
        fleet, hypervisor = self.seas.fleet, self.seas.fleet.hypervisor(host)
        domain = fleet.domain(host, vm.uuid)
        assert domain is not None
        match act:
            case "abort":
                return lambda: hypervisor.abort_job(vm.uuid)
            case "destroy":
                return lambda: hypervisor.destroy(vm.uuid)
            case "suspend":
                vm.wants_to_run = False
                return lambda: hypervisor.suspend(vm.uuid)
            case "resume":
                return lambda: hypervisor.resume(vm.uuid)
            case "define":
                return lambda: hypervisor.define(domain.xml())
            case _:
                return lambda: self._start(host, vm)

    def _start(self, host: str, vm: Vm) -> None:
        domain, where = self.seas.fleet.domain(host, vm.uuid), self.seas.fleet.hosts[host]
        if domain is None or domain.persistent_xml is None or not where.is_libvirtd_up:
            raise VmferryError("no")
        self.seas.fleet.start(where, domain)

    # what holds

    @rule()
    def everything_is_repaired(self) -> None:
        assert self.seas.repair() == []

    @invariant()
    def no_vm_runs_twice_and_nothing_is_lost(self) -> None:
        FleetMachine.steps += 1
        assert self.seas.wrongs() == []

    def teardown(self) -> None:
        assert self.seas.repair() == []


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    caplog.set_level(logging.CRITICAL, logger="vmferry")
    in_one_thread(monkeypatch)
    yield


def test_whatever_happens_to_a_fleet_each_vm_runs_once_or_is_held(
    quiet: None, record_property: Callable[[str, object], None]
) -> None:
    FleetMachine.steps = 0
    few = settings(
        examples(EXAMPLES),
        stateful_step_count=STEPS,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(FleetMachine, settings=few)
    record_property("steps", FleetMachine.steps)
    assert FleetMachine.steps > STEPS * EXAMPLES / 2
