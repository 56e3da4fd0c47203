"""People agree to a plan before anything is touched: in the form of a paused flow run, or at their terminal.

The host is closed only after that. Then the fleet is read again, and the plan must hold as it was approved.
"""

from __future__ import annotations

import getpass
import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from typing import Any, Literal

import httpx
from prefect import get_client, runtime
from prefect.exceptions import FlowPauseTimeout, PrefectException
from prefect.input import RunInput
from pydantic import Field, ValidationError, create_model

from tasks._wiring import world
from tasks.asking import ask_line, is_at_terminal
from tasks.evacuation import cordoned
from tasks.pausing import pause
from tasks.placement import plan_on, with_ways
from tasks.preflight import read_fleet
from tasks.report import publish_plan
from vmferry.errors import NotAgreed, PreflightBlocked
from vmferry.model.approval import Approval, ApprovalRule
from vmferry.model.evacuation import EvacuationPlan, EvacuationRequest, Move
from vmferry.model.host import FleetSnapshot
from vmferry.model.options import ApprovalOptions
from vmferry.planning.approval import approved, people_needed, renew
from vmferry.planning.ways_out import with_stops
from vmferry.progress import ApprovalAsked, ApprovalEnded, publish
from vmferry.reporting.risks import risks
from vmferry.reporting.words import plan_headline

logger = logging.getLogger("vmferry.approval")

_ROUNDS = 3  # a fleet that changes under every approval is not one to move VMs in
_RISKS_SHOWN = 12
_LATE_S = 120  # Prefect's own end of waiting, after ours
_NOBODY = "nobody (time is over)"


@contextmanager
def permitted(
    snapshot: FleetSnapshot, request: EvacuationRequest, keep: Sequence[Move], approval: ApprovalOptions
) -> Iterator[EvacuationPlan]:
    """Close the host for the length of the block, and give the plan that may be carried out in it.

    With an approval people are asked first, and until they have agreed nothing is touched. Raises NotAgreed.
    """
    if approval.who is ApprovalRule.NONE:
        with _closed(request) as has_more:
            yield plan_on(read_fleet() if has_more else snapshot, request, keep)
        return
    changed: tuple[str, ...] = ()
    for _ in range(_ROUNDS):
        agreed = _agreed(plan_on(snapshot, request, keep), approval, changed)
        with _closed(request):
            snapshot = read_fleet()
            plan, changed = renew(agreed, with_stops(with_ways(snapshot, request), request))
            if not changed:
                yield plan
                return
        logger.warning("host %s: the approved plan does not hold any more: %s", request.host, "; ".join(changed))
    raise PreflightBlocked(
        f"host {request.host}: the fleet changed {_ROUNDS} times while the plan waited for approval, nothing was "
        f"moved: {'; '.join(changed)}; repeat this when nobody else works on these hosts",
        problems=changed,
        host=request.host,
    )


def _closed(request: EvacuationRequest) -> AbstractContextManager[bool]:
    return cordoned(request.host, request.reason, request.ticket, request.incoming)


def _agreed(plan: EvacuationPlan, approval: ApprovalOptions, changed: tuple[str, ...]) -> EvacuationPlan:
    """Ask as many people as the rule wants; return the plan with what they skipped left out."""
    people, minutes = people_needed(plan, approval.who), approval.minutes
    if people:
        publish(ApprovalAsked(plan=plan, minutes=minutes, people=people))
    until_s = time.monotonic() + 60 * minutes
    for _ in range(people):
        answer = _ask(plan, until_s, minutes, changed)
        by, comment = str(answer.approved_by).strip(), str(answer.comment).strip()
        if by.casefold() in (approval.by.casefold() for approval in plan.approvals):
            publish(ApprovalEnded(plan=plan, decision="refused", by=by, comment=comment))
            raise NotAgreed(
                f"host {plan.host}: {by} answered for both people, nothing was touched; the second one must be another",
                host=plan.host,
            )
        if answer.decision == "refuse":
            publish(ApprovalEnded(plan=plan, decision="refused", by=by, comment=comment))
            why = f": {comment}" if comment else ""
            raise NotAgreed(f"host {plan.host}: {by} refused the plan{why}; nothing was touched", host=plan.host)
        skipped = tuple(getattr(answer, "skip", ()))
        plan = approved(plan, Approval(by=by, at=world().clock.now(), skipped=skipped, comment=comment))
        publish(ApprovalEnded(plan=plan, decision="approved", by=by, comment=comment))
    if people:
        publish_plan(plan)
    return plan


def _ask(plan: EvacuationPlan, until_s: float, minutes: float, changed: tuple[str, ...]) -> Any:
    """Pause the flow run until somebody fills in the form; the process stays, so that nothing is forgotten.

    A person who has typed the command is asked there.
    """
    question = _question(plan, minutes, changed)
    answer = _typed(plan, question, until_s) if is_at_terminal() else _filled_in(plan, question, until_s)
    if answer is not None and answer.approved_by != _NOBODY:
        return answer
    publish(ApprovalEnded(plan=plan, decision="timed-out"))
    who = "no second person" if plan.approvals else "nobody"
    raise NotAgreed(
        f"host {plan.host}: {who} answered within {minutes:g} min, nothing was touched; start the run again, or give "
        "the approval more minutes",
        host=plan.host,
    )


