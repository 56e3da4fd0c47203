"""Make room for a VM that found none, by moving one or two placed VMs elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vmferry.planning.board import Board
from vmferry.planning.candidates import Candidate

# Tries for a whole plan, about a microsecond each: a repair never takes longer than the judging before it.
BUDGET = 200_000


@dataclass
class Budget:
    """How many tries are left."""

    left: int = BUDGET

    def spend(self) -> bool:
        """Take one try; False when none is left."""
        self.left -= 1
        return self.left >= 0


def make_room(board: Board, stuck: Candidate, budget: Budget) -> str | None:
    """Place `stuck` by relocating one placed VM, or else by an exchange of two; return its destination.

    A host that has room by now is taken as it is. None, with the board as it was, when nothing within the
    budget helps. Deterministic: destinations in the inventory's order, VMs in the order of placing.
    """
    if _rehome(board, stuck, "", 1, budget):
        return board.dest_of[stuck.key]
    for depth in (1, 2):
        for dest in stuck.demands:
            if _open(board, stuck, dest, depth, budget):
                return dest
    return None


def _open(board: Board, incoming: Candidate, dest: str, depth: int, budget: Budget) -> bool:
    """Place `incoming` on `dest`, pushing one VM off it (which may push another, `depth` in all)."""
    for victim in _victims(board, dest, budget):
        board.lift(victim)
        if board.fits(incoming, dest):
            board.place(incoming, dest)
            if _rehome(board, victim, dest, depth, budget):
                return True
            board.lift(incoming)
        board.place(victim, dest)
    return False


def _victims(board: Board, dest: str, budget: Budget) -> Iterator[Candidate]:
    for victim in tuple(board.rooms[dest].placed.values()):
        if not budget.spend():
            return
        if len(victim.demands) > 1:
            yield victim


def _rehome(board: Board, victim: Candidate, left: str, depth: int, budget: Budget) -> bool:
    """Find another place for a VM that was pushed off `left`; False leaves the board as it was."""
    elsewhere = [dest for dest in victim.demands if dest != left]
    for dest in elsewhere:
        if budget.spend() and board.fits(victim, dest):
            board.place(victim, dest)
            return True
    return depth > 1 and any(_open(board, victim, dest, depth - 1, budget) for dest in elsewhere)
