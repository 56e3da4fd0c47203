"""One place that writes to the terminal: tables for people, aligned lines for pipes, one JSON document."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def clean(text: str) -> str:
    """Replace control characters: a VM's title must not steer the operator's terminal."""
    return "".join("�" if unicodedata.category(c) in ("Cc", "Cs") and c != "\n" else c for c in text)


class Screen:
    """Where a command speaks. With `is_json`, stdout holds the document alone; all else is on stderr."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self.out = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, stderr=is_json)
        self.err = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, stderr=True)

    @property
    def is_live(self) -> bool:
        """Whether progress bars make sense: a person looks at stdout."""
        return self.out.is_terminal and not self.is_json

    def say(self, text: str, style: str = "") -> None:
        """Write a line of the result; nothing with `--json`, where the document holds it."""
        if not self.is_json:
            self.out.print(Text(clean(text), style=style))

    def log(self, text: str) -> None:
        """Write a line about the running operation: stdout, with `--json` stderr."""
        self.out.print(Text(clean(text)))

    def hint(self, text: str) -> None:
        """Write a remark on stderr."""
        self.err.print(Text(clean(text), style="dim" if self.err.is_terminal else ""))

    def complain(self, text: str) -> None:
        """Write a problem on stderr."""
        self.err.print(Text(clean(text), style="red" if self.err.is_terminal else ""))

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        """Show a table; in a pipe, aligned columns with two spaces between, never cut."""
        if self.is_json:
            return
        if not self.out.is_terminal:
            for line in align(head, rows):
                self.out.print(Text(line))
            return
        table = Table(title=Text(clean(title)) if title else None, title_justify="left")
        for name in head:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(Text(clean(cell)) for cell in row))
        self.out.print(table, soft_wrap=False)

    def document(self, content: dict[str, Any]) -> None:
        """Write the one JSON document, when it was asked for."""
        if self.is_json:
            sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")
            sys.stdout.flush()


def align(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return header and rows as lines with aligned columns; newlines in cells become spaces."""
    cells = [list(head), *([clean(cell.replace("\n", " ")) for cell in row] for row in rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(head))]
    return ["  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
