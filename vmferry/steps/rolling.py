"""The pieces of a roll that touch a host or the journal."""

from __future__ import annotations

from datetime import timedelta

from pydantic import ValidationError

from vmferry.errors import InvalidInput, PermanentError, VmferryError
from vmferry.model.host import FleetSnapshot, HostFacts
from vmferry.model.operation import OperationKind, SavedOperation
from vmferry.model.roll import BootFacts, CommandDone, HostRoll, RollRequest, SavedRoll, WorkOptions
from vmferry.planning.health import unhealthy
from vmferry.ports import World
from vmferry.steps.prepare import new_run_id
from vmferry.steps.read import read_fleet

_EVERY_S = 5.0
SUBJECT = "fleet"  # one roll at a time is the last one


def do_command(host: str, work: WorkOptions, world: World) -> CommandDone:
    """Run the operator's command on the host; raises PermanentError when it fails."""
    done = world.tools(host).run_command(work.command, work.timeout_s)
    if done.exit_code != 0:
        said = f": {done.output[-500:]}" if done.output else ""
        raise PermanentError(f"host {host}: `{' '.join(work.command)}` ended with {done.exit_code}{said}", host=host)
    return done


def reboot_host(host: str, before: BootFacts, timeout_s: float, world: World) -> BootFacts:
    """Reboot the host and wait until it is back; raises PermanentError when it is not in time.

    Nothing is done to bring it back: its VMs are elsewhere, and it may need a person at its console.
    """
    world.tools(host).reboot()
    ends_at, last = world.clock.now() + timedelta(seconds=timeout_s), "it did not answer"
    while world.clock.now() < ends_at:
        world.clock.sleep(_EVERY_S)
        try:
            boot = world.tools(host).read_boot()
        except VmferryError as error:
            last = str(error)
            continue
        if boot.boot_id != before.boot_id:
            return boot
        last = "it answers, and has not rebooted yet"
    raise PermanentError(
        f"host {host}: is not back {timeout_s:.0f} s after its reboot: {last}; look at its console; it stays closed "
        "for arrivals",
        host=host,
    )


def read_before(host: str, world: World) -> tuple[HostFacts, BootFacts]:
    """Return how the host is before anything is done to it; raises PermanentError when it is not well even now."""
    facts = _facts(read_fleet(world, [host]), host)
    if isinstance(facts, str):
        raise PermanentError(f"host {host}: cannot be read before the work: {facts}; see `vmferry hosts`", host=host)
    return facts, world.tools(host).read_boot()


def await_health(
    roll: HostRoll, before: HostFacts, timeout_s: float, world: World, *, rebooted: bool
) -> tuple[str, ...]:
    """Look until the host is as well as it was; return what is still wrong when time is over, empty when it is well."""
    entry = world.inventory.find(roll.host)
    ends_at = world.clock.now() + timedelta(seconds=timeout_s)
    while True:
        wrong: tuple[str, ...]
        facts = _facts(read_fleet(world, [roll.host]), roll.host)
        if isinstance(facts, str) or entry is None or roll.boot_before is None:
            wrong = (f"it cannot be read: {facts}",)
        else:
            try:
                boot = world.tools(roll.host).read_boot()
                wrong = unhealthy(entry, before, facts, roll.boot_before, boot, rebooted=rebooted)
            except VmferryError as error:
                wrong = (str(error),)
        if not wrong or world.clock.now() >= ends_at:
            return wrong
        world.clock.sleep(_EVERY_S)


def _facts(snapshot: FleetSnapshot, host: str) -> HostFacts | str:
    facts = snapshot.facts(host)
    if facts is not None:
        return facts
    return next((gone.reason for gone in snapshot.unreachable if gone.host == host), "it was not read")


def save_roll(
    request: RollRequest, hosts: tuple[HostRoll, ...], world: World, before: SavedOperation | None, *, is_over: bool
) -> SavedOperation:
    """Write down how far the roll has come."""
    now = world.clock.now()
    saved = SavedOperation(
        id=before.id if before is not None else new_run_id(now),
        kind=OperationKind.ROLL,
        subject=SUBJECT,
        content=SavedRoll(request=request, hosts=hosts).model_dump_json(),
        is_over=is_over,
        owner=world.journal.owner,
        started_at=before.started_at if before is not None else now,
        changed_at=now,
    )
    world.journal.save_operation(saved)
    return saved


def find_roll(world: World) -> tuple[SavedOperation, SavedRoll]:
    """Return the roll that is to be continued; raises InvalidInput where there is none."""
    saved = world.journal.last_operation(OperationKind.ROLL, SUBJECT)
    if saved is None or saved.is_over:
        raise InvalidInput("roll: none is to be continued; begin one: vmferry roll HOST HOST …")
    try:
        return saved, SavedRoll.model_validate_json(saved.content)
    except ValidationError as error:
        raise InvalidInput(
            f"roll {saved.id}: was written by another version and cannot be continued ({error.error_count()} problems)"
        ) from error
