"""Switch hosts off and on; one host's failure stops no other, and is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks._policy import ONCE, READ
from tasks._wiring import power_world
from tasks.optimize import SwitchOff, leave_on
from vmferry.errors import InvalidInput, LeftBehind, UnsafeError, VmferryError
from vmferry.model.power import PowerEnd, PowerOutcome, PowerReport
from vmferry.reporting.power_words import markdown_power, power_headline
from vmferry.steps import power
from vmferry.steps.host_marks import open_host


@task(**READ, task_run_name="which hosts sleep")
def read_sleepers() -> tuple[str, ...]:
    """Return the hosts that vmferry has let sleep."""
    return power.asleep(power_world())


@task(**ONCE, task_run_name="switch off {host}")
def put_to_sleep(host: str) -> PowerOutcome:
    """Prove that it is empty and may sleep, and let it switch itself off."""
    return power.put_to_sleep(host, power_world())


@task(**ONCE, task_run_name="wake {host}")
def wake_up(host: str) -> PowerOutcome:
    """Switch it on and wait until it is fit for VMs."""
    return power.wake_up(host, power_world())


@task(**ONCE, task_run_name="wake test of {host}")
def test_wake(host: str) -> PowerOutcome:
    """Switch it off and on once."""
    return power.test_wake(host, power_world())


@task(**ONCE, task_run_name="publish power")
def publish_power(report: PowerReport) -> None:
    """Show what became of each host."""
    create_markdown_artifact(markdown_power(report), key="power", description=power_headline(report))


def require_known(hosts: Sequence[str]) -> None:
    """Refuse hosts that are not in the inventory, or that it does not say how to switch; all at once."""
    world, problems = power_world(), []
    for host in dict.fromkeys(hosts):
        if host not in world.inventory.names():
            problems.append(f"host {host}: not in the inventory ({', '.join(world.inventory.names())})")
            continue
        try:
            power.control_of(host, world)
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput("; ".join(problems), problems=tuple(problems))


def switch_each(hosts: Sequence[str], act: Callable[[str], PowerOutcome]) -> PowerReport:
    """Do it host after host. What a host has against it keeps it as it is; an unknown end stops those that follow."""
    outcomes: list[PowerOutcome] = []
    for number, host in enumerate(hosts):
        try:
            outcomes.append(act(host))
        except UnsafeError as error:
            outcomes.append(PowerOutcome(host=host, end=PowerEnd.FAILED, reason=str(error)))
            why = f"not tried: {host} failed before it"
            outcomes += [PowerOutcome(host=one, end=PowerEnd.KEPT_ON, reason=why) for one in hosts[number + 1 :]]
            break
        except VmferryError as error:
            end = PowerEnd.FAILED if act is wake_up else PowerEnd.KEPT_ON
            outcomes.append(PowerOutcome(host=host, end=end, reason=str(error)))
    return PowerReport(outcomes=tuple(outcomes))


def switch_off(hosts: Sequence[str]) -> str:
    """Let emptied hosts sleep, and say in one sentence what became of them: the seam of consolidate-fleet."""
    world = power_world()
    known = [host for host in hosts if (entry := world.inventory.find(host)) is not None and entry.power is not None]
    report = switch_each(known, put_to_sleep)
    publish_power(report)
    unknown = [host for host in hosts if host not in known]
    told = f" {', '.join(unknown)}: the inventory does not say how to switch them, they stay on." if unknown else ""
    return power_headline(report) + "." + told


def night_switch() -> SwitchOff:
    """Return what is done with hosts that consolidate-fleet has emptied: nothing where the inventory switches none."""
    switched = any(entry.power is not None for entry in power_world().inventory.hosts)
    return switch_off if switched else leave_on


def open_woken(report: PowerReport) -> None:
    """Open the hosts that have come back for arrivals, on the hosts themselves too."""
    world = power_world()
    for outcome in report.of(PowerEnd.ON):
        world.journal.uncordon(outcome.host)
        open_host(outcome.host, world)


def must_be_switched(report: PowerReport) -> PowerReport:
    """Raise LeftBehind when a host is not as it was to be; all that were are told too."""
    wrong = report.of(PowerEnd.KEPT_ON, PowerEnd.FAILED)
    if wrong:
        raise LeftBehind(f"{power_headline(report)}; " + "; ".join(one.reason for one in wrong))
    return report
