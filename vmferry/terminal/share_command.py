"""`vmferry share`, `vmferry unshare`, `vmferry shares`: VM images on NFS for two hosts (reference 9.4)."""

from __future__ import annotations

from typing import Annotated

import typer

from vmferry.errors import LeftBehind
from vmferry.model.sharing import IMAGES, SHARED_IMAGES, NfsVersion, ShareOutcome, ShareState
from vmferry.terminal.exit_codes import ExitCode
from vmferry.terminal.options import DryRunOption, InventoryOption, JsonOption
from vmferry.terminal.session import Ended, Session, session


def share(
    ctx: typer.Context,
    server: Annotated[str, typer.Argument(metavar="SERVER", help="The host that provides the storage.")],
    source: Annotated[str, typer.Option("--from", metavar="HOST", help="Where the VMs are.")],
    to: Annotated[str, typer.Option(metavar="HOST", help="The other host that mounts it.")],
    vm: Annotated[
        list[str] | None, typer.Option(metavar="VM", help="Shut down; its image goes there. Repeat it.")
    ] = None,
    directory: Annotated[str, typer.Option(metavar="PATH", help="On the server.")] = SHARED_IMAGES,
    mount_at: Annotated[str, typer.Option(metavar="PATH", help="On both hosts.")] = IMAGES,
    nfs: Annotated[NfsVersion, typer.Option(help="3 is mounted without NFS locks; 4.2 always locks.")] = NfsVersion.V3,
    firewall_is_open: Annotated[
        bool, typer.Option("--firewall-is-open", help="You have opened the ports: its firewall is not firewalld.")
    ] = False,
    boot: Annotated[bool, typer.Option(help="Start the VMs on the source, and see that they run.")] = True,
    prove: Annotated[bool, typer.Option(help="Move one of them live to the other host.")] = True,
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Share a directory of one host over NFS as the image storage of two others, with the images of VMs.

    Packages, firewall, service, directory, copy, export, mounts, pools: each step is written down first, and whatever
    fails takes all of them back. A second run changes nothing.
    """
    with session(ctx, inventory, as_json) as current:
        current.require_hosts(server, ())
        ended = current.run_flow(
            "share_storage",
            server=server,
            source=source,
            dest=to,
            vms=vm or None,
            directory=directory,
            mount_at=mount_at,
            nfs=nfs,
            firewall_is_open=firewall_is_open,
            boot=boot,
            prove=prove,
            dry_run=dry_run,
        )
        _end(current, ended, is_dry_run=dry_run)


def unshare(
    ctx: typer.Context,
    place: Annotated[str, typer.Argument(metavar="SERVER:PATH", help="As `vmferry shares` lists it.")],
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a share: unmount it, bring the images to the hosts whose VMs use them, restore every file.

    Also finishes what a share that failed or was killed has left.
    """
    with session(ctx, inventory, as_json) as current:
        ended = current.run_flow("unshare_storage", place=place, dry_run=dry_run)
        _end(current, ended, is_dry_run=dry_run)


def shares(ctx: typer.Context, inventory: InventoryOption = None, as_json: JsonOption = False) -> None:
    """List what is shared, as this journal knows it."""
    with session(ctx, inventory, as_json) as current, current.share_world() as world:
        records = world.shares.shares()
        rows = [
            [one.plan.key, one.plan.request.mount_at, " ".join(one.plan.request.clients), one.state, one.reason]
            for one in records
        ]
        if rows:
            current.screen.table(["share", "mounted at", "hosts", "state", "why"], rows)
        else:
            current.screen.say("nothing is shared")
        current.end(ExitCode.DONE, {"shares": [one.model_dump(mode="json") for one in records]}, [])


def _end(current: Session, ended: Ended, *, is_dry_run: bool) -> None:
    """Show the commands of a dry run, what is so now, and what belongs into the inventory."""
    from vmferry.reporting.share_plan import plan_lines
    from vmferry.reporting.share_words import inventory_lines, share_headline

    outcome: ShareOutcome | None = ended.result
    if outcome is None:
        raise ended.error or LeftBehind("it ended without a result; look with: vmferry shares")
    if is_dry_run:
        for line in plan_lines(outcome.plan, undo=outcome.state is not ShareState.OPEN):
            current.screen.say(line)
    for note in outcome.notes:
        current.screen.say(f"note: {note}")
    current.screen.say(share_headline(outcome), style="bold")
    if outcome.state is ShareState.SHARED and outcome.changed:
        current.screen.say(f"in the inventory, for both hosts: storage: {inventory_lines(outcome)[0]}")
    current.end(ExitCode.DONE, {"share": outcome.model_dump(mode="json")}, [])
