"""Hosts are let to sleep only when nothing stands against it, and woken ones get VMs only when they are whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from tests.unit.builders import build_cordon, build_facts, build_host, build_vm
from vmferry.adapters.sleep_journal import SqlSleepJournal
from vmferry.errors import HostUnreachable, PermanentError, TransientError, UnsafeError
from vmferry.model.facts import Mount, Service, SystemFacts
from vmferry.model.host import Inventory, Storage
from vmferry.model.power import MachineIdentity, PowerControl, PowerEnd, PowerReading, PowerState, SleepState
from vmferry.model.vm import Vm
from vmferry.steps import power

HOST, OWN, OTHER = "kvm1", UUID(int=7), UUID(int=8)


@dataclass
class Machine:
    """A machine, its controller, and what can be wrong with them."""

    is_on: bool = True
    starts: int = 1
    obeys: bool = True  # switches itself off when it is told to
    wakes: bool = True
    tells: bool = True  # the controller tells the state
    behind: UUID = OWN  # the machine behind the controller
    vms: tuple[Vm, ...] = ()
    cordoned: bool = True
    runs: tuple[Any, ...] = ()
    mounts: tuple[str, ...] = ("/", "/srv/shared")
    late: tuple[Vm, ...] = ()  # VMs that somebody starts while the controller is asked
    looks: int = 0
    offs: int = field(default=0)


class Yard:
    """A world with one such machine."""

    def __init__(self, driver: str = "redfish", **given: Any) -> None:
        values = {"address": "https://bmc1", "user": "a", "password_file": "/p"} if driver == "redfish" else {}
        values = {"mac": "52:54:00:00:00:01"} if driver == "wake-on-lan" else values
        control = PowerControl.model_validate({"driver": driver, "boot_s": 20, "off_s": 20, **values})
        storage = (Storage(path="/srv/shared", shared="nfs"),)
        self.machine = Machine(**given)
        self.inventory = Inventory(hosts=(build_host(HOST, power=control, storage=storage),))
        self.sleep = SqlSleepJournal("sqlite://")
        self.time = datetime(2026, 11, 28, 22, 0, tzinfo=UTC)
        cordons = (lambda: (build_cordon(HOST),)) if self.machine.cordoned else (lambda: ())
        self.journal = SimpleNamespace(owner="me", cordons=cordons, unsettled=lambda: self.machine.runs)
        self.clock = SimpleNamespace(now=lambda: self.time, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def _must_answer(self) -> None:
        if not self.machine.is_on:
            raise HostUnreachable(f"host {HOST}: no answer", host=HOST)

    def power(self, host: str) -> Any:
        return SimpleNamespace(read=self._read, state=lambda: self._read().state, on=self._on)

    def _read(self) -> PowerReading:
        state = PowerState.ON if self.machine.is_on else PowerState.OFF
        if not self.machine.tells:
            return PowerReading(state=PowerState.UNKNOWN)
        return PowerReading(state=state, uuids=(self.machine.behind,), watts=210.0)

    def _on(self) -> None:
        if self.machine.wakes and not self.machine.is_on:
            self.machine.is_on, self.machine.starts = True, self.machine.starts + 1

    def host_power(self, host: str) -> Any:
        def identify() -> MachineIdentity:
            self._must_answer()
            return MachineIdentity(uuid=OWN, boot_id=str(self.machine.starts))

        def power_off() -> None:
            self._must_answer()
            self.machine.offs += 1
            self.machine.is_on = not self.machine.obeys

        return SimpleNamespace(identify=identify, power_off=power_off)

    def hypervisor(self, host: str) -> Any:
        def read_host() -> Any:
            self._must_answer()
            self.machine.looks += 1
            return build_facts(
                HOST, self.machine.vms if self.machine.looks < 2 else self.machine.vms + self.machine.late
            )

        return SimpleNamespace(read_host=read_host)

    def tools(self, host: str) -> Any:
        system = SystemFacts(
            mounts=tuple(Mount(path=path, source="s", fstype="nfs") for path in self.machine.mounts),
            services=(Service(name="libvirtd.service", is_active=True),),
        )
        return SimpleNamespace(read_system=lambda: system, free_bytes=lambda paths: dict.fromkeys(paths, 1))

    @property
    def state(self) -> SleepState | None:
        record = power.record_of(HOST, self)  # type: ignore[arg-type]
        return record.state if record else None

    def test(self) -> None:
        power.test_wake(HOST, self)  # type: ignore[arg-type]
        self.machine.offs = self.machine.looks = 0

    def off(self) -> Any:
        return power.put_to_sleep(HOST, self)  # type: ignore[arg-type]

    def on(self) -> Any:
        return power.wake_up(HOST, self)  # type: ignore[arg-type]


@pytest.mark.parametrize("driver", ["redfish", "wake-on-lan"])
def test_an_empty_host_that_has_passed_its_wake_test_sleeps_and_is_woken(driver: str) -> None:
    yard = Yard(driver, tells=driver == "redfish")
    yard.test()
    assert yard.off().end is PowerEnd.OFF
    assert (yard.machine.is_on, yard.state) == (False, SleepState.ASLEEP)
    assert power.asleep(yard) == (HOST,)  # type: ignore[arg-type]
    yard.time += timedelta(hours=8)
    woken = yard.on()
    assert (woken.end, round(woken.slept_h)) == (PowerEnd.ON, 8)
    assert woken.saved_wh == (pytest.approx(8 * 210, rel=0.01) if driver == "redfish" else None)
    assert yard.state is SleepState.AWAKE


def test_a_host_that_was_never_woken_may_not_sleep() -> None:
    yard = Yard()
    with pytest.raises(PermanentError, match="vmferry power test kvm1"):
        yard.off()
    assert yard.machine.offs == 0


RUN = SimpleNamespace(run="r1", plan=SimpleNamespace(source="kvm2", dest=HOST, vm="web1"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"vms": (build_vm("last"),)}, r"1 VMs: last \(running\)"),
        ({"vms": (build_vm("off", state="shut off"),)}, "1 VMs: off"),
        ({"late": (build_vm("late"),)}, "late"),
        ({"runs": (RUN,)}, "run r1 of vm web1 is not settled"),
        ({"behind": OTHER}, "nothing is switched"),
    ],
)
def test_a_host_with_anything_left_or_of_another_machine_is_never_switched_off(
    change: dict[str, Any], told: str
) -> None:
    yard = Yard()
    yard.test()
    for name, value in change.items():
        setattr(yard.machine, name, value)
    with pytest.raises(PermanentError, match=told):
        yard.off()
    assert (yard.machine.offs, yard.machine.is_on, yard.state) == (0, True, SleepState.AWAKE)


def test_a_host_that_is_open_for_arrivals_stays_on() -> None:
    yard = Yard(cordoned=False)
    with pytest.raises(PermanentError, match="open for arrivals"):
        yard.test()
    assert yard.machine.offs == 0


def test_a_controller_that_says_off_while_the_host_answers_is_another_machines() -> None:
    yard = Yard()
    yard.test()
    yard._read = lambda: PowerReading(state=PowerState.OFF, uuids=(OWN,))  # type: ignore[method-assign]
    with pytest.raises(PermanentError, match="another machine"):
        yard.off()
    assert yard.machine.offs == 0


def test_a_controller_that_does_not_answer_keeps_the_host_on() -> None:
    yard = Yard()
    yard.test()

    def silent() -> PowerReading:
        raise TransientError("no answer")

    yard._read = silent  # type: ignore[method-assign]
    with pytest.raises(TransientError):
        yard.off()
    assert yard.machine.offs == 0


def test_a_host_that_does_not_go_down_is_told_and_not_cut_off() -> None:
    yard = Yard()
    yard.test()
    yard.machine.obeys = False
    with pytest.raises(UnsafeError, match="not seen to be off after 20 s"):
        yard.off()
    assert yard.state is SleepState.FALLING


def test_a_host_that_does_not_wake_stays_closed_and_counts_as_asleep() -> None:
    yard = Yard()
    yard.test()
    yard.off()
    yard.machine.wakes = False
    with pytest.raises(PermanentError, match=r"not fit for VMs after 20 s: .*no answer"):
        yard.on()
    assert yard.state is SleepState.ASLEEP
    yard.machine.wakes = True
    assert yard.on().end is PowerEnd.ON


def test_a_host_that_comes_back_without_its_shared_storage_gets_no_vms() -> None:
    yard = Yard()
    yard.test()
    yard.off()
    yard.machine.mounts = ("/",)
    with pytest.raises(PermanentError, match="/srv/shared is not mounted"):
        yard.on()


def test_a_wake_test_that_never_switched_it_off_is_not_passed() -> None:
    yard = Yard("wake-on-lan", tells=False)
    answers = iter([True, True, False, False, False, False, True, True, True, True])

    def identify() -> MachineIdentity:
        if not next(answers):
            raise HostUnreachable("silent")
        return MachineIdentity(uuid=OWN, boot_id="1")

    yard.host_power = lambda host: SimpleNamespace(identify=identify, power_off=lambda: None)  # type: ignore[method-assign]
    with pytest.raises(PermanentError, match="was never off"):
        yard.test()


def test_the_reserve_stays_on() -> None:
    assert power.spare(("a", "b", "c"), 1) == (("b", "c"), ("a",))
