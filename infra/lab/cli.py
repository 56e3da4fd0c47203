"""The commands of the lab: `vmferry lab …`, or `python -m infra.lab`."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from infra.lab.host import LabHost
from infra.lab.lab import Lab, need_root, take_down
from infra.lab.machine.lab import MachineLab, is_machine_lab
from infra.lab.machine.machine import Machine
from infra.lab.proc import LabError
from infra.lab.spec import LabSpec, MachineSpec

app = typer.Typer(
    name="lab",
    help="Real libvirt hosts on this machine, made of namespaces, with tiny guests that beat.",
    no_args_is_help=True,
    add_completion=False,
)
NameOption = Annotated[str, typer.Option("--name", help="Which lab.")]


class PowerAct(StrEnum):
    """What may be done to a machine's power."""

    ON = "on"
    OFF = "off"
    CUT = "cut"
    REBOOT = "reboot"
    STATUS = "status"


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Show what went wrong in one line, and exit 1."""
    try:
        yield
    except LabError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except ValidationError as error:
        for one in error.errors():
            typer.echo(f"error: {'.'.join(map(str, one['loc'])) or 'spec'}: {one['msg']}", err=True)
        raise typer.Exit(1) from error


@app.command()
def up(
    name: NameOption = "lab",
    hosts: Annotated[int, typer.Option(min=1, max=40, help="How many hosts: kvm1, kvm2, …")] = 2,
    guests: Annotated[int, typer.Option(min=0, help="How many guests: vm1, vm2, … on /srv/shared.")] = 0,
    spec: Annotated[Path | None, typer.Option(help="A LabSpec in JSON instead of --hosts and --guests.")] = None,
    machines: Annotated[bool, typer.Option("--machines", help="Whole Debian machines under user-mode Linux.")] = False,
) -> None:
    """Bring a lab up, or repair the one that is there."""
    with _plain_errors():
        if spec is not None:
            try:
                wanted = LabSpec.model_validate_json(spec.read_text())
            except OSError as error:
                raise LabError(f"cannot read {spec}: {error.strerror}") from error
        else:
            wanted = LabSpec.of(name, hosts=hosts, guests=0 if machines else guests)
        if machines and wanted.machines is None:
            wanted = wanted.model_copy(update={"machines": MachineSpec()})
        lab = MachineLab.up(wanted) if wanted.machines is not None else Lab.up(wanted)
    _show(lab)
    typer.echo(f"inventory: {lab.inventory_path}")
    typer.echo(f"take it down: vmferry lab down --name {lab.name}")


@app.command()
def down(
    name: NameOption = "lab", every: Annotated[bool, typer.Option("--all", help="All labs of this machine.")] = False
) -> None:
    """Remove a lab and everything it made, in whatever state it is."""
    with _plain_errors():
        names = Lab.names() if every else [name]
        for one in names:
            typer.echo(f"lab {one} is gone" if take_down(one) else f"there is no lab {one}")
        if not names:
            typer.echo("there are no labs")


@app.command()
def status() -> None:
    """Show the labs of this machine, their hosts, guests and heartbeats."""
    with _plain_errors():
        need_root()
        names = Lab.names()
        if not names:
            typer.echo("there are no labs; `vmferry lab up` makes one")
        for name in names:
            try:
                _show(_load(name))
            except LabError as error:
                typer.echo(f"{name}: {error}; `vmferry lab down --name {name}` clears what is left")


@app.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def execute(
    host: Annotated[str, typer.Argument(help="The host, for example kvm1.")],
    argv: Annotated[list[str], typer.Argument(help="The command and its arguments, after --.")],
    name: NameOption = "lab",
) -> None:
    """Run a command inside a host, with this terminal, and exit as it does."""
    with _plain_errors():
        lab = _load(name)
        if host not in lab.hosts:
            raise LabError(f"there is no host {host}; there are {', '.join(lab.hosts)}")
        wanted = argv[1:] if argv[0] == "--" else argv
        words = [*lab.hosts[host].enter, *([shlex.join(wanted)] if isinstance(lab, MachineLab) else wanted)]
    path = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    raise typer.Exit(subprocess.run(words, env=path, check=False).returncode)


@app.command()
def power(
    act: Annotated[PowerAct, typer.Argument(help="on, off (in good order), cut, reboot or status.")],
    host: Annotated[str, typer.Argument(help="The machine, for example kvm1.")],
    name: NameOption = "lab",
    wait: Annotated[bool, typer.Option(help="Wait until it has started, or is off.")] = True,
) -> None:
    """Switch a whole machine on or off, or show whether it has power; exits 0 when it is as wanted."""
    with _plain_errors():
        machine = MachineLab.load(name).hosts.get(host)
        if machine is None:
            raise LabError(f"there is no machine {host} in lab {name}")
        match act:
            case PowerAct.ON:
                (machine.power_on if wait else machine.press_power)()
            case PowerAct.OFF:
                machine.power_off()
            case PowerAct.CUT:
                machine.power_cut()
            case PowerAct.REBOOT:
                machine.reboot()
            case PowerAct.STATUS:
                pass
    typer.echo("on" if machine.is_up else "off")


def _load(name: str) -> Lab | MachineLab:
    return MachineLab.load(name) if is_machine_lab(name) else Lab.load(name)


def _show(lab: Lab | MachineLab) -> None:
    console = Console()
    if isinstance(lab, MachineLab):
        console.print(f"lab [bold]{lab.name}[/bold]  {lab.subnet}  whole machines (user-mode Linux)")
        _show_hosts(console, list(lab.hosts.values()))
        return
    console.print(f"lab [bold]{lab.name}[/bold]  {lab.subnet}  {'kvm' if lab.kvm else 'qemu (emulated)'}")
    _show_hosts(console, list(lab.hosts.values()))
    if not lab.guests:
        return
    guests = Table("guest", "where", "disk", "beats (ticks, errors, age)", box=None)
    for name, where in lab.where_all().items():
        beats = (f"{h}: {b.ticks}, {b.errors}, {b.age_s:.1f} s" for h, b in lab.heartbeats(name).items())
        states = ", ".join(f"{host}: {state}" for host, state in where.items())
        guests.add_row(name, states or "nowhere", lab.guests[name].disk.value, "; ".join(beats))
    console.print(guests)


def _show_hosts(console: Console, hosts: Sequence[LabHost | Machine]) -> None:
    table = Table("host", "address", "power", "pid 1", box=None)
    for host in hosts:
        table.add_row(host.name, host.address, "on" if host.is_up else "OFF", str(host.pid1) if host.is_up else "-")
    console.print(table)
