"""Switch off hosts that are provably empty: closed, no domain, no open run, woken once before."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from pydantic import Field

from tasks import _wiring
from tasks.events import telling
from tasks.power import (
    must_be_switched,
    open_woken,
    publish_power,
    put_to_sleep,
    require_known,
    switch_each,
    test_wake,
)
from tasks.report import label_run
from tasks.window import in_thread
from vmferry.model.power import PowerReport
from vmferry.steps.power import spare


@flow(name="sleep-hosts", flow_run_name="switch off {hosts}", validate_parameters=True)
def sleep_hosts(
    hosts: list[str],
    reserve: Annotated[int, Field(ge=0, le=1000)] = 0,
    wake_test: bool = False,
    inventory: str | None = None,
) -> PowerReport:
    """Let hosts switch themselves off, each only while nothing at all stands against it.

    Args:
        hosts: Empty hosts of the inventory, closed for arrivals.
        reserve: So many of them, the first ones, stay on.
        wake_test: Switch each off and on again once; without a passed test no host may sleep.
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    with _wiring.wired(inventory), telling():
        require_known(hosts)
        label_run(*(f"host:{host}" for host in hosts))
        sleeping, kept = spare(tuple(dict.fromkeys(hosts)), reserve)
        act = test_wake if wake_test else put_to_sleep
        report = in_thread(lambda each: switch_each(each, act), sleeping).model_copy(update={"reserve": kept})
        publish_power(report)
        if wake_test:
            open_woken(report)
        return must_be_switched(report)
