"""One VM's move as a chain of task runs: the one piece of code that migrate-vm and evacuate-host share."""

from __future__ import annotations

from tasks.disk_copy import copy_disks
from tasks.migrate import define_vm, move_vm, open_run, reserve_vm
from tasks.rollback import settle_run
from tasks.verify import finish_vm, verify_vm
from vmferry.model.migration import MigrationOutcome, MigrationPlan


def move_one_vm(plan: MigrationPlan) -> MigrationOutcome:
    """Run the six steps; whatever fails, settle. Called inside a flow run, on any of its threads.

    Raises what `open_run` raises; from there on a failure is an outcome, unless the journal itself fails.
    """
    open_run(plan)
    try:
        for step in (reserve_vm, copy_disks, define_vm, move_vm, verify_vm):
            step(plan.run, plan.vm, plan.dest)
        return finish_vm(plan.run, plan.vm, plan.dest)
    except Exception as error:
        return settle_run(plan.run, plan.vm, str(error))
