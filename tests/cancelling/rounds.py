"""One round: an evacuation is cancelled at a random moment, recovered, repeated; all guests are watched meanwhile."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from tests.cancelling.yard import HOSTS, RUNNING, Yard, wait_until
from vmferry.model.cancelling import OnCancel
from vmferry.steps.names import StepName

END_S = 150.0


class Way(StrEnum):
    """How it is cancelled."""

    SIGINT = "SIGINT"
    SIGTERM = "SIGTERM"
    API = "API"  # Prefect's, of a run that a worker has started


USUAL = (Way.SIGINT, Way.SIGTERM, Way.API, Way.SIGINT, Way.SIGTERM)


class Moment(StrEnum):
    """When: a while after a run of a VM has begun this step, or while nothing moves yet."""

    READING = "reading"
    RESERVE = StepName.RESERVE.value
    STORAGE = StepName.STORAGE.value
    DEFINITION = StepName.DEFINITION.value
    MOVE = StepName.MOVE.value
    VERIFY = StepName.VERIFY.value
    FINISH = StepName.FINISH.value


@dataclass(frozen=True)
class Plan:
    """What happens in a round; drawn from a seed."""

    way: Way
    on_cancel: OnCancel
    moment: Moment
    which: int  # the n-th run to reach the moment
    delay_s: float
    second_after_s: float | None  # a second signal, so long after the first
    parallel: int


@dataclass
class Round:
    """What happened."""

    plan: Plan
    at: tuple[str, ...] = ()  # where each run stood when the signal came
    end: str = ""
    outcomes: dict[str, int] = field(default_factory=dict)
    open_after: int = 0
    seconds: float = 0.0
    longest_gap_s: float = 0.0
    problems: list[str] = field(default_factory=list)


def draw(count: int, seed: int, ways: tuple[Way, ...] = USUAL) -> list[Plan]:
    """Return plans: ways, policies and moments in turn, so that all of them occur; the rest at random."""
    dice = random.Random(seed)
    # Memory flows for longest, so that most moments of an evacuation are inside the move.
    moments = [*Moment, Moment.MOVE, Moment.MOVE, Moment.MOVE, Moment.MOVE]
    dice.shuffle(moments)
    plans = []
    for number in range(count):
        moment = moments[number % len(moments)]
        plans.append(
            Plan(
                way=ways[number % len(ways)],
                on_cancel=tuple(OnCancel)[number // len(ways) % 2],
                moment=moment,
                which=dice.randint(1, 3),
                delay_s=dice.uniform(0, {Moment.MOVE: 2.5, Moment.READING: 3.0}.get(moment, 0.2)),
                second_after_s=dice.uniform(0.02, 1.5) if dice.random() < 0.5 else None,
                parallel=dice.randint(1, 3),
            )
        )
    return plans


def sail(yard: Yard, plan: Plan) -> Round:
    """Run one round; the guests are all on one host before and after it."""
    done, began = Round(plan), time.monotonic()
    source = next(host for host in HOSTS if "locked" in yard.lab.hosts[host].list_domains())
    dest = HOSTS[1 - HOSTS.index(source)]
    yard.refresh_paused(source)
    with ExitStack() as stack:
        watches = {guest: stack.enter_context(yard.lab.watch(guest, interval_s=0.02)) for guest in RUNNING}
        known = yard.known()
        if plan.way is Way.API:
            _cancel_by_api(yard, plan, source, dest, done)
        else:
            _cancel_by_signal(yard, plan, source, dest, done)
        for record in yard.new_runs(known):
            word = str(record.outcome or record.state)
            done.outcomes[word] = done.outcomes.get(word, 0) + 1
        done.open_after = len(yard.journal.unsettled())
        done.problems += [f"before recovery: {text}" for text in yard.problems({})]
        done.problems += yard.settle()
        done.problems += yard.empty(source, dest)
        time.sleep(0.5)
    done.problems += yard.problems(watches)
    done.longest_gap_s = max(watch.longest_gap_s for watch in watches.values())
    done.seconds = time.monotonic() - began
    return done


def _cancel_by_signal(yard: Yard, plan: Plan, source: str, dest: str, done: Round) -> None:
    known = yard.known()
    process = yard.evacuate(source, dest, "--parallel", str(plan.parallel), "--on-cancel", plan.on_cancel.value)
    try:
        _await_moment(yard, plan, known, lambda: process.poll() is not None)
        done.at = _stand(yard, known)
        number = signal.SIGINT if plan.way is Way.SIGINT else signal.SIGTERM
        process.send_signal(number)
        if plan.second_after_s is not None:
            time.sleep(plan.second_after_s)
            process.send_signal(number)
        code = process.wait(END_S)
    except AssertionError as error:
        code = -signal.SIGKILL
        done.problems.append(str(error))
    done.end = f"exit {code}"
    if code not in (0, 4, 130):
        done.problems.append(f"ended with {code}: {process.output()[-1500:]}")


def _cancel_by_api(yard: Yard, plan: Plan, source: str, dest: str, done: Round) -> None:
    known = yard.known()
    run = yard.deploy_run(source, dest, plan.on_cancel, plan.parallel)
    _await_moment(yard, plan, known, lambda: yard.is_final(run))
    done.at = _stand(yard, known)
    if not yard.is_final(run):
        yard.cancel(run)
    wait_until(lambda: yard.is_final(run), "the flow run is over", END_S)
    done.end = _state_name(yard, run)
    if done.end not in ("Cancelled", "Completed"):
        done.problems.append(f"Prefect says {done.end}: {yard.server.flow_run(run).state}")


def _state_name(yard: Yard, run: UUID) -> str:
    return str(yard.server.flow_run(run).state_name)


def _await_moment(yard: Yard, plan: Plan, known: set[str], is_over: Callable[[], bool]) -> None:
    """Return when the moment has come; at the end of the evacuation when it does not come."""
    if plan.moment is Moment.READING:
        time.sleep(2.0)

    def has_come() -> bool:
        if plan.moment is Moment.READING:
            return True
        stands = [{row.step for row in yard.journal.rows(record.run)} for record in yard.new_runs(known)]
        return sum(plan.moment.value in steps for steps in stands) >= plan.which or is_over()

    wait_until(has_come, f"a run begins {plan.moment}", END_S)
    time.sleep(plan.delay_s)


def _stand(yard: Yard, known: set[str]) -> tuple[str, ...]:
    return tuple(sorted(f"{r.plan.vm} {r.outcome or yard.step_of(r.run)}" for r in yard.new_runs(known)))
