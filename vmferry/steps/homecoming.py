"""What is asked and done of VMs that go home, beside the moves themselves."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from vmferry.errors import PermanentError, VmferryError
from vmferry.model.mark import parse_host_mark
from vmferry.model.operation import Home
from vmferry.planning.returning import Proof
from vmferry.ports import World
from vmferry.steps.homes import digest_at
from vmferry.steps.host_marks import open_host


def proof_of(home: Home, world: World) -> Proof:
    """Read what tells whether the home still counts: our last run of the VM, and its definition as it is now."""
    definition = digest_at(home.away, home.uuid, world) if home.definition else ""
    return Proof(last_run=world.journal.last_run(home.uuid), definition=definition)


def open_for_return(host: str, reasons: Collection[str], world: World) -> None:
    """Open the host for arrivals where it was closed by the evacuation that these VMs left in.

    Raises PermanentError where somebody closed it for another reason: that one opens it.
    """
    cordon = next((c for c in world.journal.cordons() if c.host == host), None)
    if cordon is not None and cordon.reason not in reasons:
        raise PermanentError(
            f"host {host}: was cordoned by {cordon.owner} for another reason ({cordon.words()}); when that is over: "
            f"vmferry uncordon {host}",
            host=host,
        )
    mark = parse_host_mark(world.tools(host).read_marks().mark)
    is_over = mark is None or mark.is_stale(world.clock.now()) or world.journal.is_dead(mark.owner)
    if mark is not None and mark.is_work and not is_over:
        raise PermanentError(f"host {host}: {mark.words()}: somebody works on it; wait for its end", host=host)
    if mark is not None and mark.reason not in reasons:
        raise PermanentError(
            f"host {host}: was cordoned for another reason: {mark.words()}; when that is over: vmferry uncordon {host}",
            host=host,
        )
    world.journal.uncordon(host)
    open_host(host, world)


def restore(uuid: str, vm: str, home: str, is_autostart: bool, state: str, world: World) -> tuple[str, ...]:
    """Set autostart as it was at home; return as notes what people have changed meanwhile, which stays.

    Its state travelled with it: a VM that ran runs, one that was paused is paused. One that somebody stopped, or
    started, while it was away stays as that one left it.
    """
    notes: list[str] = []
    hypervisor = world.hypervisor(home)
    seen = hypervisor.look(UUID(uuid))
    if seen.is_reachable and state and seen.state != state and {str(seen.state), state} != {"running", "idle"}:
        notes.append(f"{vm} was {state} when it left {home} and is {seen.words()}: somebody changed that meanwhile")
    if seen.is_persistent:
        try:
            hypervisor.set_autostart(UUID(uuid), is_autostart)
        except VmferryError as error:
            notes.append(f"{vm}: its autostart was not restored ({'on' if is_autostart else 'off'}): {error}")
    return tuple(notes)
