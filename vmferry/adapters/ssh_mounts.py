"""Mounted file systems of a host: `findmnt --json`, or the kernel's own list where findmnt cannot do that."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from vmferry.model.facts import Mount

# Where only the kernel's own file systems lie. All others are kept, tmpfs and overlays too: one that is mounted below
# a proved directory hides what was proved.
_KERNEL = ("/proc", "/sys", "/dev")
# What mountinfo puts for space, tab, newline and backslash (proc(5)).
_ESCAPED = re.compile(r"\\([0-7]{3})")


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Return the mounts in the kernel's order; of several on one path the last, which hides the others."""
    shown = list(_from_json(text) if text.lstrip().startswith("{") else _from_mountinfo(text))
    top = {mount.path: mount for mount in shown}
    kept = (mount for mount in top.values() if not any(f"{mount.path}/".startswith(f"{k}/") for k in _KERNEL))
    return tuple(kept)


def _from_json(text: str) -> Iterator[Mount]:
    return _flat(json.loads(text).get("filesystems", ()))


def _flat(items: Iterable[dict[str, Any]]) -> Iterator[Mount]:
    """Yield the mounts of a list, or of the tree that findmnt prints without --list."""
    for item in items:
        yield Mount(
            path=item["target"],
            source=item.get("source") or "",
            fstype=item.get("fstype") or "",
            options=tuple((item.get("options") or "").split(",")),
            uuid=item.get("uuid") or None,
        )
        yield from _flat(item.get("children", ()))


def _from_mountinfo(text: str) -> Iterator[Mount]:
    """Yield the mounts of /proc/self/mountinfo, which knows no file-system UUID.

    As with findmnt, a part of a file system that is mounted by itself has its path there in brackets behind the source.
    """
    for line in text.splitlines():
        fields, dash, more = line.partition(" - ")
        columns, types = fields.split(" "), more.split(" ")
        if not dash or len(columns) < 6 or len(types) < 3:
            continue
        root, path = _plain(columns[3]), _plain(columns[4])
        source = _plain(types[1])
        options = dict.fromkeys((*columns[5].split(","), *types[2].split(",")))
        yield Mount(
            path=path,
            source=source if root == "/" else f"{source}[{root}]",
            fstype=types[0],
            options=tuple(options),
        )


def _plain(text: str) -> str:
    """Undo the kernel's octal escapes."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
