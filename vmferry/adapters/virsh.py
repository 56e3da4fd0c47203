"""Parse `virsh list --all`, the reference chapter's proof of a migration (9.5)."""

from __future__ import annotations

from vmferry.errors import PermanentError
from vmferry.model.sighting import ListedDomain
from vmferry.model.vm import DomainState

# Longest first: "in shutdown" ends like nothing else, but "shut off" and names may hold blanks.
_STATES = sorted((str(s) for s in DomainState if s is not DomainState.ABSENT), key=len, reverse=True)


def parse_virsh_list(text: str) -> tuple[ListedDomain, ...]:
    """Parse the table of `virsh list --all` (LC_ALL=C.UTF-8) in its order.

    The state is taken from the line's end and the id from its beginning, so names with blanks survive.
    Raises PermanentError for a line that is no domain.
    """
    lines = text.split("\n")  # splitlines() would split names at U+2028 too
    start = next((i + 1 for i, line in enumerate(lines) if line.strip() and set(line.strip()) == {"-"}), len(lines))
    return tuple(_parse_line(line) for line in lines[start:] if line.strip())


def _parse_line(line: str) -> ListedDomain:
    stripped = line.strip()
    state = next((s for s in _STATES if stripped.endswith(" " + s)), None)
    number, _, rest = stripped.partition(" ")
    if state is None or not (number == "-" or number.isdecimal()):
        raise PermanentError(f"virsh list: line {line!r} is not understood")
    name = rest.strip().removesuffix(state).strip()
    return ListedDomain(id=None if number == "-" else int(number), name=name, state=state)
