"""What must hold after a run on the simulated fleet, whatever has befallen it, and what a human does who is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from tests.unit.steps.voyage import DEST, SOURCE, Voyage
from vmferry.adapters.simulated import Blow, Fault
from vmferry.model.effects import VolumeMade
from vmferry.model.journal import RunState
from vmferry.model.migration import OutcomeKind
from vmferry.model.vm import DomainState
from vmferry.steps.names import StepName

UNTOLD = "whether it is this run's cannot be told"
TOUCHING = tuple(step for step in StepName if step is not StepName.RESERVE)


def wrongs_of(voyage: Voyage, fault: Fault) -> Iterator[str]:
    """Yield every broken promise after a run was settled with all hosts healed."""
    for problem in voyage.fleet.problems():
        yield problem.words()
    record = voyage.record()
    if record is not None and record.state is RunState.CLOSED:
        yield from (f"the mark is left on {host}" for host in (SOURCE, DEST) if voyage.marks_on(host))
    match record.state if record is not None else RunState.CLOSED:
        case RunState.OPEN:
            yield "the run is open: neither closed nor held"
        case RunState.HELD:
            yield from _held(voyage, fault)
        case RunState.CLOSED if record is not None and record.outcome is OutcomeKind.MOVED:
            yield from _moved(voyage, fault)
        case RunState.CLOSED:
            yield from _rolled_back(voyage, fault)


def _held(voyage: Voyage, fault: Fault) -> Iterator[str]:
    """Only what no look can tell needs a human: a QEMU that ended, and a volume of which nobody knows whose it is."""
    reason = voyage.outcome and voyage.outcome.reason
    if _may_be_anybodys(voyage):
        if UNTOLD not in (reason or ""):
            yield f"held, and does not tell of the volume: {reason}"
        yield from _stays(voyage, fault)
        return
    if fault.does not in (Blow.POWER_CUT, Blow.QEMU_KILLED):
        yield f"held after {fault.does}: {reason}"
    domain = voyage.fleet.domain(DEST, voyage.uuid)
    has_lost_memory = domain is not None and domain.reason == "post-copy failed"  # its guest stands still
    if voyage.fleet.running_on(voyage.uuid) and not has_lost_memory:
        yield f"held, but runs on {voyage.fleet.running_on(voyage.uuid)}"


def _may_be_anybodys(voyage: Voyage) -> bool:
    """Whether the run ended just while a volume was made, and one is there."""
    effects = [row.effect for row in voyage.journal.rows(voyage.run) if isinstance(row.effect, VolumeMade)]
    is_there = any(effect.path in voyage.files(DEST) for effect in effects)
    return is_there and not any(effect.device_id for effect in effects)


def do_as_told(voyage: Voyage) -> None:
    """Be the human who types what a held run says, and nothing else; then `vmferry recover`."""
    assert voyage.outcome is not None
    fleet, told = voyage.fleet, "\n".join((*voyage.outcome.next_commands, voyage.outcome.reason))
    with fleet.watch.blaming("a human"):
        for uri, act in re.findall(r"virsh -c '([^']+)' (start|resume|destroy) ", told):
            host = next(entry.name for entry in fleet.inventory.hosts if entry.uri == uri)
            domain = fleet.domain(host, voyage.uuid)
            if act == "start" and domain is not None:
                fleet.start(fleet.hosts[host], domain)
            elif act == "resume":
                fleet.hypervisor(host).resume(voyage.uuid)
            elif act == "destroy":
                fleet.hypervisor(host).destroy(voyage.uuid)
        if "create it anew" in told:
            fleet.add_vm(SOURCE, voyage.vm, is_persistent=False)
        for pool, volume in re.findall(r"virsh vol-delete --pool (\S+) (\S+?)`", told):
            fleet.hypervisor(DEST).delete_volume(pool, volume)
    voyage.process()
    voyage.recover_all()


def wrongs_after_help(voyage: Voyage) -> Iterator[str]:
    """Yield the promises that are broken after a human did as told: the VM runs, on one host, and nothing is left."""
    fleet, record = voyage.fleet, voyage.record()
    for problem in fleet.problems():
        yield problem.words()
    if record is None or record.state is not RunState.CLOSED:
        yield f"a human did as told, and still: {voyage.outcome and voyage.outcome.reason}"
        return
    is_moved = record.outcome is OutcomeKind.MOVED
    here, away = (DEST, SOURCE) if is_moved else (SOURCE, DEST)
    may_run = ((), (here,)) if voyage.scenario.state is DomainState.SHUTOFF else ((here,),)
    if fleet.running_on(voyage.uuid) not in may_run:
        yield f"{record.outcome} with a human's help, but runs on {fleet.running_on(voyage.uuid)}"
    if fleet.domain(away, voyage.uuid) is not None:
        yield f"{record.outcome} with a human's help, but {away} has it too"
    if not is_moved and voyage.files(DEST) != voyage.before:
        yield f"rolled back with a human's help, but the destination's files are {sorted(voyage.files(DEST))}"


def _moved(voyage: Voyage, fault: Fault) -> Iterator[str]:
    scenario, fleet = voyage.scenario, voyage.fleet
    # A destination that reboots at the end of an offline move starts the VM by its autostart flag.
    has_booted = fault.does is Blow.POWER_CUT and (fault.target or fault.host) == DEST and scenario.is_autostart
    if has_booted and voyage.state_on(DEST) is DomainState.RUNNING:
        scenario = replace(scenario, state=DomainState.RUNNING)
    if fleet.running_on(voyage.uuid) != ((DEST,) if scenario.must_run else ()):
        yield f"moved, but runs on {fleet.running_on(voyage.uuid)}"
    if voyage.state_on(DEST) is not scenario.state:
        yield f"moved, but {voyage.state_on(DEST)} at the destination"
    if voyage.state_on(SOURCE) is not DomainState.ABSENT:
        yield f"moved, but {voyage.state_on(SOURCE)} at the source"
    if fleet.defined_on(voyage.uuid) != ((DEST,) if scenario.is_persistent else ()):
        yield f"moved, but defined on {fleet.defined_on(voyage.uuid)}"
    if voyage.autostart_on(DEST) is not scenario.is_autostart:
        yield f"moved, but autostart is {voyage.autostart_on(DEST)}"
    brought = (*voyage.plan.files, *voyage.plan.disks)
    images = {copy.dest_path for copy in brought}
    if voyage.files(DEST) != voyage.before | images:
        yield f"moved, but the destination's files are {sorted(voyage.files(DEST))}"
    stays = {copy.source_path for copy in voyage.plan.files if copy.is_device}
    aside = {f"{copy.source_path}.vmferry-moved-{voyage.run}" for copy in brought if copy.source_path not in stays}
    if not aside <= voyage.files(SOURCE) or images & voyage.files(SOURCE) != stays:
        yield f"moved, but the source's files are {sorted(voyage.files(SOURCE))}"


def _rolled_back(voyage: Voyage, fault: Fault) -> Iterator[str]:
    yield from _stays(voyage, fault)
    if voyage.files(DEST) != voyage.before:
        yield f"rolled back, but the destination's files are {sorted(voyage.files(DEST))}"


def _stays(voyage: Voyage, fault: Fault) -> Iterator[str]:
    scenario, fleet = voyage.scenario, voyage.fleet
    has_rebooted = fault.does is Blow.POWER_CUT and (fault.target or fault.host) == SOURCE
    if has_rebooted:
        yield from _rebooted(voyage)
    else:
        if fleet.running_on(voyage.uuid) != ((SOURCE,) if scenario.must_run else ()):
            yield f"rolled back, but runs on {fleet.running_on(voyage.uuid)}"
        if voyage.state_on(SOURCE) is not scenario.state:
            yield f"rolled back, but {voyage.state_on(SOURCE)} at the source"
    if voyage.state_on(DEST) is not DomainState.ABSENT:
        yield f"rolled back, but {voyage.state_on(DEST)} at the destination"
    if fleet.defined_on(voyage.uuid) != ((SOURCE,) if scenario.is_persistent else ()):
        yield f"rolled back, but defined on {fleet.defined_on(voyage.uuid)}"
    if voyage.autostart_on(SOURCE) is not scenario.is_autostart:
        yield f"rolled back, but autostart is {voyage.autostart_on(SOURCE)}"


def _rebooted(voyage: Voyage) -> Iterator[str]:
    """A host that boots starts its VMs by their autostart flag, whatever they were before."""
    state = voyage.state_on(SOURCE)
    if state is DomainState.RUNNING and not voyage.scenario.is_autostart:
        yield "rolled back, and something started it at the source"
    is_untouched = not any(row.step in TOUCHING for row in voyage.journal.rows(voyage.run))
    if state is not DomainState.RUNNING and voyage.scenario.must_run and not is_untouched:
        yield f"rolled back, but {state} at the source"