def _typed(plan: EvacuationPlan, question: str, until_s: float) -> Any:
    """Ask for the form's fields at the terminal, again until they are right; None when the time is over."""
    form = approval_form(plan)
    print(question, file=sys.stderr)
    for move in sorted(plan.moves, key=lambda move: move.order):
        print(f"  {move.vm}: {move.source} → {move.dest} {move.mode} ({move.dest_reason})", file=sys.stderr)
    while True:
        given: dict[str, Any] = {}
        for name, field in form.model_fields.items():
            line = ask_line(f"{field.title} ({field.description}) ", until_s - time.monotonic())
            if line is None:
                return None
            given[name] = line.replace(",", " ").split() if name == "skip" else line.strip()
            if given.get("decision") == "refuse":
                return form.model_construct(decision="refuse", approved_by=getpass.getuser(), comment="")
        try:
            return form.model_validate(given)
        except ValidationError as error:
            for wrong in error.errors():
                print(f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}", file=sys.stderr)


def _filled_in(plan: EvacuationPlan, question: str, until_s: float) -> Any:
    """Return what was filled in in the form; None when the time is over."""
    form = approval_form(plan).with_initial_data(description=question)
    left_s = max(1.0, until_s - time.monotonic())
    try:
        with _answered_after(left_s):
            return pause(form, int(left_s) + _LATE_S)
    except FlowPauseTimeout:
        return None


@contextmanager
def _answered_after(seconds: float) -> Iterator[None]:
    """Fill in the form ourselves when the time is over.

    When Prefect's own time is over the run can only fail with Prefect's words (3.8.8).
    """
    run = runtime.flow_run.id

    def answer() -> None:
        refusal = {"decision": "refuse", "approved_by": _NOBODY}
        try:
            with get_client(sync_client=True) as client:
                client.resume_flow_run(run, run_input=refusal)
        except (PrefectException, httpx.HTTPError) as error:
            logger.warning("the form could not be closed, Prefect will: %s", error)

    timer = threading.Timer(seconds, copy_context().run, args=(answer,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def approval_form(plan: EvacuationPlan) -> type[RunInput]:
    """Return the form: the decision, who decides, and for the first person which VMs stay."""
    before = [approval.by.casefold() for approval in plan.approvals]
    other: dict[str, Any] = {"not": {"enum": [approval.by for approval in plan.approvals]}} if before else {}
    fields: dict[str, Any] = {
        "decision": (
            Literal["approve", "refuse"],
            Field(title="Decision", description="approve: the moves begin. refuse: nothing is touched."),
        ),
        "approved_by": (
            str,
            Field(
                title="Your name",
                description="Kept in the plan and the report."
                + (f" Another person than {', '.join(a.by for a in plan.approvals)}." if before else ""),
                min_length=2,
                max_length=80,
                pattern=r"\S.*\S",
                json_schema_extra=other,
            ),
        ),
    }
    if not before:
        names = tuple(move.vm for move in plan.moves)
        fields["skip"] = (
            list[Literal[names]],  # type: ignore[valid-type]
            Field(
                default=[],
                title="VMs to skip",
                description="These stay where they are.",
                json_schema_extra={"uniqueItems": True},
            ),
        )
    fields["comment"] = (str, Field(default="", title="Comment", description="Ticket, reason.", max_length=500))
    for position, (_, field) in enumerate(fields.values()):
        field.json_schema_extra = {**(field.json_schema_extra or {}), "position": position}
    return create_model("Approval", __base__=RunInput, **fields)


def _question(plan: EvacuationPlan, minutes: float, changed: tuple[str, ...]) -> str:
    """Return the text above the form: what will happen, and what may go wrong."""
    lines = [f"**{plan_headline(plan)}**", ""]
    if plan.approvals:
        lines += [f"Approved by {approval.words()}; a second person must agree." for approval in plan.approvals]
    if changed:
        lines += ["The fleet changed after the plan was approved, so this is a new one:", ""]
        lines += [f"- {problem}" for problem in changed[:_RISKS_SHOWN]] + [""]
    found = risks(plan)
    lines += [("1 risk:" if len(found) == 1 else f"{len(found)} risks:") if found else "No risks were found.", ""]
    lines += [f"- {line}" for line in found[:_RISKS_SHOWN]]
    if len(found) > _RISKS_SHOWN:
        lines.append(f"- and {len(found) - _RISKS_SHOWN} more: see the artifact of the plan")
    lines += [
        "",
        f"Who goes where and why: Artifacts of this run. Without an answer within {minutes:g} min no VM moves.",
    ]
    return "\n".join(lines)
