"""Even out load that has been uneven for long enough: usage → plan → moves → report."""

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
    decide,
    make_optimization_report,
    must_be_done,
    publish_decision,
    publish_optimization,
    run_decision,
)
from tasks.report import label_run
from vmferry.model.cancelling import OnCancel
from vmferry.model.optimization import BalanceRequest, OptimizationReport
from vmferry.model.options import CautionOptions, WindowOptions, limits_from


@flow(name="balance-fleet", flow_run_name="balance fleet", validate_parameters=True)
def balance_fleet(
    hosts: list[str] | None = None,
    threshold_percent: Annotated[float, Field(gt=0, le=100, title="Threshold, points")] = 20.0,
    lasting_minutes: Annotated[int, Field(ge=5, le=1440, title="Lasting, minutes")] = 30,
    min_gain: Annotated[float, Field(ge=0, le=1, title="Least gain")] = 0.005,
    max_moves: Annotated[int, Field(ge=1, le=1000, title="Moves at most")] = 10,
    vm_cooldown_h: Annotated[float, Field(ge=0, title="Cool-down of a VM, h")] = 12.0,
    max_parallel: Annotated[int, Field(ge=1, le=64, title="Moves at once")] = 4,
    window: WindowOptions = WindowOptions(),  # noqa: B008 - frozen
    caution: CautionOptions = CautionOptions(),  # noqa: B008 - frozen
    dry_run: Annotated[bool, Field(title="Dry run")] = False,
    lift: list[str] | None = None,
    on_cancel: OnCancel | None = None,
    inventory: str | None = None,
) -> OptimizationReport | State[Any]:
    """Relieve hosts whose CPUs or memory were busier than the fleet's mean for long enough.

    "Nothing worth doing" is a good end: one busy minute moves nothing. Needs the samples of sample-usage.

    Args:
        hosts: Hosts that take part; all of the inventory when empty.
        threshold_percent: A host counts as too busy so many points above the mean of all hosts.
        lasting_minutes: It must have been so for most of this time.
        min_gain: A move must lower the unevenness (sum of squared shares in use) by so much.
        max_moves: No more moves in one run.
        vm_cooldown_h: A VM that was moved is left alone for so long.
        max_parallel: Moves at once; the hosts' own limits hold besides.
        window: Until when moves may start, and what becomes of those that run then.
        caution: Canaries, and what stops the run.
        dry_run: Decide only; nothing is touched.
        lift: Ids of rules whose blocks only warn in this run; recorded in the report, impossible for final rules.
        on_cancel: What a cancel does to moves that run: finish or abort; VMFERRY_ON_CANCEL (finish) when empty.
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    request = BalanceRequest(
        hosts=tuple(hosts or ()),
        threshold_percent=threshold_percent,
        lasting_s=lasting_minutes * 60,
        min_gain=min_gain,
        max_moves=max_moves,
        vm_cooldown_h=vm_cooldown_h,
        lift=tuple(lift or ()),
    )
    with _wiring.wired(inventory) as world, telling(), cancellable(on_cancel, inventory):
        started_at = world.clock.now()
        limits = limits_from(window, caution, started_at)
        decision = decide(request, max_parallel)
        label_run(*dict.fromkeys(f"host:{move.source}" for move in decision.plan.moves))
        publish_decision(unsearched(decision))
        if dry_run or not decision.plan.moves:
            return make_optimization_report(decision, started_at, None, is_dry_run=dry_run)
        with progress_artifacts("balance fleet"):
            result = run_decision(decision, max_parallel, limits)
        report = make_optimization_report(decision, started_at, result)
        publish_optimization(unsearched(report))
        return must_be_done(report)
