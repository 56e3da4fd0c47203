"""`vmferry usage [HOST|VM]`: what hosts and VMs used, and what is expected of them; without Prefect."""

from __future__ import annotations

from typing import Annotated

import typer

from vmferry.terminal.options import InventoryOption, JsonOption
from vmferry.terminal.session import session


def usage(
    ctx: typer.Context,
    what: Annotated[str | None, typer.Argument(metavar="HOST|VM", help="Only this; a VM by name or UUID.")] = None,
    hours: Annotated[float, typer.Option(min=0.1, max=24 * 366, help="Look back so far.")] = 24,
    sample: Annotated[bool, typer.Option("--sample", help="Read the hosts now, and keep it.")] = False,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what hosts and VMs used: CPU, memory, disk, network; and the peak that is expected.

    A host: it and its VMs. A VM: each of its samples. Nothing on the hosts is changed.
    """
    with session(ctx, inventory, as_json) as current:
        current.read_inventory()
        from vmferry.terminal.usage_run import run_usage

        with current.world() as world:
            run_usage(current, world, what, hours, is_sampling=sample)
