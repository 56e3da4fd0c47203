"""Block devices that VMs have left: told with the command that gives them back, never deleted by vmferry. Pure.

A device has no name of its own to be set aside under, and what lies on it may be an operator's only way back.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from vmferry.model.audit import FileKind
from vmferry.model.effects import VolumeKept
from vmferry.model.facts import FileFacts
from vmferry.model.journal import RunState
from vmferry.model.migration import OutcomeKind
from vmferry.model.purge import Fate, KnownRun, LeftFile, PurgeEvidence
from vmferry.planning.places import Key, Places


def judge_volumes(evidence: PurgeEvidence, places: Places, named: Mapping[Key, str]) -> Iterator[LeftFile]:
    """Yield every device that is still there, each once, under the last run that left it; all of them are KEPT."""
    last: dict[tuple[str, str], tuple[KnownRun, VolumeKept]] = {}
    for _, known in sorted(evidence.runs.items()):
        for effect in (row.effect for row in known.rows):
            if isinstance(effect, VolumeKept):
                last[effect.host, effect.path] = (known, effect)
    for (host, path), (known, effect) in sorted(last.items()):
        seen = evidence.stats.get(host, {}).get(path)
        if seen is None or not seen.is_block or seen.device_id != effect.device_id or host not in places.fleet.sides:
            continue  # it is gone, or another one has its name
        plan = known.record.plan
        doubts = tuple(_doubts(places, named, known, effect))
        yield LeftFile(
            kind=FileKind.VOLUME,
            host=host,
            path=path,
            run=plan.run,
            vm=plan.vm,
            uuid=str(plan.uuid),
            copy_path=next((c.dest_path for c in plan.files if c.source_path == path), ""),
            size_bytes=seen.size_bytes,
            allocated_bytes=seen.size_bytes,
            seen=seen,
            fate=Fate.KEPT,
            reason="; ".join(doubts) or _command(places, effect, seen),
        )


def _doubts(places: Places, named: Mapping[Key, str], known: KnownRun, effect: VolumeKept) -> Iterator[str]:
    record, plan = known.record, known.record.plan
    if record.state is not RunState.CLOSED or record.outcome is not OutcomeKind.MOVED:
        yield f"run {plan.run} has not moved vm {plan.vm} to its end ({record.outcome or record.state})"
    homes = [name for name, side in places.fleet.sides.items() if plan.uuid in side.by_uuid]
    if homes != [plan.dest]:
        yield f"vm {plan.vm} is on {' and '.join(homes) or 'no host'}, run {plan.run} took it to {plan.dest}"
    for key in sorted(places.keys(effect.host, effect.path)):
        if key in named:
            yield f"{named[key]} names it"


def _command(places: Places, effect: VolumeKept, seen: FileFacts) -> str:
    """Say what gives the space back once nobody wants the old content."""
    host = places.fleet.side(effect.host).host
    why = "vmferry deletes no volumes; when its old content is not wanted any more run"
    if effect.pool and effect.volume:
        words = ["virsh", "-c", host.uri, "vol-delete", "--pool", effect.pool, effect.volume]
        return f"{why} `{shlex.join(words)}`"
    if seen.device_id.startswith("LVM-"):
        return f"{why} `ssh {host.ssh.address} {shlex.join(['lvremove', effect.path])}`"
    return f"vmferry deletes no devices; see what it is with `ssh {host.ssh.address} lsblk {effect.path}`"
