"""Keep what hosts and VMs used since the last time: the base of consolidation and balance."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks import _wiring
from tasks.usage import take_samples


@flow(name="sample-usage", flow_run_name="sample usage", validate_parameters=True)
def sample_usage(inventory: str | None = None) -> State[Any]:
    """Read the counters of every host and its running VMs, and keep the difference to the last reading.

    Read only on the hosts; run it every few minutes. A run too many does no harm, a run that failed leaves a longer
    sample. Hosts that do not answer are named; the run fails only when none answers.

    Args:
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    with _wiring.wired(inventory):
        taken = take_samples()
    return Completed(message=taken.headline(), data=taken, name="With findings" if taken.problems else "Completed")
