"""The storage step on a simulated fleet: it may be repeated, layers are shared, and nothing of others is touched."""

from __future__ import annotations

import pytest

from tests.unit.steps.voyage import DEST, SCENARIOS, SOURCE, Voyage
from vmferry.adapters.simulated import LOCAL, Blow, Fault, SimulatedCrash
from vmferry.errors import CopyFailed, PermanentError, TransientError, VmferryError
from vmferry.model.disks import CopyKind, FileCopy
from vmferry.model.effects import FileMade
from vmferry.model.migration import OutcomeKind
from vmferry.model.vm import DomainState
from vmferry.steps.forward import run_step
from vmferry.steps.names import StepName
from vmferry.steps.recover import recover
from vmferry.steps.storage import bring_storage, staging_path

BASE = f"{LOCAL}/base.qcow2"


def begun(*more: FileCopy) -> Voyage:
    """An offline move with two disks, before its storage step; `more` files come first."""
    voyage = Voyage(SCENARIOS["offline"])
    voyage.plan = voyage.plan.model_copy(update={"files": (*more, *voyage.plan.files)})
    voyage.world.journal.open_run(voyage.plan)
    run_step(voyage.run, StepName.RESERVE, voyage.world)
    return voyage


def layer(**fields: object) -> FileCopy:
    given = {"source_path": BASE, "dest_path": BASE, "size_bytes": 4, "allocated_bytes": 4, "kind": CopyKind.BACKING}
    return FileCopy(**{**given, **fields})


def layered(**fields: object) -> Voyage:
    voyage = begun(layer(**fields))
    voyage.fleet.add_file(SOURCE, BASE, b"base")
    return voyage


def made(voyage: Voyage) -> set[str]:
    rows = voyage.world.journal.rows(voyage.run)
    return {row.effect.path for row in rows if isinstance(row.effect, FileMade)}


