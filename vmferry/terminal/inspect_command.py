"""`vmferry inspect FILE…`: the rules of the VM alone on domain XML; no host, inventory, libvirt or Prefect."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from vmferry.model.host import Profile
from vmferry.terminal.screen import Screen


class Needed(StrEnum):
    """The mode that must be possible."""

    ANY = "any"
    LIVE = "live"
    NON_LIVE = "non-live"
    OFFLINE = "offline"


def inspect(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Domain XML; - is stdin.")],
    profile: Annotated[Profile, typer.Option(help="Which support statement the rules follow.")] = Profile.RHEL8,
    mode: Annotated[Needed, typer.Option(help="In which every VM must be able to move; else exit 4.")] = Needed.ANY,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line per file.")] = False,
) -> None:
    """Judge domain XML without any host: for each mode whether the VM may move, and what is in the way.

    Asked are the rules that need nothing but the VM; what depends on hosts is listed as assumed.
    """
    from vmferry.terminal.inspect_run import run_inspect

    screen = Screen(is_json=as_json or bool(ctx.find_root().params.get("as_json")))
    raise typer.Exit(int(run_inspect(screen, files, profile, mode)))
