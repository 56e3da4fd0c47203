"""What the forecast says before a live move, and what the move then takes: sizes, dirty rates and links differ.

Each move has a lab, a guest and a journal of its own, so that nothing but the preflight's own reads is known of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from infra.lab.lab import Lab
from infra.lab.spec import DiskKind, GuestSpec
from tests.bench.figures import Spread
from tests.bench.lab_room import DESTS, SOURCE, fresh_lab
from tests.bench.registry import Options, Result, benchmark
from vmferry.adapters.world import open_world
from vmferry.inventory import load_inventory
from vmferry.model.convergence import PolicyName
from vmferry.model.forecast import Forecast
from vmferry.model.migration import MigrationOutcome, MigrationRequest, OutcomeKind
from vmferry.planning.single import plan_vm
from vmferry.ports import World
from vmferry.reporting.foretold import forecast_words
from vmferry.settings import read_settings
from vmferry.steps.forward import run_step
from vmferry.steps.names import StepName
from vmferry.steps.prepare import make_plan
from vmferry.steps.read import read_fleet
from vmferry.steps.read_dirty import read_ways
from vmferry.steps.recover import close, recover

MOST_ERROR = 0.15  # of the total time, median: what issue 4 asks for
_GENTLE, _THROTTLE, _SUSPEND = PolicyName.MINIMAL_DOWNTIME, PolicyName.AUTO_CONVERGE, PolicyName.SUSPEND_IF_NEEDED
_UNCAPPED = 2000.0  # MiB/s: more than two cores carry


@dataclass(frozen=True)
class Trial:
    """One guest and the link that it moves over."""

    memory_mib: int
    working_set_mib: int
    dirty_mib_s: float
    link_mib_s: float | None
    policy: PolicyName = _GENTLE


TRIALS = (
    Trial(64, 48, 0.4, 16),
    Trial(128, 96, 4, 16),
    Trial(256, 240, 2, 16),
    Trial(256, 200, 8, 32),
    Trial(512, 300, 4, 32),
    Trial(384, 320, 12, 48),
    Trial(64, 40, 30, 48),
    Trial(512, 400, 20, 64),
    Trial(512, 128, 40, 100),
    Trial(128, 112, 10, None),
    Trial(512, 440, 0.4, None),
    Trial(128, 64, 40, 32, _SUSPEND),
    Trial(192, 72, 20, 16, _SUSPEND),
    Trial(256, 160, 39, 24, _THROTTLE),
)


@dataclass(frozen=True)
class Found:
    """What was said and what came."""

    trial: Trial
    forecast: Forecast
    outcome: MigrationOutcome

    @property
    def error(self) -> float | None:
        """Share of the measured time by which the forecast was off; None where one of them is missing."""
        said, took = self.forecast.seconds, self.outcome.move_seconds
        return (said - took) / took if said is not None and took else None


@benchmark("forecast", "what a move was expected to take, beside what it took")
def run(options: Options, room: Path) -> Result:
    """Run each trial of the asked part once per round; the trials of all parts together are the benchmark."""
    which, of = options.part
    trials = TRIALS[which - 1 :: of]
    found: list[Found] = []
    for number in range(options.rounds):
        for trial in trials:
            one = _try(trial, room / f"{number}-{len(found)}")
            found.append(one)
            options.say(f"{len(found)}/{options.rounds * len(trials)}: {_line(one)}")
    errors = [abs(one.error) for one in found if one.error is not None]
    pauses = [
        abs(one.forecast.downtime_ms - one.outcome.downtime_ms)
        for one in found
        if one.forecast.downtime_ms is not None and one.outcome.downtime_ms is not None
    ]
    missed = [_line(one) for one in found if one.error is None]
    error = Spread.of(errors)
    return Result(
        tables=(_table(found), _summary(error, Spread.of(pauses))),
        notes=(
            "the dirty rate is QEMU's own sample, one page in 512: ± 20 % at 40 MiB/s; the link is what one ssh stream "
            "carried for a second",
            "calibrated with other guests; each move has a new journal, so that no earlier move tells the rate",
        ),
        data={
            "error": asdict(error),
            "downtime_error_ms": asdict(Spread.of(pauses)),
            "trials": [_figures(one) for one in found],
        },
        problems=(
            *(f"no forecast, or not moved: {line}" for line in missed),
            *((f"median error {error.median:.0%}, asked for less than {MOST_ERROR:.0%}",) if _is_off(error) else ()),
        ),
    )


def _is_off(error: Spread) -> bool:
    return not error.median < MOST_ERROR  # of none it is nan


def _try(trial: Trial, state: Path) -> Found:
    guest = GuestSpec(
        name="mover",
        host=SOURCE,
        memory_mib=trial.memory_mib,
        working_set_mib=trial.working_set_mib,
        dirty_mib_s=trial.dirty_mib_s,
        disk=DiskKind.SHARED,
        disk_mib=8,
        disk_data_mib=2,
    )
    state.mkdir()
    with fresh_lab([guest], _UNCAPPED) as lab:
        for host in lab.hosts.values():
            host.cap_link(trial.link_mib_s)
        return _move(trial, lab, state)


def _move(trial: Trial, lab: Lab, state: Path) -> Found:
    """Move as a flow does, without Prefect: read, judge, plan, all steps."""
    dest = DESTS[0]
    world = open_world(load_inventory(lab.inventory_path), read_settings(state_dir=state))
    try:
        request = MigrationRequest(vm="mover", source=SOURCE, dest=dest, policy=trial.policy)
        snapshot = read_fleet(world)
        facts = snapshot.facts(SOURCE)
        snapshot = read_ways(world, snapshot, SOURCE, [dest], facts.vms if facts else ())
        plan = make_plan(plan_vm(snapshot, request), request, snapshot)
        world.journal.open_run(plan)
        assert plan.forecast is not None
        return Found(trial, plan.forecast, _steps(plan.run, world))
    finally:
        world.close()


def _steps(run_id: str, world: World) -> MigrationOutcome:
    try:
        for step in StepName:
            run_step(run_id, step, world)
    except Exception as error:
        return recover(run_id, world, cause=str(error))
    return close(world.journal.find(run_id), world, OutcomeKind.MOVED)


def _line(one: Found) -> str:
    trial, took = one.trial, one.outcome.move_seconds
    error = f"{one.error:+.0%}" if one.error is not None else "-"
    measured = f"{took:.1f} s / {one.outcome.downtime_ms} ms" if took is not None else str(one.outcome.kind)
    return (
        f"{trial.memory_mib} MiB, {trial.dirty_mib_s:g} MiB/s to {trial.working_set_mib} MiB, "
        f"link {_link(trial)}, {trial.policy}: forecast {forecast_words(one.forecast)}, measured {measured}, {error} "
        f"({one.forecast.basis})"
    )


def _link(trial: Trial) -> str:
    return f"{trial.link_mib_s:g} MiB/s" if trial.link_mib_s is not None else "uncapped"


def _figures(one: Found) -> dict[str, object]:
    return {
        **asdict(one.trial),
        "forecast": one.forecast.model_dump(mode="json"),
        "kind": one.outcome.kind,
        "seconds": one.outcome.move_seconds,
        "downtime_ms": one.outcome.downtime_ms,
        "error": one.error,
    }


def _table(found: list[Found]) -> Table:
    head = ("memory", "written", "set", "link", "policy", "forecast", "measured", "error")
    table = Table(*head, title="total time / downtime")
    for one in found:
        took = one.outcome.move_seconds
        table.add_row(
            f"{one.trial.memory_mib} MiB",
            f"{one.trial.dirty_mib_s:g} MiB/s",
            f"{one.trial.working_set_mib} MiB",
            _link(one.trial),
            one.trial.policy,
            forecast_words(one.forecast),
            f"{took:.1f} s / {one.outcome.downtime_ms} ms" if took is not None else str(one.outcome.kind),
            f"{one.error:+.0%}" if one.error is not None else "-",
        )
    return table


def _summary(error: Spread, pause_ms: Spread) -> Table:
    table = Table("figure", "value", title="median (least–greatest)")
    table.add_row("error of the total time", error.show("%", digits=0, scale=100))
    table.add_row("error of the downtime", pause_ms.show("ms", digits=0))
    return table
