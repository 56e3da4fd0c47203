"""The move of one VM up to its pivot."""

from __future__ import annotations

from prefect import task

from tasks._policy import ONCE, READ
from tasks._wiring import world
from vmferry.model.migration import MigrationPlan
from vmferry.progress import MoveStarted, publish
from vmferry.steps.forward import run_step
from vmferry.steps.freeze import refuse_start
from vmferry.steps.names import StepName


@task(**ONCE, task_run_name="open run {plan.run} of {plan.vm}")
def open_run(plan: MigrationPlan) -> None:
    """Open the VM's run in the journal; one run per VM, none while the fleet is frozen."""
    refuse_start(plan, world())
    world().journal.open_run(plan)
    publish(MoveStarted(plan=plan))


@task(**READ, task_run_name="reserve {vm} on {dest}")
def reserve_vm(run: str, vm: str, dest: str) -> None:
    """Look at both hosts once more."""
    run_step(run, StepName.RESERVE, world())


@task(**ONCE, task_run_name="define {vm} on {dest}")
def define_vm(run: str, vm: str, dest: str) -> None:
    """Define an offline VM at the destination."""
    run_step(run, StepName.DEFINITION, world())


@task(**ONCE, task_run_name="move {vm} → {dest}")
def move_vm(run: str, vm: str, dest: str) -> None:
    """Pass the pivot."""
    run_step(run, StepName.MOVE, world())
