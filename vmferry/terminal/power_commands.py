"""`vmferry power …`: let empty hosts sleep, wake them, test that they wake."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from vmferry.errors import LeftBehind, VmferryError
from vmferry.model.power import PowerReport, PowerState
from vmferry.ports.power import PowerWorld
from vmferry.terminal.exit_codes import ExitCode
from vmferry.terminal.options import InventoryOption, JsonOption
from vmferry.terminal.session import Ended, Session, session

app = typer.Typer(no_args_is_help=True, add_completion=False)
Hosts = Annotated[list[str], typer.Argument(metavar="HOST...", help="Hosts of the inventory.")]


@app.command()
def off(
    ctx: typer.Context,
    hosts: Hosts,
    reserve: Annotated[int, typer.Option(min=0, help="So many of them, the first ones, stay on.")] = 0,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let hosts switch themselves off: closed, without any VM or open run, and woken by vmferry once before."""
    with session(ctx, inventory, as_json) as current:
        _end(current, current.run_flow("sleep_hosts", hosts=hosts, reserve=reserve))


@app.command()
def test(ctx: typer.Context, hosts: Hosts, inventory: InventoryOption = None, as_json: JsonOption = False) -> None:
    """Switch empty, closed hosts off and on again once: from then on they may sleep."""
    with session(ctx, inventory, as_json) as current:
        _end(current, current.run_flow("sleep_hosts", hosts=hosts, wake_test=True))


@app.command()
def on(
    ctx: typer.Context,
    hosts: Annotated[list[str] | None, typer.Argument(metavar="[HOST]...", help="All that sleep.")] = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wake hosts, wait until they are fit for VMs, and open them for arrivals."""
    with session(ctx, inventory, as_json) as current:
        _end(current, current.run_flow("wake_hosts", hosts=hosts or None))


@app.command()
def status(ctx: typer.Context, inventory: InventoryOption = None, as_json: JsonOption = False) -> None:
    """Show what each host's controller says, and who sleeps since when; touches nothing."""
    with session(ctx, inventory, as_json) as current, current.world() as opened:
        world = cast(PowerWorld, opened)
        known = {record.host: record for record in world.sleep.sleepers()}
        rows, problems = [], []
        for entry in world.inventory.hosts:
            said, watts = "not switched by vmferry", ""
            if entry.power is not None:
                try:
                    reading = world.power(entry.name).read()
                    said = "not told" if reading.state is PowerState.UNKNOWN else str(reading.state)
                    watts = f"{reading.watts:.0f} W" if reading.watts is not None else ""
                except VmferryError as error:
                    said = "no answer"
                    problems.append(str(error))
            record = known.get(entry.name)
            state = f"{record.state} since {record.since:%Y-%m-%d %H:%M} UTC" if record else ""
            tested = f"{record.tested_at:%Y-%m-%d}" if record and record.tested_at else "never"
            rows.append([entry.name, said, watts, state, tested])
        current.screen.table(["host", "controller", "draws", "vmferry", "wake test"], rows)
        current.end(ExitCode.REFUSED if problems else ExitCode.DONE, {"power": rows}, problems)


def _end(current: Session, ended: Ended) -> None:
    from vmferry.reporting.power_words import outcome_words, power_headline

    report: PowerReport | None = ended.result
    if report is None:
        raise ended.error or LeftBehind("it ended without a report; look with: vmferry power status")
    for outcome in report.outcomes:
        current.screen.say(outcome_words(outcome))
    for host in report.reserve:
        current.screen.say(f"{host}: stays on, as the reserve")
    current.screen.say(power_headline(report), style="bold")
    current.end(ExitCode.DONE, {"power": report.model_dump(mode="json")}, [])
