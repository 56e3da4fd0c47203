"""What the journal keeps of the help that a live move got, so that recovery and report know it."""

from __future__ import annotations

from vmferry.model.convergence import Order, Suspend
from vmferry.model.journal import Mark, Row
from vmferry.model.migration import MigrationPlan, OutcomeKind
from vmferry.ports import OnOrder, World

_HELP = "help: "  # begins the note that is written before a running job is changed


def orders_of(plan: MigrationPlan, step: str, world: World) -> OnOrder:
    """Return a callback that writes down each order before it is carried out."""

    def note(order: Order) -> None:
        world.journal.write(plan.run, step, Mark.NOTE, note=f"{_HELP}{order.words()}")

    return note


def was_suspended(rows: tuple[Row, ...]) -> bool:
    """Whether this run intended to suspend the VM at the source: a VM found paused there may be so because of us."""
    return any(order.startswith(Suspend().words()) for order in _orders(rows))


def help_notes(plan: MigrationPlan, rows: tuple[Row, ...], kind: OutcomeKind) -> tuple[str, ...]:
    """Return one line per help, the last one first named as what ended the move."""
    orders = _orders(rows)
    if kind is OutcomeKind.MOVED and orders:
        orders = (*orders[:-1], f"moved after {orders[-1]}")
    return tuple(f"policy {plan.policy}: {order}" for order in orders)


def _orders(rows: tuple[Row, ...]) -> tuple[str, ...]:
    return tuple(row.note.removeprefix(_HELP) for row in rows if row.mark is Mark.NOTE and row.note.startswith(_HELP))
