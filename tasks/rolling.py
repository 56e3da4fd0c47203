"""Roll over hosts: the steps of one host, each written down when it is over, so that a roll can be continued."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import cast

from prefect import task
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment

from tasks._inputs import unsearched
from tasks._policy import ONCE, READ
from tasks._wiring import world
from tasks.asking import await_person
from tasks.emptying import empty_host
from tasks.preflight import read_fleet
from tasks.report import publish_roll
from tasks.returning import return_home
from vmferry.errors import InvalidInput, PermanentError, UnsafeError, VmferryError
from vmferry.model.evacuation import EvacuationReport, EvacuationRequest
from vmferry.model.host import FleetSnapshot, HostFacts
from vmferry.model.migration import MigrationOutcome, OutcomeKind
from vmferry.model.operation import RunLimits, SavedOperation
from vmferry.model.returning import Returning, ReturnRequest
from vmferry.model.roll import BootFacts, HostRoll, HostStage, RollReport, RollRequest, WorkKind
from vmferry.planning.causes import above_objective
from vmferry.planning.safe_sets import safe_sets
from vmferry.progress import HostRolled, RollEnded, publish
from vmferry.steps.homecoming import open_for_return
from vmferry.steps.rolling import await_health, do_command, find_roll, read_before, reboot_host, save_roll
from vmferry.stopping import current_stop


@task(**READ, task_run_name="look at {host} before the work")
def look_before(host: str) -> tuple[HostFacts, BootFacts]:
    """Read what the host's health is compared with afterwards."""
    return read_before(host, world())


@task(**ONCE, task_run_name="work on {host}")
def work_on(host: str, request: RollRequest) -> str:
    """Do the operator's own work on the host, which is empty; return the last of what it said."""
    work = request.work
    match work.kind:
        case WorkKind.COMMAND:
            return do_command(host, work, world()).output
        case WorkKind.DEPLOYMENT:
            run = cast(FlowRun, run_deployment(work.deployment, parameters={"host": host}, timeout=work.timeout_s))
            if run.state is None or not run.state.is_completed():
                state = run.state.name if run.state is not None else "unknown"
                raise PermanentError(f"host {host}: flow run {run.name} of {work.deployment} is {state}", host=host)
            return f"flow run {run.name} of {work.deployment}"
    return ""


@task(**ONCE, task_run_name="reboot {host}")
def reboot(host: str, before: BootFacts, timeout_s: float) -> BootFacts:
    """Reboot the host and wait until it is back."""
    return reboot_host(host, before, timeout_s, world())


@task(**ONCE, task_run_name="health of {roll.host}")
def gate(roll: HostRoll, timeout_s: float, is_rebooted: bool) -> tuple[str, ...]:
    """Look until the host is as well as before; return what is still wrong."""
    before = HostFacts.model_validate_json(roll.before)
    return await_health(roll, before, timeout_s, world(), rebooted=is_rebooted)


