"""`vmferry report`: what the last operations did, as text or in the browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from vmferry.errors import NotFound
from vmferry.reporting.page import page_of
from vmferry.terminal.exit_codes import ExitCode
from vmferry.terminal.options import JsonOption
from vmferry.terminal.session import Session, session


def report(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A host, or a part of a report's name.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Name the reports, newest first.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser, with its pictures.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the newest report of an evacuation, a consolidation or a balance."""
    with session(ctx, None, as_json) as current:
        found = _reports(current, name)
        if list_:
            for folder in found:
                current.screen.say(folder.name)
            current.end(ExitCode.DONE, {"reports": [str(folder) for folder in found]})
        folder = found[0]
        current.screen.say((folder / "report.md").read_text(encoding="utf-8"))
        content = {"report": str(folder / "report.md")}
        if open_:
            page = page_of(folder)
            content["page"] = str(page)
            current.screen.hint(f"page: {page}")
            if not webbrowser.open(page.as_uri()):
                current.end(ExitCode.LEFT_BEHIND, content, [f"no browser could be started here; copy {page}"])
        current.end(ExitCode.DONE, content)


def _reports(current: Session, name: str | None) -> list[Path]:
    """Return the folders of the reports whose name has this part, newest first; raises NotFound without any."""
    place = current.settings.report_dir
    folders = [path.parent for path in place.glob("*/report.md") if name is None or name in path.parent.name]
    if not folders:
        of = f" of {name}" if name is not None else ""
        raise NotFound(f"no report{of} in {place}; `vmferry report --list` names all, `vmferry runs` the moves")
    return sorted(folders, key=lambda folder: folder.name, reverse=True)
