"""A few lines more or less in a configuration file; every other line stays, to the byte."""

from __future__ import annotations

from vmferry.model.sharing import Edit


def edited(edit: Edit, now: str | None) -> str | None:
    """Return the file's text after an edit; equal to `now` where nothing is to be done. None: there is no file.

    A file that our lines alone had made goes with them, as long as nobody has written anything else into it.
    """
    found = _find(edit.line, now)
    if edit.is_there:
        return now if found is not None else _with_lines(now, edit.line)
    if found is None or now is None:
        return now
    if now == _with_lines(edit.before, edit.line):
        return edit.before
    lines = now.split("\n")
    return "\n".join(lines[:found] + lines[found + len(edit.line.split("\n")) :])


def _find(wanted: str, text: str | None) -> int | None:
    """Return the number of the line at which `wanted` begins; None where it is not there as whole lines."""
    if text is None:
        return None
    lines, part = text.split("\n"), wanted.split("\n")
    return next((at for at in range(len(lines) - len(part) + 1) if lines[at : at + len(part)] == part), None)


def _with_lines(text: str | None, lines: str) -> str:
    if not text:
        return f"{lines}\n"
    return f"{text}{'' if text.endswith(chr(10)) else chr(10)}{lines}\n"
