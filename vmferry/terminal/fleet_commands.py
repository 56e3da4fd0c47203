"""Switches of hosts and of the whole fleet: `vmferry cordon`, `uncordon`, `freeze`, `unfreeze`."""

from __future__ import annotations

from typing import Annotated

import typer

from vmferry.terminal.exit_codes import ExitCode
from vmferry.terminal.options import InventoryOption, JsonOption
from vmferry.terminal.session import session

HostArgument = Annotated[str, typer.Argument(metavar="HOST", help="A host of the inventory.")]
TicketOption = Annotated[str, typer.Option(metavar="TEXT", help="Number of the ticket; kept with the reason.")]


def cordon(
    ctx: typer.Context,
    host: HostArgument,
    reason: Annotated[str, typer.Option(help="Shown to whoever meets the cordon.")] = "by hand",
    ticket: TicketOption = "",
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a host for arrivals until it is uncordoned."""
    with session(ctx, inventory, as_json) as current:
        current.require_hosts(host, ())
        with current.world() as world:
            from vmferry.steps.host_marks import close_host

            world.journal.cordon(host, reason, ticket)
            close_host(host, reason, world, ticket)
            kept = next((c for c in world.journal.cordons() if c.host == host), None)
        words = kept.words() if kept is not None else reason
        current.screen.say(f"{host} is cordoned ({words}): no VM moves to it until: vmferry uncordon {host}")
        content = kept.model_dump(mode="json") if kept is not None else {"host": host, "reason": reason}
        current.end(ExitCode.DONE, {**content, "is_cordoned": True})


def uncordon(
    ctx: typer.Context, host: HostArgument, inventory: InventoryOption = None, as_json: JsonOption = False
) -> None:
    """Open a host for arrivals again."""
    with session(ctx, inventory, as_json) as current:
        current.require_hosts(host, ())
        with current.world() as world:
            from vmferry.steps.host_marks import open_host

            was_cordoned = world.journal.uncordon(host)
            open_host(host, world)
        current.screen.say(f"{host} is open for arrivals" + ("" if was_cordoned else " (it was not cordoned)"))
        current.end(ExitCode.DONE, {"host": host, "is_cordoned": False, "was_cordoned": was_cordoned})


def freeze(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option(help="Shown to whoever wants to move a VM.")],
    ticket: TicketOption = "",
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let no move start in the whole fleet, by any vmferry, until `vmferry unfreeze`; running moves end."""
    with session(ctx, inventory, as_json) as current:
        with current.world() as world:
            from vmferry.steps.freeze import freeze_fleet

            found, problems = freeze_fleet(world, reason, ticket)
        current.screen.say(found.words(), style="bold")
        unaware = [f"does not know it, only this journal does: {problem}" for problem in problems]
        code = ExitCode.LEFT_BEHIND if problems else ExitCode.DONE
        current.end(code, {"is_frozen": True, **found.model_dump(mode="json")}, unaware)


def unfreeze(ctx: typer.Context, inventory: InventoryOption = None, as_json: JsonOption = False) -> None:
    """Let moves start again."""
    with session(ctx, inventory, as_json) as current:
        with current.world() as world:
            from vmferry.steps.freeze import thaw_fleet

            was_frozen, problems = thaw_fleet(world)
        current.screen.say("moves may start again" if was_frozen else "the fleet was not frozen")
        still = [f"is perhaps still frozen, run this again when it answers: {problem}" for problem in problems]
        code = ExitCode.LEFT_BEHIND if problems else ExitCode.DONE
        current.end(code, {"is_frozen": False, "was_frozen": was_frozen}, still)
