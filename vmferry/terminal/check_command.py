"""`vmferry check [HOST|VM]`: preflight without a move, read only and without Prefect."""

from __future__ import annotations

from typing import Annotated

import typer

from vmferry.errors import InvalidInput
from vmferry.terminal.options import InventoryOption, JsonOption, LiftOption
from vmferry.terminal.session import session


def check(
    ctx: typer.Context,
    what: Annotated[str | None, typer.Argument(metavar="HOST|VM", help="Only this; a VM by name or UUID.")] = None,
    to: Annotated[list[str] | None, typer.Option(metavar="HOST", help="Only to these; repeat it.")] = None,
    lift: LiftOption = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who could go where? Nothing is moved.

    A VM: every host with all findings. A host: can it be emptied, all its VMs planned together? Without either:
    the whole fleet, with what the loss of each host would cost, what runs twice, and files that no VM uses.
    """
    with session(ctx, inventory, as_json) as current:
        dests, lifted = tuple(to or ()), tuple(lift or ())
        is_host = what in current.read_inventory().names()
        current.require_hosts(what if is_host else None, dests, lifted)
        if what is None and dests:
            raise InvalidInput("--to needs a host or a VM: vmferry check HOST|VM --to HOST")
        from vmferry.terminal.check_run import Asked, run_check

        with current.world() as world:
            run_check(current, world, Asked(what, dests, lifted))
