"""Settle runs that failed, crashed, or wait."""

from __future__ import annotations

from prefect import task

from tasks._policy import ONCE
from tasks._wiring import settings, world
from vmferry.model.migration import MigrationOutcome
from vmferry.steps.recover import recover


@task(**ONCE, task_run_name="settle {vm}")
def settle_run(run: str, vm: str, cause: str) -> MigrationOutcome:
    """Look at both hosts and bring the run to its end."""
    return recover(run, world(), cause=cause, patience_s=settings().settle_patience_s)
