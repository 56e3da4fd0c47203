"""What happens, as events for automations: stable names, and payloads of numbers, names and reasons.

The names and fields are a promise to other people's automations (docs/operator-guide.md lists them): fields may be
added, none may change its meaning. Nothing here holds XML, which may hold secrets.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from vmferry.model.base import Model
from vmferry.model.convergence import LiftCap, Order, SetDowntime, Suspend, Throttled
from vmferry.model.evacuation import EvacuationPlan, EvacuationReport, Move
from vmferry.model.migration import MigrationOutcome, MigrationPlan, OutcomeKind
from vmferry.model.purge import Fate, PurgeReport
from vmferry.progress import (
    ApprovalAsked,
    ApprovalEnded,
    EvacuationEnded,
    EvacuationStarted,
    Event,
    FilesPurged,
    HostRolled,
    MoveEnded,
    MoveHelped,
    MoveStarted,
    PlanMade,
    ReturnEnded,
    RollEnded,
    RunLeftAlone,
    RunTakenOver,
    StepEnded,
    StepStarted,
)
from vmferry.reporting.purge_words import purge_headline
from vmferry.reporting.words import next_commands, plan_headline, report_headline

_HELP = {SetDowntime: "downtime-raised", LiftCap: "cap-lifted", Suspend: "suspended", Throttled: "throttled"}
_LONGEST = 2000  # characters of one text: an event has a limit, a libvirt error has none


class Told(Model):
    """One event: what happened to which VM or host, when, and which hosts have to do with it (role → host)."""

    name: str
    subject: str  # `vm.<uuid>`, `host.<name>`, `run.<id>` or `fleet`
    title: str
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    hosts: dict[str, str] = Field(default_factory=dict)
    payload: dict[str, Any] = Field(default_factory=dict)


class Teller:
    """Turns what is published in this process into events; for one listener, which is called by one thread."""

    def __init__(self) -> None:
        self._plans: dict[str, MigrationPlan] = {}
        self._held: set[str] = set()  # runs that were held before: who was paged once knows
        self._begun: dict[tuple[str, str], datetime] = {}

    def tell(self, event: Event) -> Told | None:
        """Return the event to be told; None for samples, which are no events."""
        match event:
            case PlanMade(plan=plan):
                return _evacuation("planned", plan)
            case ApprovalAsked(plan=plan):
                return _approval("asked", plan, {"minutes": event.minutes, "people": event.people})
            case ApprovalEnded(plan=plan):
                return _approval(event.decision, plan, {"by": event.by, "comment": _short(event.comment)})
            case EvacuationStarted(plan=plan):
                return _evacuation("started", plan)
            case EvacuationEnded(report=report):
                return _evacuation_ended(report)
            case FilesPurged(report=purged):
                return _purged(purged)
            case ReturnEnded() | HostRolled() | RollEnded():
                return _operation(event)
            case _:
                return self._of_run(event)

    def _of_run(self, event: Event) -> Told | None:
        match event:
            case MoveStarted(plan=plan):
                self._plans[plan.run] = plan
                return self._of_vm("move.started", plan.run, plan.vm, _plan_payload(plan))
            case RunTakenOver(plan=plan):
                self._plans[plan.run] = plan
                self._held |= {plan.run} if event.was_held else set()
                payload = _plan_payload(plan) | {"was_held": event.was_held}
                return self._of_vm("run.taken-over", plan.run, plan.vm, payload)
            case RunLeftAlone():
                return self._of_vm("run.left-alone", event.run, event.vm, {"owner": event.owner})
            case StepStarted() | StepEnded():
                return self._step(event)
            case MoveHelped(order=order):
                return self._of_vm(f"help.{_help_name(order)}", event.run, event.vm, _order_payload(order))
            case MoveEnded(outcome=outcome):
                is_still_held = outcome.kind is OutcomeKind.HELD and outcome.run in self._held
                name = "still-held" if is_still_held else outcome.kind.replace(" ", "-")
                told = self._of_vm(f"move.{name}", outcome.run, outcome.vm, _outcome_payload(outcome))
                self._plans.pop(outcome.run, None)
                return told
        return None

    def _step(self, event: StepStarted | StepEnded) -> Told:
        key = (event.run, event.step)
        if isinstance(event, StepStarted):
            told = self._of_vm(f"step.{event.step}.started", event.run, event.vm, {"step": str(event.step)})
            self._begun[key] = told.at
            return told
        told = self._of_vm(f"step.{event.step}.ended", event.run, event.vm, {"step": str(event.step)})
        begun = self._begun.pop(key, None)
        seconds = round((told.at - begun).total_seconds(), 3) if begun else None
        return told.model_copy(update={"payload": told.payload | {"seconds": seconds}})

    def _of_vm(self, name: str, run: str, vm: str, payload: dict[str, Any]) -> Told:
        plan = self._plans.get(run)
        hosts = {"source": plan.source, "dest": plan.dest} if plan else {}
        subject = f"vm.{plan.uuid}" if plan else f"run.{run}"
        about = {"run": run, "vm": vm, **hosts, **({"policy": str(plan.policy)} if plan else {})}
        return Told(name=f"vmferry.{name}", subject=subject, title=vm, hosts=hosts, payload=about | payload)


def _plan_payload(plan: MigrationPlan) -> dict[str, Any]:
    return {
        "mode": str(plan.mode),
        "mode_reason": _short(plan.mode_reason),
        "transport": plan.transport.words(),
        "switch": str(plan.switch),
        "memory_mib": plan.memory_kib // 1024,
        "copied_files": len(plan.files),
        "mirrored_disks": len(plan.disks),
        "deadline_s": plan.deadline_s,
    }


def _outcome_payload(outcome: MigrationOutcome) -> dict[str, Any]:
    return {
        "source": outcome.source,
        "dest": outcome.dest,
        "mode": str(outcome.mode),
        "reason": _short(outcome.reason),
        "seconds": round(outcome.seconds, 3),
        "downtime_ms": outcome.downtime_ms,
        "bytes_sent": outcome.bytes_sent,
        "next_commands": list(outcome.next_commands),
        "notes": [_short(note) for note in outcome.notes],
    }


def _help_name(order: Order) -> str:
    """Return `suspended`, `refused`, …; an action that this table does not know goes by its class."""
    if order.refusal:
        return "refused"
    kind = type(order.action)
    return _HELP.get(kind) or "".join(f"-{c.lower()}" if c.isupper() else c for c in kind.__name__).lstrip("-")


def _order_payload(order: Order) -> dict[str, Any]:
    numbers = order.action.model_dump(mode="json")  # limit_ms of a downtime limit, percent of a throttle
    told = {"what": order.action.words(), "iteration": order.iteration, "reason": _short(order.reason)}
    return numbers | told | ({"refusal": _short(order.refusal)} if order.refusal else {})


def _evacuation(what: str, plan: EvacuationPlan) -> Told:
    payload = {
        "host": plan.host,
        "moves": len(plan.moves),
        "dests": sorted({move.dest for move in plan.moves}),
        "stranded": [stranded.vm for stranded in plan.stranded],
        "lifted": list(plan.lifted),
        "seconds": plan.seconds,
        "timetable": [_timed(move) for move in plan.moves],
        "headline": _short(plan_headline(plan)),
    }
    return _of_host(f"evacuation.{what}", plan.host, payload)


def _timed(move: Move) -> dict[str, Any]:
    """Return when a move is expected to start, from the start of the first one, and how long to take, if foretold."""
    forecast, slot = move.forecast, move.slot
    is_known = forecast is not None and forecast.all_seconds is not None
    return {
        "vm": move.vm,
        "dest": move.dest,
        "starts_s": slot.starts_s if slot is not None else None,
        "seconds": slot.seconds if slot is not None and is_known else None,
        "downtime_ms": forecast.downtime_ms if forecast is not None else None,
    }


def _evacuation_ended(report: EvacuationReport) -> Told:
    kinds = [str(outcome.kind) for outcome in report.outcomes]
    payload = {
        "host": report.host,
        "is_empty": report.is_empty,
        "moved": kinds.count("moved"),
        "rolled_back": kinds.count("rolled back"),
        "held": kinds.count("held"),
        "stranded": [stranded.vm for stranded in report.stranded],
        "has_stranded": "yes" if report.stranded else "no",
        "not_started": [_short(line) for line in report.not_started],
        "stopped": _short(report.stopped),
        "left": list(report.left),
        "seconds": round((report.ended_at - report.started_at).total_seconds(), 3),
        "headline": _short(report_headline(report)),
        "next_commands": list(next_commands(report)),
    }
    return _of_host("evacuation.ended", report.host, payload)


def _approval(what: str, plan: EvacuationPlan, more: dict[str, Any]) -> Told:
    payload = {"host": plan.host, "moves": len(plan.moves), "headline": _short(plan_headline(plan)), **more}
    return _of_host(f"approval.{what}", plan.host, payload)


def _operation(event: ReturnEnded | HostRolled | RollEnded) -> Told:
    match event:
        case ReturnEnded(report=report):
            refused = [{"vm": one.vm, "why": _short(one.why)} for one in report.refused]
            payload: dict[str, Any] = {"host": report.host, "home": list(report.home), "refused": refused}
            return _of_host("return.ended", report.host, payload | {"headline": _short(report.headline)})
        case HostRolled(roll=roll):
            payload = {"host": roll.host, "stage": str(roll.stage), "reason": _short(roll.reason)}
            return _of_host("roll.stopped" if roll.reason else "roll.step", roll.host, payload)
        case RollEnded(report=rolled):
            stages = {host.host: str(host.stage) for host in rolled.hosts}
            payload = {"is_done": rolled.is_done, "stages": stages, "headline": _short(rolled.headline)}
            return Told(name="vmferry.roll.ended", subject="fleet", title="fleet", payload=payload)


def _of_host(name: str, host: str, payload: dict[str, Any]) -> Told:
    return Told(name=f"vmferry.{name}", subject=f"host.{host}", title=host, hosts={"host": host}, payload=payload)


def _purged(report: PurgeReport) -> Told:
    fates = [file.fate for file in report.files]
    payload = {"headline": _short(purge_headline(report)), **{fate.name.lower(): fates.count(fate) for fate in Fate}}
    return Told(name="vmferry.purge.ended", subject="fleet", title="fleet", payload=payload)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
