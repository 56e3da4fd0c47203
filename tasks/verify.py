"""Prove on both hosts where the VM is, and tidy up."""

from __future__ import annotations

from prefect import task

from tasks._policy import REPEATABLE
from tasks._wiring import world
from vmferry.model.migration import MigrationOutcome, OutcomeKind
from vmferry.steps.forward import run_step
from vmferry.steps.names import StepName
from vmferry.steps.recover import close


@task(**REPEATABLE, task_run_name="verify {vm} on {dest}")
def verify_vm(run: str, vm: str, dest: str) -> None:
    """Look at both hosts through libvirt and `virsh list`."""
    run_step(run, StepName.VERIFY, world())


@task(**REPEATABLE, task_run_name="finish {vm} on {dest}")
def finish_vm(run: str, vm: str, dest: str) -> MigrationOutcome:
    """Remove the source's definition, set autostart, close the run."""
    run_step(run, StepName.FINISH, world())
    return close(world().journal.find(run), world(), OutcomeKind.MOVED)
