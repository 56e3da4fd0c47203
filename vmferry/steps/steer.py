"""What the journal keeps of the help that a live move got, so that recovery and report know it."""

from __future__ import annotations

from vmferry.model.convergence import Abort, LiftCap, Order, PostCopy, Suspend
from vmferry.model.journal import Mark, Row
from vmferry.model.migration import MigrationPlan, OutcomeKind
from vmferry.ports import OnOrder, World
from vmferry.progress import MoveHelped, publish

_HELP = "help: "  # begins the note that is written before a running job is changed
_NO_HELP = (LiftCap().words(), Abort().words())
_REFUSED = "no help: "  # begins the note that takes the one before back


def orders_of(plan: MigrationPlan, step: str, world: World) -> OnOrder:
    """Return a callback that writes down each order before it is carried out."""

    def note(order: Order) -> None:
        prefix = _REFUSED if order.refusal else _HELP
        world.journal.write(plan.run, step, Mark.NOTE, note=f"{prefix}{order.words()}")
        publish(MoveHelped(run=plan.run, vm=plan.vm, order=order))

    return note


def was_suspended(rows: tuple[Row, ...]) -> bool:
    """Whether this run intended to suspend the VM at the source: a VM found paused there may be so because of us.

    A refused one counts too, since a refusal may be wrong; how the VM stood before the run decides in any case.
    """
    return any(note.startswith(f"{_HELP}{Suspend().words()}") for note in _notes(rows))


def was_postcopy_ordered(rows: tuple[Row, ...]) -> bool:
    """Whether this run intended to switch to post-copy: from then on the VM may run at the destination.

    A refused one counts too, since a refusal may be wrong: what is seen on both hosts tells how it was.
    """
    return any(note.startswith(f"{_HELP}{PostCopy().words()}") for note in _notes(rows))


def help_notes(plan: MigrationPlan, rows: tuple[Row, ...], kind: OutcomeKind) -> tuple[str, ...]:
    """Return one line per act; the last one that was not refused is named as what the move ended after.

    The cap is only lifted because of the suspend: that is the one to name; an abort that came too late helped nobody.
    """
    lines: list[str] = []
    helped: int | None = None
    before: int | None = None
    for note in _notes(rows):
        if note.startswith(_REFUSED):
            lines[-1:], helped = [note.removeprefix(_REFUSED)], before
        else:
            lines.append(note.removeprefix(_HELP))
            before = helped
            helped = before if lines[-1].startswith(_NO_HELP) else len(lines) - 1
    if kind is OutcomeKind.MOVED and helped is not None:
        lines[helped] = f"moved after {lines[helped]}"
    return tuple(f"policy {plan.policy}: {line}" for line in lines)


def _notes(rows: tuple[Row, ...]) -> tuple[str, ...]:
    return tuple(row.note for row in rows if row.mark is Mark.NOTE and row.note.startswith((_HELP, _REFUSED)))
