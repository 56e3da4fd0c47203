"""Bring disks to the destination."""

from __future__ import annotations

from prefect import task

from tasks._policy import REPEATABLE
from tasks._wiring import world
from vmferry.steps.forward import run_step
from vmferry.steps.names import StepName


@task(**REPEATABLE, task_run_name="storage {vm} → {dest}")
def copy_disks(run: str, vm: str, dest: str) -> None:
    """Copy the files of an offline move, verified; nothing to do for shared storage."""
    run_step(run, StepName.STORAGE, world())
