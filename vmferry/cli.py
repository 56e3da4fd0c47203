"""`vmferry …`: a thin door to the same flows that Prefect runs, and to what needs no Prefect."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

import vmferry
from vmferry.errors import InvalidInput
from vmferry.model.convergence import PolicyName
from vmferry.model.migration import MigrationMode
from vmferry.terminal import exit_codes, show
from vmferry.terminal.check_command import check
from vmferry.terminal.deploy_command import deploy
from vmferry.terminal.endings import end_migration, end_recovery
from vmferry.terminal.evacuate_command import evacuate
from vmferry.terminal.exit_codes import ExitCode
from vmferry.terminal.fleet_commands import cordon, freeze, uncordon, unfreeze
from vmferry.terminal.inspect_command import inspect
from vmferry.terminal.inventory_commands import app as inventory_app
from vmferry.terminal.optimize_commands import balance, consolidate
from vmferry.terminal.options import (
    DryRunOption,
    FileOption,
    InventoryOption,
    JsonOption,
    LiftOption,
    OnCancelOption,
    PairsOption,
    TextOption,
    parse_changes,
)
from vmferry.terminal.plan_commands import app as plan_app
from vmferry.terminal.power_commands import app as power_app
from vmferry.terminal.prefect_start import put_checkout_first
from vmferry.terminal.purge_command import purge
from vmferry.terminal.report_command import report
from vmferry.terminal.return_command import return_
from vmferry.terminal.roll_command import roll
from vmferry.terminal.session import session
from vmferry.terminal.share_command import share, shares, unshare
from vmferry.terminal.usage_command import usage

app = typer.Typer(
    name="vmferry",
    help="Move virtual machines between plain KVM/libvirt hosts.",
    epilog=exit_codes.HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(plan_app, name="plan", help="Plan without moving anything; check and compare saved plans.")
app.add_typer(power_app, name="power", help="Let empty hosts sleep, and wake them.")
app.add_typer(inventory_app, name="inventory", help="Check the inventory file, and the hosts against it.")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vmferry {vmferry.__version__}")
        raise typer.Exit


@app.callback()
def global_options(
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Move virtual machines between plain KVM/libvirt hosts.

    --inventory and --json may stand before or after the command.
    """


app.command()(evacuate)


