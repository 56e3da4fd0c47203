"""docs/errors.md, made from the tables of the code. `.venv/bin/python -m tests.repo.errors_page` writes it."""

from __future__ import annotations

from pathlib import Path

from vmferry.model.journal import RunState
from vmferry.reporting.catalogue import PROMISES, RUN_STATES, error_rows

PAGE = Path(__file__).resolve().parents[2] / "docs" / "errors.md"

_HEAD = """\
<!-- Generated from vmferry/reporting/catalogue.py; do not edit. Write it anew with:
     .venv/bin/python -m tests.repo.errors_page -->

# States and errors, and what to type next

Every message says who, what, the numbers with units, and the next command; this page is for the moment before you have
read it. [Rules](rules.md) lists what preflight may find, [outcomes](operator-guide.md#outcomes) how a VM's move ends.
"""


def page() -> str:
    """Return the whole page."""
    parts = [_HEAD, "## Flow runs in the Prefect UI\n", "| state | what is true | what to do |", "|---|---|---|"]
    parts += [f"| {state} | {truth} | {act} |" for state, truth, act in RUN_STATES]
    parts += ["\n## Runs in the journal\n", "`vmferry runs` shows them, one per VM and move.\n"]
    parts += [f"- `{state}`" for state in RunState]
    parts += ["\n## Errors\n", "| class | promise |", "|---|---|"]
    parts += [f"| {kind.__name__} | {promise} |" for kind, promise in PROMISES.items()]
    parts += ["", "| error | class | meaning | next |", "|---|---|---|---|"]
    parts += [f"| {' | '.join(row)} |" for row in error_rows()]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