class Roll:
    """One pass over the hosts; it stops at the first one that is not well."""

    def __init__(self, request: RollRequest, hosts: Sequence[HostRoll], saved: SavedOperation | None) -> None:
        self._request = request
        self._hosts = {roll.host: roll for roll in hosts}
        self._started_at = world().clock.now()
        self._saved = save_roll(request, tuple(hosts), world(), saved, is_over=False)
        self._stopped = ""

    @classmethod
    def begun(cls, request: RollRequest) -> Roll:
        """Begin a roll; raises InvalidInput with every problem, before anything is touched."""
        names = world().inventory.names()
        problems = [
            f"hosts: no host {h} in the inventory ({', '.join(names)})" for h in request.hosts if h not in names
        ]
        problems += [f"hosts: {h} is given twice" for h in dict.fromkeys(request.hosts) if request.hosts.count(h) > 1]
        problems += request.work.problems()
        if not request.hosts:
            problems.append("hosts: none is given")
        if problems:
            raise InvalidInput(f"roll: {'; '.join(problems)}", problems=tuple(problems))
        return cls(request, tuple(HostRoll(host=host) for host in request.hosts), None)

    @classmethod
    def resumed(cls, limits: RunLimits) -> Roll:
        """Go on with the roll that was stopped: hosts that are done are left alone, others begin where they stood."""
        saved, before = find_roll(world())
        hosts = tuple(roll.model_copy(update={"reason": ""}) for roll in before.hosts)
        return cls(before.request.model_copy(update={"limits": limits}), hosts, saved)

    def run(self) -> RollReport:
        """Roll over all hosts, set by set; return the report."""
        for hosts in self._sets():
            self._set(hosts)
            if self._stopped:
                break
        report = self._report()
        save_roll(self._request, report.hosts, world(), self._saved, is_over=report.is_done)
        publish(RollEnded(report=report))
        publish_roll(unsearched(report))
        return report

    def _sets(self) -> tuple[tuple[str, ...], ...]:
        left = [roll.host for roll in self._hosts.values() if roll.stage is not HostStage.DONE]
        if self._request.at_once == 1:
            return tuple((host,) for host in left)
        snapshot: FleetSnapshot = read_fleet()
        return safe_sets(snapshot, left, self._request.at_once, self._request.lift)

    def _set(self, hosts: Sequence[str]) -> None:
        """Empty the hosts one after the other, work on all of them at once, let the VMs return one after the other."""
        for host in hosts:
            self._step(host, HostStage.EMPTY, lambda h: self._empty(h, hosts))
        self._await_hands(hosts)
        if not self._stopped:
            with ThreadPoolExecutor(max_workers=len(hosts), thread_name_prefix="work") as pool:
                for done in [pool.submit(copy_context().run, self._work, host) for host in hosts]:
                    done.result()
        for host in hosts:
            self._step(host, HostStage.DONE, self._return)

    def _await_hands(self, hosts: Sequence[str]) -> None:
        """Wait until a person says that the work on the hosts is done, where that is how it is done."""
        to_do = [host for host in hosts if self._hosts[host].stage is HostStage.EMPTY]
        if self._stopped or not to_do or self._request.work.kind is not WorkKind.HUMAN:
            return
        try:
            await_person(f"work on {', '.join(to_do)}", self._request.work.timeout_s / 60)
        except VmferryError as error:
            self._stopped = str(error)

    def _work(self, host: str) -> None:
        self._step(host, HostStage.WORKED, self._do_work, is_own=True)
        self._step(host, HostStage.REBOOTED, self._reboot, is_own=True)
        self._step(host, HostStage.HEALTHY, self._gate, is_own=True)

    def _step(self, host: str, stage: HostStage, act: Callable[[str], HostRoll], *, is_own: bool = False) -> None:
        """Do one step of a host that is not done yet; what it raises stops the roll, with the reason."""
        roll = self._hosts[host]
        if roll.stage.rank >= stage.rank or roll.reason or (self._stopped and not is_own):
            return
        try:
            if why := current_stop().why:
                raise PermanentError(f"host {host}: cancelled by {why}", host=host)
            roll = act(host).model_copy(update={"stage": stage})
        except VmferryError as error:
            roll = self._hosts[host].model_copy(update={"reason": str(error)})
            self._stopped = self._stopped or str(error)
            if isinstance(error, UnsafeError):
                self._stopped = f"HELD: {self._stopped}"
        self._hosts[host] = roll
        publish(HostRolled(roll=roll.model_copy(update={"before": ""})))
        save_roll(self._request, tuple(self._hosts.values()), world(), self._saved, is_over=False)

    # the steps

    def _empty(self, host: str, together: Sequence[str]) -> HostRoll:
        facts, boot = look_before(host)
        request = self._request
        dests = tuple(name for name in world().inventory.names() if name not in together)
        report = empty_host(
            EvacuationRequest(
                host=host,
                dests=dests,
                modes={vm: way for vm, way in request.modes.items() if facts.find_vm(vm) is not None},
                policy=request.policy,
                reason=request.reason,
                ticket=request.ticket,
                limits=request.limits,
                max_parallel=request.max_parallel,
                lift=request.lift,
            )
        )
        _must_be_idle(report, facts, is_rebooted=request.work.reboot)
        moved = sum(outcome.kind is OutcomeKind.MOVED for outcome in report.outcomes)
        told = {"before": facts.model_copy(update={"vms": ()}).model_dump_json(), "boot_before": boot, "moved": moved}
        notes = self._stop_at_long_downtime(report.outcomes)
        return self._hosts[host].model_copy(update={**told, "notes": notes})

    def _stop_at_long_downtime(self, outcomes: Sequence[MigrationOutcome]) -> tuple[str, ...]:
        """Move no further VM after one that stood still for longer than it may; return a line for each such one."""
        above = tuple(f"{outcome.vm} {above_objective(outcome)}" for outcome in outcomes if outcome.is_downtime_above)
        if above and not self._stopped:
            self._stopped = f"{'; '.join(above)}; if that may be: vmferry roll --resume"
        return above

    def _do_work(self, host: str) -> HostRoll:
        output = work_on(host, unsearched(self._request))
        return self._hosts[host].model_copy(update={"output": output})

    def _reboot(self, host: str) -> HostRoll:
        roll, work = self._hosts[host], self._request.work
        if work.reboot and roll.boot_before is not None:
            reboot(host, roll.boot_before, work.reboot_timeout_s)
        return roll

    def _gate(self, host: str) -> HostRoll:
        work = self._request.work
        wrong = gate(unsearched(self._hosts[host]), work.health_timeout_s, work.reboot)
        if wrong:
            raise PermanentError(
                f"host {host}: is not as well as before: {'; '.join(wrong)}; it stays closed for arrivals; when it is "
                "well: vmferry roll --resume",
                host=host,
            )
        return self._hosts[host]

    def _return(self, host: str) -> HostRoll:
        roll, request = self._hosts[host], self._request
        if request.returning is Returning.ASK:
            await_person(f"return of VMs to {host}", request.work.timeout_s / 60)
        if request.returning is Returning.NEVER:
            open_for_return(host, {request.reason}, world())
            return roll
        report = return_home(
            ReturnRequest(
                host=host,
                policy=request.policy,
                closed_for=(request.reason,),
                max_parallel=request.max_parallel,
                limits=request.limits,
                lift=request.lift,
            )
        )
        if report.is_held:
            raise UnsafeError(f"host {host}: {report.headline}; run `vmferry recover`", host=host)
        open_for_return(host, {request.reason}, world())
        above = self._stop_at_long_downtime(report.outcomes)
        away = tuple(f"{one.vm} is not home: {one.why}" for one in report.refused)
        return roll.model_copy(update={"returned": len(report.home), "notes": (*roll.notes, *above, *away)})

    def _report(self) -> RollReport:
        hosts = tuple(self._hosts.values())
        return RollReport(
            id=self._saved.id,
            hosts=hosts,
            stopped="" if all(roll.stage is HostStage.DONE for roll in hosts) else self._stopped,
            started_at=self._started_at,
            ended_at=world().clock.now(),
        )


def _must_be_idle(report: EvacuationReport, facts: HostFacts, *, is_rebooted: bool) -> None:
    """Raise when the host still has what the work would harm: anything, or what was to stay and runs."""
    if not report.is_done:
        left = ", ".join(report.left)
        raise PermanentError(
            f"host {report.host}: is not empty, {left} left; see its report, then: vmferry roll --resume",
            host=report.host,
        )
    running = [vm for vm in report.left if (found := facts.find_vm(vm)) is not None and found.is_active]
    if is_rebooted and running:
        raise PermanentError(
            f"host {report.host}: is not rebooted: {', '.join(running)} stays there and runs; shut it down, or let it "
            "leave; then: vmferry roll --resume",
            host=report.host,
        )
