"""Roll over hosts: evacuate → the operator's own work → reboot → health gate → return → the next."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from tasks import _wiring
from tasks.cancelling import cancellable, cancelled
from tasks.events import telling
from tasks.report import label_run
from tasks.rolling import Roll
from vmferry.errors import Held, LeftBehind
from vmferry.model.cancelling import OnCancel
from vmferry.model.convergence import PolicyName
from vmferry.model.operation import WayOut
from vmferry.model.options import CautionOptions, WindowOptions, limits_from
from vmferry.model.returning import Returning
from vmferry.model.roll import RollReport, RollRequest, WorkOptions


@flow(name="roll-hosts", flow_run_name="roll over hosts", validate_parameters=True)
def roll_hosts(
    hosts: list[str] | None = None,
    work: WorkOptions = WorkOptions(),  # noqa: B008 - frozen
    returning: Returning = Returning.AUTO,
    at_once: Annotated[int, Field(ge=1, le=64)] = 1,
    modes: dict[str, WayOut] | None = None,
    policy: PolicyName | None = None,
    max_parallel: Annotated[int, Field(ge=1, le=64)] = 4,
    window: WindowOptions = WindowOptions(),  # noqa: B008 - frozen
    caution: CautionOptions = CautionOptions(),  # noqa: B008 - frozen
    reason: str = "rolling maintenance",
    ticket: str = "",
    resume: bool = False,
    lift: list[str] | None = None,
    on_cancel: OnCancel | None = None,
    inventory: str | None = None,
) -> RollReport | State[Any]:
    """Work on hosts one after the other, each of them empty meanwhile; stop at the first one that is not well.

    Args:
        hosts: Hosts of the inventory, in this order.
        work: What is done to a host while it is empty, and whether it is rebooted.
        returning: Whether its VMs come home afterwards: never, ask (a person resumes the run first) or auto.
        at_once: So many hosts may be empty at the same time, where the others have room for all of their VMs.
        modes: VM → live, non-live, offline, stop-and-start or leave, where the choice is not to be left to vmferry.
        policy: What may be done to VMs whose move does not converge; their hosts' own when empty.
        max_parallel: Moves at once; the hosts' own limits hold besides.
        window: Until when moves may start, and what becomes of those that run then.
        caution: What stops the run; it holds for each host anew.
        reason: Why, for the cordons and the report.
        ticket: Number of the ticket, for the cordons and the report.
        resume: Go on with the last roll, which a host has stopped; all that was asked for then holds.
        lift: Ids of rules whose blocks only warn in this run; recorded in the report, impossible for final rules.
        on_cancel: What a cancel does to moves that run: finish or abort; VMFERRY_ON_CANCEL (finish) when empty.
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    asked: dict[str, Any] = {"hosts": hosts or (), "work": work, "returning": returning, "at_once": at_once}
    asked |= {"modes": modes or {}, "policy": policy, "max_parallel": max_parallel, "lift": lift or ()}
    asked |= {"reason": reason, "ticket": ticket}
    with _wiring.wired(inventory) as world, telling(), cancellable(on_cancel, inventory):
        label_run(*(f"host:{host}" for host in hosts or ()))
        limits = limits_from(window, caution, world.clock.now())
        roll = Roll.resumed(limits) if resume else Roll.begun(RollRequest(**asked, limits=limits))
        return _must_be_done(roll.run())


def _must_be_done(report: RollReport) -> RollReport | State[Any]:
    """Completed only when every host is done."""
    if report.is_done:
        return report
    if report.stopped.startswith("HELD"):
        raise Held(report.headline)
    state = cancelled(report.headline)
    if state is None:
        raise LeftBehind(report.headline)
    return state
