"""Whether a guest answers, before and after its move."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from vmferry.errors import VmferryError
from vmferry.model.probes import Probe, ProbeKind
from vmferry.planning.probes import went_silent
from vmferry.ports import World

_EVERY_S = 2.0


def ask(uuid: UUID, host: str, probes: Sequence[Probe], world: World) -> dict[str, str]:
    """Return what is wrong by probe, empty for one that is answered; never raises."""
    return {probe.words(): _ask(uuid, host, probe, world) for probe in probes}


def _ask(uuid: UUID, host: str, probe: Probe, world: World) -> str:
    if probe.kind is not ProbeKind.AGENT:
        return world.ask_guest(probe)
    try:
        return "" if world.hypervisor(host).ping_agent(uuid) else "the agent does not answer"
    except VmferryError as error:
        return str(error)


def await_answers(
    uuid: UUID, host: str, probes: Sequence[Probe], before: dict[str, str], wait_s: float, world: World
) -> tuple[str, ...]:
    """Ask until all that was answered before is answered again; return what is not after so long."""
    ends_at = world.clock.now() + timedelta(seconds=wait_s)
    while True:
        silent = went_silent(before, ask(uuid, host, probes, world))
        if not silent or world.clock.now() >= ends_at:
            return silent
        world.clock.sleep(_EVERY_S)
