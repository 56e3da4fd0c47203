"""One command: its settings, its inventory, its screen, and how it ends."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, cast

import typer

from vmferry.errors import InvalidInput, LeftBehind, VmferryError
from vmferry.model.host import Inventory
from vmferry.settings import Settings, read_settings
from vmferry.stopping import announcing
from vmferry.terminal.exit_codes import ExitCode, code_of_error
from vmferry.terminal.prefect_start import is_server_lost, load_flow, put_checkout_first
from vmferry.terminal.progress_view import Seen, watching
from vmferry.terminal.screen import Screen

if TYPE_CHECKING:
    from vmferry.ports import World
    from vmferry.ports.sharing import ShareWorld

_INTERRUPTED = "interrupted; whatever stays open is settled by: vmferry recover"


@dataclass(frozen=True)
class Ended:
    """How a flow ended: what it returned, and what it raised after its events had told a result."""

    result: Any
    seen: Seen
    error: VmferryError | None


class Session:
    """What a command works with."""

    def __init__(self, settings: Settings, screen: Screen) -> None:
        self.settings = settings
        self.screen = screen
        self._inventory: Inventory | None = None
        self._is_prefect_lost = False

    @property
    def inventory_path(self) -> str:
        """The inventory's absolute path; raises InvalidInput when none was given."""
        if self.settings.inventory is None:
            raise InvalidInput("no inventory; give --inventory FILE or set VMFERRY_INVENTORY=FILE")
        return str(self.settings.inventory.expanduser().absolute())

    def read_inventory(self) -> Inventory:
        """Load and check the inventory once; raises InventoryError."""
        if self._inventory is None:
            from vmferry.inventory import load_inventory

            self._inventory = load_inventory(self.inventory_path)
        return self._inventory

    def require_hosts(self, source: str | None, dests: Sequence[str], lift: Sequence[str] = ()) -> None:
        """Refuse unknown, equal and repeated hosts, and rules that cannot be lifted, before anything is started."""
        from vmferry.inventory.problems import did_you_mean
        from vmferry.rules.policy import check_lifted

        names = self.read_inventory().names()
        wanted = [*([source] if source is not None else []), *dests]
        problems = [
            f"host {name} is not in {self.inventory_path}; {did_you_mean(name, names)}"
            for name in dict.fromkeys(wanted)
            if name not in names
        ]
        if source is not None and source in dests:
            problems.append(f"host {source} is both source and destination; choose another destination")
        problems += [f"host {n} is given twice by --to" for n in dict.fromkeys(dests) if dests.count(n) > 1]
        problems += [f"--lift: {problem}" for problem in check_lifted(dict.fromkeys(lift))]
        if problems:
            raise InvalidInput("; ".join(problems), problems=tuple(problems))

    @contextlib.contextmanager
    def world(self) -> Iterator[World]:
        """Open the world of the inventory: connections are opened late, and closed at the end."""
        self.read_inventory()
        put_checkout_first()
        # By name: the product never imports tasks, only this door of the checkout does.
        wiring = importlib.import_module("tasks._wiring")
        with wiring.wired(self.inventory_path) as world:
            yield world

    @contextlib.contextmanager
    def share_world(self) -> Iterator[ShareWorld]:
        """Open the world of the inventory for what configures hosts."""
        with self.world() as world:
            yield cast("ShareWorld", world)

    def run_flow(self, name: str, **parameters: Any) -> Ended:
        """Run a flow in this process; return its result, what its events said, and the error at its end.

        An error is returned, not raised, when the events told a result: the command shows that first.
        """
        self.read_inventory()
        flow = load_flow(name, self.settings, self.screen.hint)
        away = contextlib.redirect_stdout(sys.stderr) if self.screen.is_json else contextlib.nullcontext()
        with away, saying_when_interrupted(self.screen), watching(self.screen) as seen:
            try:
                state = flow(**parameters, inventory=self.inventory_path, return_state=True)
                if state.is_cancelled():
                    raise LeftBehind(str(state.message))
                return Ended(state.result(), seen, None)
            except Exception as error:
                if not seen.has_result:
                    raise
                if isinstance(error, VmferryError):
                    return Ended(None, seen, error)
                if not _is_of_prefect(error):
                    raise
                self.screen.complain(
                    f"the moves ended as shown, but Prefect does not know it: {type(error).__name__}: {error}; the "
                    "journal does: vmferry runs"
                )
                return Ended(None, seen, None)
            finally:
                self._is_prefect_lost = is_server_lost()

    def end(self, code: ExitCode, content: dict[str, Any], problems: Sequence[str] = ()) -> NoReturn:
        """Write problems and the document, and leave with the exit code."""
        for problem in problems:
            self.screen.complain(problem)
        self.screen.document({"exit_code": int(code), "problems": list(problems), **content})
        if self._is_prefect_lost:  # its threads would try to send logs and events for minutes, and nothing ends that
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(code))
        raise typer.Exit(int(code))


def _is_of_prefect(error: BaseException | None) -> bool:
    """Whether an error comes from Prefect or its client: the server was lost. What was moved is told all the same."""
    while error is not None:
        if type(error).__module__.partition(".")[0] in ("prefect", "httpx", "httpcore"):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def saying_when_interrupted(screen: Screen) -> Iterator[None]:
    """Tell at Ctrl-C and SIGTERM what happens now, and end the command; moves that run are ended first (`stopping`).

    Only main threads get signals. Once moves were ended for one, later ones are ignored until the process has ended:
    they could only take away its report and exit code.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    heard: list[str] = []

    def say(_number: int, _frame: FrameType | None) -> None:
        if not heard:
            screen.complain(_INTERRUPTED)
            raise KeyboardInterrupt

    def announce(words: str) -> None:
        heard.append(words)
        screen.complain(words)

    before = {number: signal.signal(number, say) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with announcing(announce):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if heard else handler)


@contextlib.contextmanager
def session(ctx: typer.Context, inventory: Path | None, as_json: bool) -> Iterator[Session]:
    """Open a command's session; every error ends as lines on stderr and an exit code, not a traceback."""
    given = ctx.find_root().params
    screen = Screen(is_json=as_json or bool(given.get("as_json")))
    settings: Settings | None = None
    try:
        settings = read_settings(inventory=inventory or given.get("inventory"))
        yield Session(settings, screen)
    except (typer.Exit, typer.Abort):
        raise
    except (Exception, KeyboardInterrupt) as error:
        if settings is not None and settings.debug:
            traceback.print_exc()
        _end_with_error(screen, error)


def _end_with_error(screen: Screen, error: BaseException) -> NoReturn:
    code = code_of_error(error)
    problems = problems_of(error)
    for problem in problems:
        screen.complain(problem)
    screen.document({"exit_code": int(code), "problems": problems})
    raise typer.Exit(int(code)) from None


def problems_of(error: BaseException) -> list[str]:
    """Return every problem of an error, each a line of its own."""
    match error:
        case InvalidInput():
            return list(error.problems)
        case VmferryError():
            return [str(error)]
        case KeyboardInterrupt():
            return ["interrupted"]
    return [f"unexpected {type(error).__name__}: {error}; set VMFERRY_DEBUG=1 to see where"]
