"""Let hosts sleep and wake them: only what is provably empty is switched off, and only after it was woken once.

A host switches itself off: it is the one that was proved to be empty. Its management controller has to see that it is
off and to wake it, so the controller's machine must be the host's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vmferry.errors import PermanentError, TransientError, UnsafeError, VmferryError
from vmferry.model.host import HostFacts
from vmferry.model.power import (
    MachineIdentity,
    PowerControl,
    PowerEnd,
    PowerOutcome,
    PowerReading,
    PowerState,
    SleepRecord,
    SleepState,
)
from vmferry.planning.sleeping import controller_problem, emptiness_problems, gate_problems
from vmferry.ports.power import PowerWorld

logger = logging.getLogger("vmferry.steps")

_LOOK_EVERY_S = 2.0


def record_of(host: str, world: PowerWorld) -> SleepRecord | None:
    """Return what the journal has of a host's power."""
    return next((one for one in world.sleep.sleepers() if one.host == host), None)


def control_of(host: str, world: PowerWorld) -> PowerControl:
    """Return how a host is switched; raises InvalidInput where the inventory does not say."""
    world.power(host)
    entry = world.inventory.find(host)
    assert entry is not None and entry.power is not None, host
    return entry.power


def put_to_sleep(host: str, world: PowerWorld, *, is_test: bool = False) -> PowerOutcome:
    """Switch a host off; raises PermanentError, and does nothing, while anything stands against it.

    It is closed for arrivals, has no domain, running or not, and no open run; it is the machine of its controller; it
    has passed a wake test (unless this is the test). All of that is looked at once more right before. Raises
    UnsafeError when it is not seen to be off in time: it is never cut off by force.
    """
    control, began = control_of(host, world), world.clock.now()
    known = record_of(host, world)
    if not is_test and (known is None or known.tested_at is None):
        raise PermanentError(
            f"host {host}: was never woken by vmferry, so nobody knows that it comes back; `vmferry power test {host}` "
            "switches it off and on once",
            host=host,
        )
    reading = _must_be_itself(host, control, world)
    _must_be_empty(host, world)
    record = SleepRecord(
        host=host,
        state=SleepState.FALLING,
        owner=world.journal.owner,
        since=began,
        watts=reading.watts,
        tested_at=known.tested_at if known else None,
    )
    world.sleep.write(record)
    try:
        _must_be_empty(host, world)  # somebody may have started one while the controller was asked
    except VmferryError:
        world.sleep.write(record.model_copy(update={"state": SleepState.AWAKE}))
        raise
    logger.info("host %s: is switched off", host)
    world.host_power(host).power_off()
    _await_off(host, control, world)
    world.sleep.write(record.model_copy(update={"state": SleepState.ASLEEP, "since": world.clock.now()}))
    seconds = (world.clock.now() - began).total_seconds()
    return PowerOutcome(host=host, end=PowerEnd.OFF, seconds=seconds, watts=reading.watts)


def _must_be_itself(host: str, control: PowerControl, world: PowerWorld) -> PowerReading:
    reading = world.power(host).read()
    if problem := controller_problem(host, control, reading, world.host_power(host).identify()):
        raise PermanentError(problem, host=host)
    return reading


def _must_be_empty(host: str, world: PowerWorld) -> None:
    facts = world.hypervisor(host).read_host()
    problems = emptiness_problems(facts, host, world.journal.cordons(), world.journal.unsettled())
    if problems:
        raise PermanentError(f"host {host}: stays on: {'; '.join(problems)}", host=host)


def _await_off(host: str, control: PowerControl, world: PowerWorld) -> None:
    """Wait until the driver says off; where nothing tells, until the host has been silent for three looks."""
    waited, silent = 0.0, 0
    while waited < control.off_s:
        world.clock.sleep(_LOOK_EVERY_S)
        waited += _LOOK_EVERY_S
        state = _state(host, world)
        if state is PowerState.OFF:
            return
        silent = silent + 1 if state is PowerState.UNKNOWN and not _answers(host, world) else 0
        if silent >= 3:
            return
    raise UnsafeError(
        f"host {host}: was told to switch itself off, and is not seen to be off after {control.off_s} s; look at its "
        "console. vmferry does not cut its power",
        host=host,
    )


