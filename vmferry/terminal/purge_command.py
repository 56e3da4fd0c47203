"""`vmferry purge [HOST…]`: what moves left, and its removal."""

from __future__ import annotations

import re
from typing import Annotated, NoReturn

import typer

from vmferry.errors import LeftBehind, VmferryError
from vmferry.model.purge import Fate, PurgeReport
from vmferry.terminal.exit_codes import ExitCode, code_of_error
from vmferry.terminal.options import InventoryOption, JsonOption
from vmferry.terminal.session import Session, problems_of, session

_AGE = re.compile(r"(?P<count>\d+(?:\.\d+)?)(?P<unit>[dhm]?)")
_PER_DAY = {"d": 1, "": 1, "h": 24, "m": 24 * 60}
_MOST_DAYS = 36500


def parse_days(value: str) -> float:
    """`7d`, `36h`, `30m`, `0` → days; raises typer.BadParameter with the form that is wanted."""
    match = _AGE.fullmatch(value.strip())
    if match is None or float(match["count"]) / _PER_DAY[match["unit"]] > _MOST_DAYS:
        raise typer.BadParameter(f"{value!r}: write a number of days, hours or minutes: 7d, 36h, 30m, 0")
    return float(match["count"]) / _PER_DAY[match["unit"]]


def purge(
    ctx: typer.Context,
    hosts: Annotated[list[str] | None, typer.Argument(metavar="[HOST]...", help="Only of these; all of them.")] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="7d, 36h, …; else VMFERRY_PURGE_AFTER_DAYS.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove; without it they are listed only.")] = False,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what moves left on the hosts (images set aside, parts of copies); with --remove, remove it.

    A file goes when its run ended long enough ago, its VM is where the run took it and uses its copy there, and no
    domain and no image of any host needs it. Whatever is in doubt is kept, and the reason told.
    """
    given = parse_days(older_than) if older_than is not None else None
    with session(ctx, inventory, as_json) as current:
        for host in hosts or ():
            current.require_hosts(host, ())
        if not remove:
            _list(current, tuple(hosts or ()), given)
        ended = current.run_flow("purge_files", hosts=hosts or None, older_than_days=given, dry_run=False)
        report: PurgeReport | None = ended.result or ended.seen.purged
        if report is None:
            raise ended.error or LeftBehind("the purge ended without a report; what went stands in the journal")
        _end(current, report, ended.error)


def _list(current: Session, hosts: tuple[str, ...], given: float | None) -> NoReturn:
    days = current.settings.purge_after_days if given is None else given
    with current.world() as world:
        from vmferry.steps.purge import list_left

        report = list_left(world, hosts, days)
    _end(current, report, None)


def _end(current: Session, report: PurgeReport, error: VmferryError | None) -> NoReturn:
    """Show files, sums per host and what to type next."""
    from vmferry.reporting.purge_words import PURGE_HEAD, failed_lines, host_lines, purge_cells, purge_headline

    if report.files:
        current.screen.table(PURGE_HEAD, [purge_cells(file) for file in report.files])
    for line in host_lines(report):
        current.screen.say(line)
    current.screen.say(f"all: {purge_headline(report)}" if report.files else purge_headline(report), style="bold")
    if report.of(Fate.REMOVABLE):
        current.screen.say("next: vmferry purge --remove   # with the same hosts and --older-than")
    problems = failed_lines(report)
    if error is not None and code_of_error(error) is not ExitCode.LEFT_BEHIND:  # LeftBehind repeats the problems
        problems += problems_of(error)
    current.end(_code(report, error), {"purge": report.model_dump(mode="json")}, problems)


def _code(report: PurgeReport, error: VmferryError | None) -> ExitCode:
    """A file that could not be removed before a host that could not be looked at: then everything it sees is kept."""
    if error is not None and code_of_error(error) is ExitCode.HELD:
        return ExitCode.HELD
    if report.of(Fate.FAILED) or (report.problems and report.of(Fate.REMOVED)):
        return ExitCode.LEFT_BEHIND
    return ExitCode.REFUSED if report.problems else ExitCode.DONE