@app.command()
def migrate(
    ctx: typer.Context,
    vm: Annotated[str, typer.Argument(metavar="VM", help="Name or UUID.")],
    to: Annotated[str, typer.Option(metavar="HOST", help="The destination.")],
    source: Annotated[str | None, typer.Option("--from", metavar="HOST", help="Where it is.")] = None,
    mode: Annotated[MigrationMode | None, typer.Option(help="Else chosen, with the reason.")] = None,
    xml: FileOption = None,
    persistent_xml: FileOption = None,
    disk: PairsOption = None,
    bridge: PairsOption = None,
    network: PairsOption = None,
    title: TextOption = None,
    description: TextOption = None,
    bandwidth: Annotated[int | None, typer.Option(metavar="MIB_S", min=1, help="Cap, MiB/s.")] = None,
    policy: Annotated[PolicyName | None, typer.Option(help="When it does not converge; else its host's.")] = None,
    lift: LiftOption = None,
    on_cancel: OnCancelOption = None,
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move one VM.

    What differs on the destination: --disk vda=/path/there, --bridge br0=br1, --network lan=dmz, --title,
    --description; or its whole XML by --xml and --persistent-xml, as for virsh migrate.
    """
    changes = parse_changes(disk, bridge, network).model_copy(update={"title": title, "description": description})
    with session(ctx, inventory, as_json) as current:
        current.require_hosts(source, (to,), lift or ())
        ended = current.run_flow(
            "migrate_vm",
            vm=vm,
            dest=to,
            source=source,
            mode=mode,
            changes=changes,
            xml=_read_xml(xml),
            persistent_xml=_read_xml(persistent_xml),
            bandwidth_mib_s=bandwidth,
            policy=policy,
            dry_run=dry_run,
            lift=lift,
            on_cancel=on_cancel,
        )
        end_migration(current, ended)


def _read_xml(path: Path | None) -> str | None:
    try:
        return path.read_text(encoding="utf-8") if path is not None else None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: cannot be read as UTF-8 text: {error}") from error


@app.command()
def recover(ctx: typer.Context, inventory: InventoryOption = None, as_json: JsonOption = False) -> None:
    """Settle every open run by looking at both hosts; safe at any time, any number of times."""
    with session(ctx, inventory, as_json) as current:
        end_recovery(current, current.run_flow("recover_runs"))


app.command()(check)
app.command()(deploy)
app.command()(cordon)
app.command()(freeze)
app.command()(inspect)
app.command()(purge)
app.command()(report)
app.command("return")(return_)
app.command()(roll)
app.command()(uncordon)
app.command()(unfreeze)
app.command()(usage)
app.command()(share)
app.command()(unshare)
app.command()(shares)
app.command()(consolidate)
app.command()(balance)


@app.command()
def hosts(ctx: typer.Context, inventory: InventoryOption = None, as_json: JsonOption = False) -> None:
    """Show the hosts: reachable, cordoned, memory, VMs."""
    with session(ctx, inventory, as_json) as current:
        with current.world() as world:
            from vmferry.steps.read import read_fleet

            snapshot = read_fleet(world)
        show.show_hosts(current.screen, snapshot)
        lost = [f"host {gone.host}: {gone.reason}" for gone in snapshot.unreachable]
        content = {
            "hosts": [facts.model_dump(mode="json", exclude={"vms"}) for facts in snapshot.hosts],
            "unreachable": [gone.model_dump(mode="json") for gone in snapshot.unreachable],
            "cordons": [cordon.model_dump(mode="json") for cordon in snapshot.cordons],
        }
        current.end(ExitCode.REFUSED if lost else ExitCode.DONE, content, lost)


@app.command()
def vms(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Argument(metavar="[HOST]", help="Only of this host.")] = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the VMs of all hosts, or of one."""
    with session(ctx, inventory, as_json) as current:
        current.require_hosts(host, ())
        with current.world() as world:
            from vmferry.steps.read import read_fleet

            snapshot = read_fleet(world, [host] if host is not None else None)
        show.show_vms(current.screen, snapshot.hosts, snapshot.open_runs)
        lost = [f"host {gone.host}: {gone.reason}" for gone in snapshot.unreachable]
        found = [{"host": facts.name, **vm.model_dump(mode="json")} for facts in snapshot.hosts for vm in facts.vms]
        current.end(ExitCode.REFUSED if lost else ExitCode.DONE, {"vms": found}, lost)


@app.command()
def runs(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 20,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the newest runs of the journal."""
    with session(ctx, inventory, as_json) as current:
        with current.world() as world:
            records = world.journal.recent(limit)
        show.show_runs(current.screen, records)
        current.end(ExitCode.DONE, {"runs": [show.run_content(record) for record in records]})


@app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
def lab(args: Annotated[list[str] | None, typer.Argument(metavar="COMMAND ...")] = None) -> None:
    """A lab of real libvirt hosts on this machine: up, down, status, exec."""
    root = put_checkout_first()
    if not (root / "infra" / "lab" / "cli.py").is_file():
        typer.echo(f"the lab is part of the checkout, not of the package: {root}/infra/lab is missing", err=True)
        raise typer.Exit(ExitCode.REFUSED)
    lab_app: typer.Typer = importlib.import_module("infra.lab.cli").app
    lab_app(args=args or [], prog_name="vmferry lab")


def main() -> None:
    """Run the command line; the console script `vmferry`."""
    app(prog_name="vmferry")


if __name__ == "__main__":
    main()