def _state(host: str, world: PowerWorld) -> PowerState:
    try:
        return world.power(host).state()
    except TransientError:  # a controller that is busy tells nothing
        return PowerState.UNKNOWN


def _answers(host: str, world: PowerWorld) -> bool:
    try:
        world.host_power(host).identify()
    except VmferryError:
        return False
    return True


def wake_up(host: str, world: PowerWorld) -> PowerOutcome:
    """Switch a host on and wait until it is fit for VMs; may be repeated. It stays closed for arrivals.

    Raises PermanentError when it does not come back in time, or not whole: the fleet stays as it is.
    """
    control, began = control_of(host, world), world.clock.now()
    known = record_of(host, world)
    record = known or SleepRecord(host=host, state=SleepState.AWAKE, owner=world.journal.owner, since=began)
    if known is None or known.state is not SleepState.AWAKE:
        world.sleep.write(record.model_copy(update={"state": SleepState.WAKING}))
    if not _answers(host, world):
        logger.info("host %s: is woken", host)
        world.power(host).on()
    problem = _await_gate(host, control, world)
    if problem:
        asleep = record.model_copy(update={"state": SleepState.ASLEEP, "reason": problem})
        world.sleep.write(asleep)
        raise PermanentError(
            f"host {host}: was switched on and is not fit for VMs after {control.boot_s} s: {problem}; it stays closed "
            "for arrivals. Look at its console, then `vmferry power on " + f"{host}`",
            host=host,
        )
    now = world.clock.now()
    update = {"state": SleepState.AWAKE, "since": now, "reason": "", "owner": world.journal.owner}
    world.sleep.write(record.model_copy(update=update))
    slept_h = (began - record.since).total_seconds() / 3600 if record.state is SleepState.ASLEEP else 0.0
    return PowerOutcome(
        host=host, end=PowerEnd.ON, seconds=(now - began).total_seconds(), watts=record.watts, slept_h=slept_h
    )


def _await_gate(host: str, control: PowerControl, world: PowerWorld) -> str:
    """Wait for a host that is as it should be; return what is still missing at the end."""
    waited, problem = 0.0, "it does not answer"
    while waited <= control.boot_s:
        try:
            facts = read_for_gate(host, world)
            entry = world.inventory.find(host)
            assert entry is not None
            problems = gate_problems(entry, facts)
            if not problems:
                return ""
            problem = "; ".join(problems)
        except VmferryError as error:
            problem = str(error)
        world.clock.sleep(_LOOK_EVERY_S)
        waited += _LOOK_EVERY_S
    return problem


def read_for_gate(host: str, world: PowerWorld) -> HostFacts:
    """Read a host as far as its health is told by that."""
    entry = world.inventory.find(host)
    assert entry is not None, host
    tools = world.tools(host)
    facts = world.hypervisor(host).read_host()
    free = tools.free_bytes([storage.path for storage in entry.storage])
    return facts.model_copy(update={"system": tools.read_system(), "storage_free_bytes": free})


def test_wake(host: str, world: PowerWorld) -> PowerOutcome:
    """Switch an empty host off and on once, and write down that it came back: from then on it may sleep."""
    was = world.host_power(host).identify()
    put_to_sleep(host, world, is_test=True)
    outcome = wake_up(host, world)
    _must_have_restarted(host, was, world.host_power(host).identify())
    record = record_of(host, world)
    assert record is not None, host
    world.sleep.write(record.model_copy(update={"tested_at": world.clock.now()}))
    return outcome


def _must_have_restarted(host: str, was: MachineIdentity, now: MachineIdentity) -> None:
    if was.boot_id and was.boot_id == now.boot_id:
        raise PermanentError(f"host {host}: answers, but was never off (boot id {now.boot_id})", host=host)


def asleep(world: PowerWorld) -> tuple[str, ...]:
    """Return the hosts that vmferry has let sleep, and those whose waking or falling asleep was broken off."""
    return tuple(one.host for one in world.sleep.sleepers() if one.state is not SleepState.AWAKE)


def spare(hosts: Sequence[str], reserve: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split hosts that could sleep into those that do and the reserve that stays on: the first ones."""
    return tuple(hosts[reserve:]), tuple(hosts[:reserve])
