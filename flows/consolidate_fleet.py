"""Empty the hosts that are not worth running: plan → worth → moves → re-read → report."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from tasks import _wiring
from tasks._inputs import unsearched
from tasks.cancelling import cancellable
from tasks.events import telling
from tasks.live import progress_artifacts
from tasks.optimize import (
    closed_for_arrivals,
    decide,
    make_optimization_report,
    must_be_done,
    publish_decision,
    publish_optimization,
    run_decision,
    settle_emptied,
)
from tasks.power import night_switch
from tasks.report import label_run
from vmferry.model.cancelling import OnCancel
from vmferry.model.optimization import ConsolidationRequest, OptimizationReport
from vmferry.model.options import CautionOptions, WindowOptions, limits_from
from vmferry.model.plan import Reserve
from vmferry.model.worth import WorthPolicy


@flow(name="consolidate-fleet", flow_run_name="consolidate fleet", validate_parameters=True)
def consolidate_fleet(
    hosts: list[str] | None = None,
    hours: Annotated[float, Field(gt=0, le=720, title="Hours off")] = 8.0,
    min_gain_wh: Annotated[float, Field(ge=0, title="Least gain, Wh")] = 100.0,
    payback: Annotated[float, Field(ge=1, title="Payback")] = 2.0,
    max_moves: Annotated[int, Field(ge=1, le=100_000, title="Moves at most")] = 100,
    cpu_percent: Annotated[float, Field(gt=0, le=100, title="CPU in use, %")] = 80.0,
    reserve: Annotated[Reserve, Field(title="N+1")] = Reserve.NONE,
    vm_cooldown_h: Annotated[float, Field(ge=0, title="Cool-down of a VM, h")] = 12.0,
    host_cooldown_h: Annotated[float, Field(ge=0, title="Cool-down of a host, h")] = 4.0,
    max_parallel: Annotated[int, Field(ge=1, le=64, title="Moves at once")] = 4,
    window: WindowOptions = WindowOptions(),  # noqa: B008 - frozen
    caution: CautionOptions = CautionOptions(),  # noqa: B008 - frozen
    keep_closed: Annotated[bool, Field(title="Keep emptied hosts closed")] = True,
    reason: Annotated[str, Field(title="Reason")] = "consolidation",
    dry_run: Annotated[bool, Field(title="Dry run")] = False,
    lift: list[str] | None = None,
    on_cancel: OnCancel | None = None,
    inventory: str | None = None,
) -> OptimizationReport | State[Any]:
    """Empty the hosts that cost most for what they do, where the watts saved are worth the moves.

    "Nothing worth doing" is a good end. Demand is forecast from samples that sample-usage has kept; a VM without them
    counts with all of its vCPUs.

    Args:
        hosts: Hosts that may be emptied; all of the inventory when empty.
        hours: For how long an emptied host is expected to stay off: its watts × these hours are the gain.
        min_gain_wh: All moves together must bring so many watt-hours, their cost taken off; else nothing is done.
        payback: Emptying a host must save so many times what its moves cost.
        max_moves: No more moves in one run.
        cpu_percent: Of a host's CPUs that its VMs may be expected to use.
        reserve: hard: the loss of any one host stays survivable, emptied hosts being off; soft: told where it is not.
        vm_cooldown_h: A VM that was moved is left alone for so long.
        host_cooldown_h: A host at which VMs have arrived is not emptied for so long.
        max_parallel: Moves at once; the hosts' own limits hold besides.
        window: Until when moves may start, and what becomes of those that run then.
        caution: Canaries, and what stops the run.
        keep_closed: Emptied hosts stay closed for arrivals until `vmferry uncordon`; else they are opened again.
        reason: Why, for the cordons and the report.
        dry_run: Decide only; nothing is touched.
        lift: Ids of rules whose blocks only warn in this run; recorded in the report, impossible for final rules.
        on_cancel: What a cancel does to moves that run: finish or abort; VMFERRY_ON_CANCEL (finish) when empty.
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    pays = {"hours": hours, "min_gain_wh": min_gain_wh, "payback": payback, "max_moves": max_moves}
    rests = {"vm_cooldown_h": vm_cooldown_h, "host_cooldown_h": host_cooldown_h}
    worth = WorthPolicy.model_validate(pays | rests)
    asked = {"hosts": hosts or (), "cpu_percent": cpu_percent, "reserve": reserve, "lift": lift or ()}
    request = ConsolidationRequest.model_validate({**asked, "worth": worth})
    with _wiring.wired(inventory) as world, telling(), cancellable(on_cancel, inventory):
        started_at = world.clock.now()
        limits = limits_from(window, caution, started_at)
        decision = decide(request, max_parallel)
        label_run(*(f"host:{host}" for host in decision.emptied))
        publish_decision(unsearched(decision))
        if dry_run or not decision.plan.moves:
            return make_optimization_report(decision, started_at, None, is_dry_run=dry_run)
        with closed_for_arrivals(decision.emptied, reason), progress_artifacts("consolidate fleet"):
            result = run_decision(decision, max_parallel, limits, reason)
        report = make_optimization_report(decision, started_at, result)
        report = settle_emptied(report, keep_closed=keep_closed, power=night_switch())
        publish_optimization(unsearched(report))
        return must_be_done(report)
