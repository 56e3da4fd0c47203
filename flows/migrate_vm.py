"""Move one VM: preflight → journaled steps → proof on both hosts; any failure is settled."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from tasks import _wiring
from tasks.cancelling import cancellable, cancelled
from tasks.events import telling
from tasks.judge import judge_move
from tasks.live import progress_artifacts
from tasks.one_vm import move_one_vm
from tasks.report import label_run, publish_outcome
from tasks.window import in_thread
from vmferry.errors import Held, LeftBehind
from vmferry.model.cancelling import OnCancel
from vmferry.model.convergence import PolicyName
from vmferry.model.findings import PreflightReport
from vmferry.model.migration import (
    DomainChanges,
    MigrationMode,
    MigrationOutcome,
    MigrationRequest,
    OutcomeKind,
)


@flow(name="migrate-vm", flow_run_name="migrate {vm} → {dest}", validate_parameters=True)
def migrate_vm(
    vm: str,
    dest: str,
    source: str | None = None,
    mode: MigrationMode | None = None,
    changes: DomainChanges = DomainChanges(),  # noqa: B008 - frozen
    xml: str | None = None,
    persistent_xml: str | None = None,
    bandwidth_mib_s: Annotated[int, Field(ge=1)] | None = None,
    policy: PolicyName | None = None,
    dry_run: bool = False,
    lift: list[str] | None = None,
    on_cancel: OnCancel | None = None,
    inventory: str | None = None,
) -> MigrationOutcome | PreflightReport | State[Any]:
    """Move one VM to another host and prove on both that it runs exactly once.

    Args:
        vm: Name or UUID of the VM.
        dest: Host of the inventory that receives it.
        source: Host where it is now; found out when empty.
        mode: live, non-live or offline (Table 9.1); chosen, with the reason told, when empty.
        changes: Adjustments of the destination's domain XML.
        xml: The destination's own domain XML (virsh migrate --xml).
        persistent_xml: The destination's own persistent XML (virsh migrate --persistent-xml).
        bandwidth_mib_s: Cap for this move in MiB/s.
        policy: What may be done to the VM when its move does not converge; the source host's own when empty.
        dry_run: Preflight only; nothing is touched.
        lift: Ids of rules whose blocks only warn in this run; recorded in the outcome, impossible for final rules.
        on_cancel: What a cancel does to the move when it runs: finish or abort; VMFERRY_ON_CANCEL (finish) when empty.
        inventory: Path of the inventory file; VMFERRY_INVENTORY when empty.
    """
    request = MigrationRequest(
        vm=vm,
        dest=dest,
        source=source,
        mode=mode,
        changes=changes,
        xml=xml,
        persistent_xml=persistent_xml,
        bandwidth_mib_s=bandwidth_mib_s,
        policy=policy,
        lift=tuple(lift or ()),
    )
    with _wiring.wired(inventory), telling(), cancellable(on_cancel, inventory):
        judged = judge_move(request)
        here = judged.source
        label_run(f"vm:{vm}", f"host:{here}", f"host:{dest}", name=f"migrate {vm}: {here} → {dest}")
        if dry_run:
            return judged.report()
        plan = judged.plan()
        with progress_artifacts(f"migrate {vm}"):
            outcome = in_thread(move_one_vm, plan)
        publish_outcome(outcome)
        return _must_have_moved(outcome)


def _must_have_moved(outcome: MigrationOutcome) -> MigrationOutcome | State[Any]:
    """A flow that returns data ends Completed: only a moved VM may; Cancelled one that stays because of that."""
    match outcome.kind:
        case OutcomeKind.MOVED:
            return outcome
        case OutcomeKind.ROLLED_BACK:
            message = f"vm {outcome.vm}: stays on {outcome.source}: {outcome.reason}"
            if (state := cancelled(message)) is None:
                raise LeftBehind(message, vm=outcome.vm)
            return state
        case OutcomeKind.HELD:
            raise Held(
                f"vm {outcome.vm}: HELD: {outcome.reason}; next: {'; '.join(outcome.next_commands)}", vm=outcome.vm
            )
