"""The morning's wake-up: switch on, wait for the health gate, open for arrivals; one that stays down is told."""

from __future__ import annotations

from prefect import flow

from tasks import _wiring
from tasks.events import telling
from tasks.power import (
    must_be_switched,
    open_woken,
    publish_power,
    read_sleepers,
    require_known,
    switch_each,
    wake_up,
)
from tasks.report import label_run
from tasks.window import in_thread
from vmferry.model.power import PowerReport


@flow(name="wake-hosts", flow_run_name="wake hosts", validate_parameters=True)
def wake_hosts(hosts: list[str] | None = None, inventory: str | None = None) -> PowerReport:
    """Wake hosts and open those that come back whole; their VMs return by return-vms.

    Args:
        hosts: Hosts of the inventory; all that vmferry has let sleep when empty.
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    with _wiring.wired(inventory), telling():
        wanted = tuple(dict.fromkeys(hosts or read_sleepers()))
        require_known(wanted)
        label_run(*(f"host:{host}" for host in wanted))
        report = in_thread(lambda each: switch_each(each, wake_up), wanted)
        open_woken(report)
        publish_power(report)
        return must_be_switched(report)