@pytest.mark.parametrize("op", ["copy_file", "publish"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_step_that_failed_or_died_is_simply_done_again(op: str, nth: int) -> None:
    for blow in (Blow.TRANSIENT, Blow.CRASH_BEFORE, Blow.CRASH_AFTER):
        voyage = begun()
        voyage.fleet.inject(Fault(does=blow, op=op, nth=nth))
        with pytest.raises((TransientError, SimulatedCrash)):
            run_step(voyage.run, StepName.STORAGE, voyage.world)
        for step in StepName:
            run_step(voyage.run, step, voyage.world)
        assert voyage.files(DEST) == voyage.before | {copy.dest_path for copy in voyage.plan.files}
        assert voyage.fleet.problems() == ()


def test_a_name_that_was_given_while_the_staged_one_stayed_counts_as_done() -> None:
    voyage = begun()
    copy = voyage.plan.files[0]
    run_step(voyage.run, StepName.STORAGE, voyage.world)
    host, staging = voyage.fleet.hosts[DEST], staging_path(voyage.plan, copy)
    file = host.file(copy.dest_path)
    assert file is not None
    host.put(staging, file)  # the second name of a process that died in between
    voyage.process()
    bring_storage(voyage.plan, voyage.world)
    assert voyage.files(DEST) == voyage.before | {one.dest_path for one in voyage.plan.files}


def test_a_layer_that_is_there_to_the_bit_is_used_and_survives_undo() -> None:
    voyage = layered()
    voyage.fleet.add_file(DEST, BASE, b"base")
    run_step(voyage.run, StepName.STORAGE, voyage.world)
    assert BASE not in made(voyage)
    assert recover(voyage.run, voyage.world, cause="enough").kind is OutcomeKind.ROLLED_BACK
    assert voyage.files(DEST) == voyage.before | {BASE}


def test_a_layer_with_another_content_is_not_used_and_not_touched() -> None:
    voyage = layered()
    voyage.fleet.add_file(DEST, BASE, b"evil")
    with pytest.raises(CopyFailed, match="another content"):
        run_step(voyage.run, StepName.STORAGE, voyage.world)
    assert recover(voyage.run, voyage.world).kind is OutcomeKind.ROLLED_BACK
    file = voyage.fleet.hosts[DEST].file(BASE)
    assert file is not None and file.content == b"evil"


def test_a_layer_that_this_run_brought_goes_with_undo_unless_a_domain_there_builds_on_it() -> None:
    voyage = layered()
    run_step(voyage.run, StepName.STORAGE, voyage.world)
    assert recover(voyage.run, voyage.world, cause="enough").kind is OutcomeKind.ROLLED_BACK
    assert voyage.files(DEST) == voyage.before

    voyage = layered()
    run_step(voyage.run, StepName.STORAGE, voyage.world)
    voyage.fleet.add_file(DEST, f"{LOCAL}/other.qcow2", b"other")
    overlay = voyage.fleet.hosts[DEST].file(f"{LOCAL}/other.qcow2")
    assert overlay is not None
    overlay.backing = "base.qcow2"
    voyage.fleet.add_vm(DEST, "other", disks=(f"{LOCAL}/other.qcow2",))
    assert recover(voyage.run, voyage.world, cause="enough").kind is OutcomeKind.ROLLED_BACK
    assert voyage.files(DEST) == voyage.before | {BASE, f"{LOCAL}/other.qcow2"}


RICH = "offline with layer, TPM and volume"


def rich() -> tuple[Voyage, str]:
    """A move that makes a volume, before its storage step, and the volume's path."""
    voyage = Voyage(SCENARIOS[RICH])
    voyage.world.journal.open_run(voyage.plan)
    run_step(voyage.run, StepName.RESERVE, voyage.world)
    return voyage, voyage.plan.files[-1].dest_path


def test_a_volume_is_made_filled_and_with_undo_deleted() -> None:
    voyage, volume = rich()
    run_step(voyage.run, StepName.STORAGE, voyage.world)
    made, original = voyage.fleet.hosts[DEST].file(volume), voyage.fleet.hosts[SOURCE].file(volume)
    assert made is not None and original is not None
    assert (made.is_block, made.content) == (True, original.content)
    assert recover(voyage.run, voyage.world, cause="enough").kind is OutcomeKind.ROLLED_BACK
    assert voyage.files(DEST) == voyage.before


def test_a_copy_onto_a_volume_that_broke_off_goes_on_in_it() -> None:
    voyage, volume = rich()
    voyage.fleet.inject(Fault(does=Blow.TRANSIENT, op="copy_file", nth=4))
    with pytest.raises(TransientError):
        run_step(voyage.run, StepName.STORAGE, voyage.world)
    before = voyage.fleet.hosts[DEST].file(volume)
    for step in StepName:
        run_step(voyage.run, step, voyage.world)
    after = voyage.fleet.hosts[DEST].file(volume)
    assert before is not None and after is not None and before.device_id == after.device_id
    assert volume in voyage.files(SOURCE)


def test_a_volume_of_somebody_else_is_neither_written_to_nor_deleted() -> None:
    for is_seen in (True, False):
        voyage, volume = rich()
        if is_seen:
            voyage.fleet.add_file(DEST, volume, b"precious", device_id="LVM-theirs")
        else:  # libvirt refuses, which is all that is heard of it
            voyage.fleet.inject(Fault(does=Blow.PERMANENT, op="create_volume"))
        with pytest.raises(PermanentError):
            run_step(voyage.run, StepName.STORAGE, voyage.world)
        assert recover(voyage.run, voyage.world).kind is OutcomeKind.ROLLED_BACK
        file = voyage.fleet.hosts[DEST].file(volume)
        assert (file.content if file else None) == (b"precious" if is_seen else None)


def test_a_volume_of_which_nobody_knows_whose_it_is_holds_the_run_until_a_human_has_looked() -> None:
    voyage, volume = rich()
    voyage.fleet.inject(Fault(does=Blow.LOST_ANSWER, op="create_volume"))
    with pytest.raises(VmferryError):
        run_step(voyage.run, StepName.STORAGE, voyage.world)
    outcome = recover(voyage.run, voyage.world)
    assert outcome.kind is OutcomeKind.HELD and f"vol-delete --pool vg0 {voyage.vm}" in outcome.reason
    assert volume in voyage.files(DEST)
    voyage.world.hypervisor(DEST).delete_volume("vg0", voyage.vm)
    assert recover(voyage.run, voyage.world).kind is OutcomeKind.ROLLED_BACK
    assert voyage.files(DEST) == voyage.before


def test_a_volume_that_another_vm_has_come_to_use_is_not_deleted() -> None:
    voyage, volume = rich()
    run_step(voyage.run, StepName.STORAGE, voyage.world)
    voyage.fleet.add_vm(DEST, "heir", disks=(volume,), state=DomainState.SHUTOFF)
    outcome = recover(voyage.run, voyage.world, cause="enough")
    assert outcome.kind is OutcomeKind.HELD and "named by heir" in outcome.reason
    assert volume in voyage.files(DEST)


def test_a_layer_that_others_use_stays_at_the_source() -> None:
    voyage = layered(is_kept=True)
    for step in StepName:
        run_step(voyage.run, step, voyage.world)
    assert BASE in voyage.files(SOURCE) and BASE in voyage.files(DEST)


def test_a_header_is_changed_after_the_copy_was_proved() -> None:
    voyage = begun()
    top = voyage.plan.files[0].model_copy(update={"rebase": "/srv/there/base.qcow2", "rebase_format": "qcow2"})
    bring_storage(voyage.plan.model_copy(update={"files": (top,)}), voyage.world)
    assert voyage.fleet.tools(DEST).backing_files([top.dest_path]) == {top.dest_path: "/srv/there/base.qcow2"}
    assert voyage.fleet.tools(SOURCE).backing_files([top.source_path]) == {}
