"""`vmferry inventory …`."""

from __future__ import annotations

from typing import Annotated

import typer

from vmferry.inventory import check_inventory, inventory_notes
from vmferry.model.findings import Severity
from vmferry.model.host import FleetSnapshot
from vmferry.terminal.exit_codes import ExitCode
from vmferry.terminal.options import InventoryOption, JsonOption
from vmferry.terminal.session import Session, session
from vmferry.terminal.show import finding_line

app = typer.Typer(no_args_is_help=True)


@app.callback()
def inventory_commands() -> None:
    """Check the inventory file, and the hosts against it."""


@app.command()
def check(
    ctx: typer.Context,
    file_only: Annotated[bool, typer.Option("--file-only", help="Check the file; ask no host.")] = False,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the file, then read every host and report what does not match.

    An empty marker file is made for a moment in each directory that is listed as shared.
    """
    with session(ctx, inventory, as_json) as current:
        loaded = current.read_inventory()
        notes = inventory_notes(loaded)
        for note in notes:
            current.screen.say(f"note: {note}")
        for rule, severity in loaded.rules.items():
            current.screen.say(f"rule {rule}: {severity}, set by `rules` of the inventory")
        if file_only:
            current.screen.say(f"{current.inventory_path}: {len(loaded.hosts)} hosts, the file is right")
            content = {"notes": list(notes), "rules": dict(loaded.rules), "hosts": list(loaded.names())}
            current.end(ExitCode.DONE, content)
        with current.world() as world:
            from vmferry.steps.read import read_all_pairs, read_fleet

            snapshot = read_all_pairs(world, read_fleet(world), vms={})
        _report(current, snapshot, notes)


def _report(current: Session, snapshot: FleetSnapshot, notes: tuple[str, ...]) -> None:
    found = check_inventory(snapshot)
    blockers: list[str] = []
    for host, findings in found.items():
        if not findings:
            current.screen.say(f"host {host}: as the inventory says", style="green")
        for finding in findings:
            line = f"host {host}: {finding_line(finding)}"
            if finding.severity is Severity.BLOCK:
                blockers.append(line)
            else:
                current.screen.say(line, style="yellow")
    content = {
        "notes": list(notes),
        "rules": dict(snapshot.inventory.rules),
        "hosts": {host: [f.model_dump(mode="json") for f in findings] for host, findings in found.items()},
    }
    current.end(ExitCode.REFUSED if blockers else ExitCode.DONE, content, blockers)
