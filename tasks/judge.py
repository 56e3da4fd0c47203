"""Read what a single move depends on, and judge it."""

from __future__ import annotations

from dataclasses import dataclass

from tasks._inputs import unsearched
from tasks._wiring import settings
from tasks.preflight import read_fleet, read_ways
from vmferry.domxml.rewrite import check_same_vm
from vmferry.errors import InvalidInput, PreflightBlocked
from vmferry.model.findings import PreflightReport
from vmferry.model.host import FleetSnapshot
from vmferry.model.migration import MigrationPlan, MigrationRequest
from vmferry.model.vm import Vm
from vmferry.planning.single import VmDecision, plan_vm, warned_of_constraints
from vmferry.steps.prepare import arriving_of, make_plan


@dataclass(frozen=True)
class Judged:
    """A request with its source found, the decision on it, and the snapshot on which it was decided."""

    request: MigrationRequest
    decision: VmDecision
    snapshot: FleetSnapshot

    @property
    def source(self) -> str:
        """The host where the VM is."""
        return self.decision.case.source.name

    def report(self) -> PreflightReport:
        """Return the findings, with the forecast where nothing forbids the move."""
        report = self.decision.report
        return report if report.blockers else report.model_copy(update={"forecast": self.plan().forecast})

    def plan(self) -> MigrationPlan:
        """Return the plan of the run; raises PreflightBlocked with all blockers."""
        report = self.decision.report
        if report.blockers:
            problems = tuple(f"{finding.rule}: {finding.message}" for finding in report.blockers)
            text = f"vm {report.vm}: may not move to {report.dest}: {'; '.join(problems)}"
            raise PreflightBlocked(text, problems=problems, vm=report.vm)
        return make_plan(self.decision, self.request, self.snapshot, move_timeout_s=settings().move_timeout_s)


def judge_move(request: MigrationRequest) -> Judged:
    """Find the VM, look from its host at the destination, and ask all rules; nothing is changed.

    Raises InvalidInput with every problem of the request at once.
    """
    snapshot = read_fleet()
    arriving = arriving_of(request)
    first = plan_vm(snapshot, request, arriving)
    _check_persistent_xml(request, first.vm)
    found = request.model_copy(update={"source": first.case.source.name})
    here = first.case.source.name
    snapshot = read_ways(unsearched(snapshot), here, [request.dest], [first.vm], first.case.arriving)
    return Judged(found, warned_of_constraints(plan_vm(snapshot, found, arriving), snapshot), snapshot)


def _check_persistent_xml(request: MigrationRequest, vm: Vm) -> None:
    """Refuse persistent XML of another VM: the rules see only the live XML that was given, libvirt compares neither."""
    problems = check_same_vm(request.persistent_xml, vm.name, vm.uuid) if request.persistent_xml is not None else ()
    if problems:
        raise InvalidInput(
            f"vm {vm.name}: the persistent XML cannot be its own: {'; '.join(problems)}; make it from "
            f"`virsh dumpxml --inactive {vm.name}`",
            problems=tuple(f"persistent XML: {problem}" for problem in problems),
            vm=vm.name,
        )
