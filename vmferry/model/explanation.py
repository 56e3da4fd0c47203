"""Why a VM has no place, and what would give it one."""

from __future__ import annotations

from pydantic import Field

from vmferry.model.base import Model


class Relaxation(Model):
    """Something that, changed, gives the VM a place: planned again with the change before it is told."""

    kind: str  # drop, host, moves, reserve
    text: str
    constraint: str = ""  # name of the constraint that is dropped
    dest: str = ""


class Explanation(Model):
    """A minimal set of reasons that together close every host, the nearest host, and what would help.

    `conflict` are rules, constraints and resources: without any one of them some host would not be closed by the rest.
    `group` is a sum that shows that not all of several VMs can have a place, whatever the order.
    """

    conflict: tuple[str, ...]
    blocked: dict[str, int] = Field(default_factory=dict)  # reason → hosts that it closes
    nearest: str = ""  # the host that lacks least
    shortfall: str = ""  # what it lacks, with numbers
    group: str = ""
    relaxations: tuple[Relaxation, ...] = ()

    def words(self) -> str:
        """Return one line: reasons, nearest host, what would help."""
        parts = [f"closed by {', '.join(self.conflict)}"] if self.conflict else []
        if self.nearest:
            parts.append(f"nearest {self.nearest}: {self.shortfall}")
        parts += [self.group] if self.group else []
        parts += [f"would fit if {one.text}" for one in self.relaxations]
        return "; ".join(parts)
