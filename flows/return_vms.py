"""Bring VMs home: prove homes → open the host → stage by stage: plan, move, read again → restore → report."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from tasks import _wiring
from tasks.asking import agreed
from tasks.cancelling import cancellable, cancelled
from tasks.events import telling
from tasks.report import label_run
from tasks.returning import return_home
from vmferry.errors import Held, LeftBehind
from vmferry.model.cancelling import OnCancel
from vmferry.model.convergence import PolicyName
from vmferry.model.options import CautionOptions, WindowOptions, limits_from
from vmferry.model.returning import Returning, ReturnReport, ReturnRequest


@flow(name="return-vms", flow_run_name="return VMs to {host}", validate_parameters=True)
def return_vms(
    host: str,
    vms: list[str] | None = None,
    returning: Returning = Returning.AUTO,
    ask_minutes: Annotated[float, Field(gt=0, le=10080)] = 60,
    policy: PolicyName | None = None,
    max_parallel: Annotated[int, Field(ge=1, le=64)] = 4,
    window: WindowOptions = WindowOptions(),  # noqa: B008 - frozen
    caution: CautionOptions = CautionOptions(),  # noqa: B008 - frozen
    reason: str = "return",
    dry_run: bool = False,
    lift: list[str] | None = None,
    on_cancel: OnCancel | None = None,
    inventory: str | None = None,
) -> ReturnReport | State[Any]:
    """Bring the VMs that evacuations took from a host back to it.

    A home counts as long as nobody but vmferry has moved the VM, and nobody has changed its definition. A home that is
    full of VMs which belong elsewhere is made free by a hop over a third host; what cannot return is told with the
    reason, and the others return.

    Args:
        host: The home, a host of the inventory.
        vms: Only these, by name or UUID; all that belong there when empty.
        returning: never: only tell who belongs there; ask: a person looks at the plan first; auto: return them.
        ask_minutes: Minutes that a paused run waits for the person; without an answer nothing moves.
        policy: What may be done to VMs whose move does not converge; their hosts' own when empty.
        max_parallel: Moves at once; the hosts' own limits hold besides.
        window: Until when moves may start, and what becomes of those that run then.
        caution: Canaries, a cap, and what stops the run.
        reason: Why, for the report.
        dry_run: Plan and check only; nothing is touched.
        lift: Ids of rules whose blocks only warn in this run; recorded in the report, impossible for final rules.
        on_cancel: What a cancel does to moves that run: finish or abort; VMFERRY_ON_CANCEL (finish) when empty.
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    asked: dict[str, Any] = {"host": host, "vms": vms or (), "policy": policy, "max_parallel": max_parallel}
    asked |= {"reason": reason, "lift": lift or ()}
    with _wiring.wired(inventory) as world, telling(), cancellable(on_cancel, inventory):
        label_run(f"host:{host}")
        limits = limits_from(window, caution, world.clock.now())
        request = ReturnRequest(**asked, limits=limits)
        if dry_run or returning is Returning.NEVER:
            return return_home(request, is_dry=True)
        if returning is Returning.ASK:
            agreed(return_home(request, is_dry=True), ask_minutes)
        return _must_be_home(return_home(request))


def _must_be_home(report: ReturnReport) -> ReturnReport | State[Any]:
    """A flow that returns data ends Completed: only one after which all that belong there are there may."""
    if not report.refused and not report.is_held:
        return report
    message = f"{report.headline}: " + "; ".join(f"{one.vm}: {one.why}" for one in report.refused)
    if report.is_held:
        raise Held(message, host=report.host)
    state = cancelled(message)
    if state is None:
        raise LeftBehind(message, host=report.host)
    return state
