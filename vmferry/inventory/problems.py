"""One thing that is wrong in an inventory file, and how it is told."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from vmferry.model.base import Model


class Problem(Model):
    """`path` is the place in the file: ("hosts", "kvm2", "limits", "outgoing")."""

    text: str
    line: int | None = None
    path: tuple[str, ...] = ()

    def words(self, file: str) -> str:
        """`file:line: host kvm2: field limits.outgoing: …`."""
        parts = [f"{file}:{self.line}" if self.line else file]
        path = self.path
        if len(path) >= 2 and path[0] == "hosts":
            parts.append(f"host {path[1]}")
            path = path[2:]
        if len(path) >= 2 and path[0] == "vms":
            parts.append(f"vm {path[1]}")
            path = path[2:]
        if path:
            parts.append(f"field {'.'.join(path)}")
        return ": ".join([*parts, self.text])


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean 'limits'?`, or the list of what is known when nothing is near."""
    names = list(known)
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(names)}"
