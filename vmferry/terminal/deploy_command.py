"""`vmferry deploy`: bring a Prefect server to what vmferry needs there."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from vmferry.deploying.things import Change, ChangeKind
from vmferry.errors import InvalidInput
from vmferry.terminal.exit_codes import ExitCode
from vmferry.terminal.options import InventoryOption, JsonOption
from vmferry.terminal.prefect_start import must_answer, prepare_environment, put_checkout_first
from vmferry.terminal.session import Session, session

SiteOption = Annotated[
    Path | None, typer.Option("--site", metavar="FILE", help="Own schedules, defaults and pager; else VMFERRY_SITE.")
]


def deploy(
    ctx: typer.Context,
    site: SiteOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; then exit code 4.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove what vmferry no longer has.")] = False,
    repository: Annotated[
        str | None, typer.Option(metavar="URL", help="Workers on other machines clone this, at this commit.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Run this checkout as it is, not a commit.")] = False,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create or update work pool, queue, deployments, schedules, blocks and automations on the Prefect server.

    Shows the differences first. Forms offer the hosts of the inventory: deploy again when it changes.
    """
    if live and repository is not None:
        raise typer.BadParameter("--live runs this checkout, --repository another one", param_hint="--live")
    with session(ctx, inventory, as_json) as current:
        deploying = _deploying(current)
        where = {"repository": repository, "is_live": live, "state_dir": current.settings.state_dir}
        plan = deploying.plan_deploying(_root(), _inventory(current), site or current.settings.site, **where)
        for change in plan.changes:
            _show(current, change, prune)
        for note in plan.notes:
            current.screen.hint(note)
        extra = [change for change in plan.changes if change.kind is ChangeKind.EXTRA]
        if not plan.is_needed and not (extra and prune):
            current.screen.say("the server has it all: nothing to do", style="bold")
            current.end(ExitCode.DONE, _content(plan, []))
        if dry_run:
            current.end(ExitCode.LEFT_BEHIND, _content(plan, []))
        if not yes and not (current.screen.is_live and typer.confirm("Make these changes?")):
            current.end(ExitCode.REFUSED, _content(plan, []), ["nothing was changed; give --yes"])
        made = list(deploying.apply_changes(plan.changes, is_pruning=prune))
        current.screen.say(f"{len(made)} changes made; start a worker: {_WORKER}", style="bold")
        current.end(ExitCode.DONE, _content(plan, made))


_WORKER = "prefect worker start --pool vmferry --type process"


def _root() -> Path:
    return put_checkout_first()


def _deploying(current: Session) -> Any:
    """Import Prefect and the door to it, once the server is known to answer."""
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        raise InvalidInput("PREFECT_API_URL is not set: give the address of your Prefect server, http://HOST:4200/api")
    must_answer(url)
    root = _root()
    if not (root / "deployments" / "prefect.yaml").is_file():
        raise InvalidInput(f"{root}/deployments is missing: run vmferry from a checkout (uv run vmferry …)")
    prepare_environment(current.settings)
    return importlib.import_module("tasks.deploying")


def _inventory(current: Session) -> str:
    given = current.settings.inventory
    if given is not None and str(given).startswith("block/"):
        return str(given)
    return current.inventory_path


def _show(current: Session, change: Change, prune: bool) -> None:
    if change.kind is ChangeKind.SAME:
        return
    for line in change.words():
        current.screen.say(line)
    if change.kind is ChangeKind.EXTRA and not prune:
        current.screen.say("    vmferry does not have it any more; --prune removes it")


def _content(plan: Any, made: list[Change]) -> dict[str, Any]:
    """Return the document: every change with its lines, and which were made."""
    changes = [
        {"change": str(c.kind), "kind": str(c.thing.kind), "name": c.thing.name, "lines": list(c.lines)}
        for c in plan.changes
    ]
    return {"changes": changes, "notes": list(plan.notes), "made": len(made)}
