"""Stop-and-start: a VM that runs is shut down for its offline move, and runs again at its end, wherever that is.

The stop is an effect like any other: written down before the guest is asked, undone by a start where the VM was.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from vmferry.errors import MoveFailed, OutcomeUnknown, PermanentError, TransientError
from vmferry.model.effects import VmStopped
from vmferry.model.migration import MigrationPlan
from vmferry.model.sighting import Sighting
from vmferry.model.vm import DomainState
from vmferry.ports import World
from vmferry.steps.names import StepName, made
from vmferry.stopping import reason_to_end

logger = logging.getLogger("vmferry.steps")

_EVERY_S = 1.0
# A guest that was asked to shut down may still do so after we have given up: so long it is watched before the run ends.
_LATE_S = 20.0
_ON = (DomainState.RUNNING, DomainState.BLOCKED)


def stop_vm(plan: MigrationPlan, world: World) -> None:
    """Ask the guest to shut down and wait until it is off; raises MoveFailed when it is not in time.

    Never switched off, unless that was asked for explicitly. May be repeated.
    """
    source = world.hypervisor(plan.source)
    was_asked = any(isinstance(row.effect, VmStopped) for row in world.journal.rows(plan.run))
    if source.look(plan.uuid).state is DomainState.SHUTOFF:
        if was_asked:
            return
        raise PermanentError(f"vm {plan.vm}: somebody has shut it down since preflight; start again", vm=plan.vm)
    made(plan, world, StepName.RESERVE, VmStopped(host=plan.source, uuid=plan.uuid))
    source.shut_down(plan.uuid)
    if _await_off(plan, world, plan.stop_timeout_s):
        return
    if plan.stop_force and not reason_to_end():
        logger.warning(
            "run %s vm %s: did not shut down in %.0f s: is forced off", plan.run, plan.vm, plan.stop_timeout_s
        )
        source.destroy(plan.uuid)
        if _await_off(plan, world, _LATE_S):
            return
    why = reason_to_end() or f"it did not shut down within {plan.stop_timeout_s:.0f} s"
    raise MoveFailed(
        f"vm {plan.vm}: {why}; it was not forced off and stays on {plan.source}; shut it down from inside, or allow "
        "more time",
        vm=plan.vm,
    )


def start_moved(plan: MigrationPlan, world: World) -> None:
    """Start the VM at the destination, its only place by now; may be repeated."""
    seen = world.hypervisor(plan.source).look(plan.uuid)
    if not seen.is_reachable or seen.state is not DomainState.ABSENT:
        raise TransientError(
            f"vm {plan.vm}: not started on {plan.dest}: on {plan.source} it is {seen.words()}", vm=plan.vm
        )
    _start(plan, plan.dest, world)


def start_again(plan: MigrationPlan, world: World) -> None:
    """Let the VM run where it ran before the move; a guest that is still on its way down is waited for.

    The caller has proved that it does not run at the destination.
    """
    if _await_off(plan, world, _LATE_S):
        _start(plan, plan.source, world)


def _start(plan: MigrationPlan, host: str, world: World) -> None:
    hypervisor = world.hypervisor(host)
    hypervisor.start(plan.uuid)
    seen = hypervisor.look(plan.uuid)
    if seen.state not in _ON:
        raise OutcomeUnknown(f"vm {plan.vm}: was started on {host}, and is {seen.words()} there", vm=plan.vm, host=host)


def _await_off(plan: MigrationPlan, world: World, seconds: float) -> bool:
    """Wait until the VM is shut off at the source; False when it is not in time, or when its move is to end."""
    ends_at = world.clock.now() + timedelta(seconds=seconds)
    while True:
        seen: Sighting = world.hypervisor(plan.source).look(plan.uuid)
        if seen.state in (DomainState.SHUTOFF, DomainState.CRASHED):
            return True
        if world.clock.now() >= ends_at or reason_to_end():
            return False
        world.clock.sleep(_EVERY_S)
