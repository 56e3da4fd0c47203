"""Purge on the simulated fleet: what an offline move left goes when everything speaks for it, and only then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.unit.steps.voyage import DEST, GROUP, SCENARIOS, SOURCE, Voyage
from vmferry.adapters.simulated import LOCAL, SHARED, Blow, Fault, SimulatedCrash
from vmferry.errors import InvalidInput, VmferryError
from vmferry.model.audit import FileKind
from vmferry.model.disks import FileCopy
from vmferry.model.journal import Mark
from vmferry.model.migration import DomainChanges
from vmferry.model.purge import Fate, LeftFile, PurgeReport
from vmferry.model.vm import DomainState
from vmferry.planning.orphans import find_orphans
from vmferry.rules.case import Fleet
from vmferry.steps.purge import PURGE, list_left, read_evidence, remove_left

DAY_S = 86400.0


class Yard(Voyage):
    """A VM with two disks that was moved offline; its images lie aside on the source."""

    def __init__(self, scenario: str = "offline", asides: int = 2) -> None:
        super().__init__(SCENARIOS[scenario])
        self.sail()
        # The journal writes down real time, the fleet has a time of its own: from here on they agree.
        self.fleet.advance((datetime.now(UTC) - self.fleet.now()).total_seconds())
        self.asides = sorted(path for path in self.files(SOURCE) if ".vmferry-moved-" in path)
        assert len(self.asides) == asides

    def wait(self, days: float) -> None:
        """Let time pass."""
        self.fleet.advance(days * DAY_S)

    def judge(self, days: float = 7.0, *hosts: str) -> PurgeReport:
        """List what is left."""
        return list_left(self.world, hosts, days)

    def reasons(self, days: float = 7.0) -> str:
        """Say why all of it is kept."""
        report = self.judge(days)
        assert [file.fate for file in report.files] == [Fate.KEPT] * len(report.files) != []
        return "; ".join(file.reason for file in report.files)

    def remove(self, days: float = 7.0) -> tuple[LeftFile, ...]:
        """Remove what may go."""
        return tuple(remove_left(file, self.world) for file in self.judge(days).of(Fate.REMOVABLE))

    def image(self, number: int = 0) -> str:
        """Return the name that an image had."""
        return f"{LOCAL}/{self.vm}-{number}.qcow2"


@pytest.fixture
def yard() -> Yard:
    made = Yard()
    made.wait(8)
    return made


def test_old_images_of_a_vm_that_is_at_its_new_place_go_and_nothing_else(yard: Yard) -> None:
    before = {host: yard.files(host) for host in (SOURCE, DEST)}
    report = yard.judge()
    assert [(f.host, f.path, f.kind, f.fate, f.reason, f.vm) for f in report.files] == [
        (SOURCE, path, FileKind.SET_ASIDE, Fate.REMOVABLE, "", yard.vm) for path in yard.asides
    ]
    assert report.problems == ()
    assert yard.files(SOURCE) == before[SOURCE]
    assert [file.fate for file in yard.remove()] == [Fate.REMOVED] * 2
    assert yard.files(SOURCE) == before[SOURCE] - set(yard.asides)
    assert yard.files(DEST) == before[DEST]
    assert yard.judge().files == ()
    assert yard.fleet.problems() == ()


def test_the_journal_holds_intent_and_end_of_every_removal(yard: Yard) -> None:
    yard.remove()
    rows = [row for row in yard.world.journal.rows(yard.run) if row.step == PURGE]
    assert [row.mark for row in rows] == [Mark.INTENDED, Mark.DONE] * 2
    assert yard.asides[0] in rows[0].note and SOURCE in rows[0].note and "bytes" in rows[0].note


def test_the_grace_time_keeps_young_ones() -> None:
    yard = Yard()
    assert "its run ended 0 min ago" in yard.reasons() and "the grace time is 7 d" in yard.reasons()
    yard.wait(6.9)
    assert "the grace time" in yard.reasons()
    yard.wait(0.2)
    assert [file.fate for file in yard.judge().files] == [Fate.REMOVABLE] * 2


def test_a_grace_time_of_nothing_removes_at_once() -> None:
    yard = Yard()
    yard.wait(0.001)
    assert [file.fate for file in yard.remove(0)] == [Fate.REMOVED] * 2


def test_a_run_that_ended_in_the_future_is_no_old_one() -> None:
    """A clock that was set back must not make a fresh image look old."""
    yard = Yard()
    yard.fleet.seconds -= 7200
    assert "its run ended -2 h ago" in yard.reasons(0)


def test_layers_and_tpm_state_go_and_a_volume_is_told_with_the_command_that_deletes_it() -> None:
    yard = Yard("offline with layer, TPM and volume", asides=3)
    yard.wait(8)
    volume = f"{GROUP.target}/{yard.vm}"
    (layer,) = (path for path in yard.asides if "-base.qcow2" in path)
    kept = {file.path: file.reason for file in yard.judge().of(Fate.KEPT)}
    assert list(kept) == [volume, layer]
    assert kept[volume].endswith(f"vol-delete --pool vg0 {yard.vm}`")
    assert "builds on it by its former name" in kept[layer]  # the image that was set aside with it goes first
    assert [file.fate for file in yard.remove()] == [Fate.REMOVED] * 2
    assert [file.path for file in yard.remove()] == [layer]
    assert volume in yard.files(SOURCE) and yard.fleet.problems() == ()

    yard.fleet.add_vm(SOURCE, "heir", disks=(volume,), state=DomainState.SHUTOFF)
    (file,) = yard.judge().files
    assert "vm heir on kvm1 names it" in file.reason and "vol-delete" not in file.reason

    yard.fleet.add_file(SOURCE, volume, device_id="LVM-another")
    assert yard.judge().files == ()


def _gone(yard: Yard) -> None:
    yard.fleet.hosts[DEST].domains.clear()


def _twice(yard: Yard) -> None:
    yard.fleet.add_vm(SOURCE, yard.vm, disks=[f"{SHARED}/x"], state=DomainState.SHUTOFF)


def _back(yard: Yard) -> None:
    yard.fleet.hosts[SOURCE].domains |= yard.fleet.hosts[DEST].domains
    yard.fleet.hosts[DEST].domains.clear()


def _no_copy(yard: Yard) -> None:
    for number in range(2):
        yard.fleet.hosts[DEST].take(yard.image(number))


def _short_copy(yard: Yard) -> None:
    for number in range(2):
        file = yard.fleet.hosts[DEST].file(yard.image(number))
        assert file is not None
        file.size_bytes = 4096


def _linked_copy(yard: Yard) -> None:
    """Somebody saved space: the copy was replaced by a link to the image that is aside (undeclared shared storage)."""
    for number, aside in enumerate(yard.asides):
        file = yard.fleet.hosts[SOURCE].file(aside)
        assert file is not None
        yard.fleet.hosts[DEST].put(yard.image(number), file)


def _other_disk(yard: Yard) -> None:
    _gone(yard)
    assert yard.fleet.add_vm(DEST, yard.vm, disks=[f"{LOCAL}/restored.qcow2"], state=DomainState.SHUTOFF) == yard.uuid


def _host_lost(yard: Yard) -> None:
    yard.fleet.cut_power(DEST)


def _named(yard: Yard) -> None:
    yard.fleet.add_vm(SOURCE, "rescue", disks=yard.asides, state=DomainState.SHUTOFF)


def _named_through_a_link(yard: Yard) -> None:
    """Two paths, one file: a symbolic link, or a directory of the inventory that is one."""
    for number, aside in enumerate(yard.asides):
        file = yard.fleet.hosts[SOURCE].file(aside)
        assert file is not None
        yard.fleet.hosts[SOURCE].put(f"/vm/link{number}", file)
    yard.fleet.add_vm(SOURCE, "rescue", disks=["/vm/link0", "/vm/link1"], state=DomainState.SHUTOFF)


def _named_as_before(yard: Yard) -> None:
    images = [yard.image(0), yard.image(1)]
    yard.fleet.add_vm(SOURCE, "twin", disks=images, state=DomainState.SHUTOFF)
    for image in images:
        yard.fleet.hosts[SOURCE].take(image)


def _built_on(yard: Yard) -> None:
    for number, aside in enumerate(yard.asides):
        yard.fleet.add_file(SOURCE, f"{LOCAL}/snap{number}.qcow2")
        file = yard.fleet.hosts[SOURCE].file(f"{LOCAL}/snap{number}.qcow2")
        assert file is not None
        file.backing = aside.rpartition("/")[2]  # relative, as most are


def _built_on_as_before(yard: Yard) -> None:
    """A linked clone whose base went aside with another VM: it is broken, and all that it needs is still there."""
    for number in range(2):
        yard.fleet.add_vm(SOURCE, f"clone{number}", disks=[f"/data/clone{number}.qcow2"], state=DomainState.SHUTOFF)
        file = yard.fleet.hosts[SOURCE].file(f"/data/clone{number}.qcow2")
        assert file is not None
        file.backing = yard.image(number)


def _built_on_in_qemus_words(yard: Yard) -> None:
    _built_on(yard)
    for number, aside in enumerate(yard.asides):
        file = yard.fleet.hosts[SOURCE].file(f"{LOCAL}/snap{number}.qcow2")
        assert file is not None
        file.backing = f'json:{{"driver": "qcow2", "file": {{"filename": "{aside}"}}}}'


def _written(yard: Yard) -> None:
    for aside in yard.asides:
        file = yard.fleet.hosts[SOURCE].file(aside)
        assert file is not None
        file.mtime_ns = round(yard.fleet.now().timestamp() * 10**9)


def _blind(yard: Yard) -> None:
    yard.fleet.inject(Fault(does=Blow.PERMANENT, op="backing_files", host=SOURCE))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_gone, "is on no host"),
        (_twice, "which one counts cannot be told"),
        (_back, "is not on kvm2, where run"),
        (_no_copy, "is missing"),
        (_short_copy, "has 4096 bytes, 10737418240 were copied"),
        (_linked_copy, "looks like the very same file"),
        (_other_disk, "does not use its copy"),
        (_host_lost, "kvm2 was not read"),
        (_named, "vm rescue on kvm1 names it"),
        (_named_through_a_link, "vm rescue on kvm1 (/vm/link0) uses the very same file"),
        (_named_as_before, "vm twin on kvm1 names it by its former name"),
        (_built_on, "snap0.qcow2 on kvm1 builds on it"),
        (_built_on_as_before, "clone0.qcow2 on kvm1 builds on it by its former name"),
        (_built_on_in_qemus_words, "may build on it"),
        (_blind, "the files of kvm1 could not be looked at"),
        (_written, "it was written to after its run had ended"),
    ],
)
def test_what_is_in_doubt_is_kept(yard: Yard, change: Callable[[Yard], None], words: str) -> None:
    change(yard)
    assert words in yard.reasons()


def test_a_former_name_that_another_file_has_now_is_no_doubt(yard: Yard) -> None:
    """A new VM has an image of the old name: it is its own, whatever went aside before."""
    yard.fleet.add_vm(SOURCE, "newcomer", disks=[yard.image(0), yard.image(1)], state=DomainState.SHUTOFF)
    assert [file.fate for file in yard.judge().files] == [Fate.REMOVABLE] * 2


def test_a_file_that_is_only_named_alike_is_kept(yard: Yard) -> None:
    for path, words in (
        (f"{LOCAL}/precious.qcow2.vmferry-moved-{yard.run}", "did not leave a file of this name"),
        (f"{LOCAL}/precious.qcow2.vmferry-moved-20240101-000000-aaaaaaaa", "is not in this journal"),
        (f"{LOCAL}/.vmferry-{yard.run}/precious.qcow2", "did not leave a file of this name"),
        (f"{yard.asides[0]}.vmferry-moved-{yard.run}", "is not in this journal"),
    ):
        yard.fleet.add_file(SOURCE, path)
        (judged,) = (file for file in yard.judge().files if file.path == path)
        assert (judged.fate, words in judged.reason) == (Fate.KEPT, True)
    # The same name on the host where the run left none.
    yard.fleet.add_file(DEST, yard.asides[0])
    (judged,) = yard.judge(7, DEST).files
    assert "did not leave a file of this name on kvm2" in judged.reason
    yard.remove()
    assert len([path for path in yard.files(SOURCE) if "precious" in path or path.count("moved") == 2]) == 4


def test_a_run_that_is_open_keeps_its_files(yard: Yard) -> None:
    plan = yard.plan.model_copy(update={"run": "20250101-000000-again", "source": DEST, "dest": SOURCE})
    yard.world.journal.open_run(plan)
    assert "run 20250101-000000-again of vm" in yard.reasons()


def test_only_the_hosts_asked_for_are_purged(yard: Yard) -> None:
    assert yard.judge(7, DEST).files == ()
    assert len(yard.judge(7, SOURCE).files) == 2
    with pytest.raises(InvalidInput, match="not in the inventory: kvm7"):
        yard.judge(7, "kvm7")


def test_left_parts_of_a_copy_that_was_rolled_back_go() -> None:
    voyage = Voyage(SCENARIOS["offline"])
    voyage.fleet.inject(Fault(does=Blow.DISK_FULL, op="copy_file", target=DEST))
    voyage.sail_or_settle()
    voyage.fleet.heal()
    voyage.fleet.advance((datetime.now(UTC) - voyage.fleet.now()).total_seconds() + 8 * DAY_S)
    path = f"{LOCAL}/.vmferry-{voyage.run}/{voyage.vm}-0.qcow2"
    voyage.fleet.add_file(DEST, path)  # undo removes it; a host that lost power in that moment has it again
    file = voyage.fleet.hosts[DEST].file(path)
    assert file is not None
    file.mtime_ns = 1
    before = voyage.files(DEST)
    (judged,) = list_left(voyage.world, (), 7.0).files
    assert (judged.kind, judged.fate, judged.reason) == (FileKind.STAGED, Fate.REMOVABLE, "")
    assert remove_left(judged, voyage.world).fate is Fate.REMOVED
    assert voyage.files(DEST) == before - {path, f"{LOCAL}/.vmferry-{voyage.run}/"}
    assert voyage.state_on(SOURCE) is DomainState.SHUTOFF


# the second look


def _replaced(yard: Yard) -> None:
    yard.fleet.add_file(SOURCE, yard.asides[0], b"restored by hand")


def _linked(yard: Yard) -> None:
    """What stat follows and a listing does not show: a symbolic link."""
    file = yard.fleet.hosts[SOURCE].file(yard.asides[0])
    assert file is not None
    file.is_marker = True


def _missing(yard: Yard) -> None:
    yard.fleet.hosts[SOURCE].take(yard.asides[0])


def _reopened(yard: Yard) -> None:
    yard.world.journal.open_run(yard.plan.model_copy(update={"run": "20250101-000000-again"}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_replaced, "changed since it was judged"),
        (_missing, "changed since it was judged"),
        (_linked, "no regular file"),
        (_gone, "is absent on kvm2 now"),
        (_twice, "is shut off (shutdown) on kvm1 now"),
        (_no_copy, "is gone"),
        (_named, "vm rescue on kvm1 names it now"),
        (_named_through_a_link, "vm rescue on kvm1 names it now"),
        (_host_lost, "on kvm2 now"),
        (_reopened, "was opened meanwhile"),
    ],
)
def test_what_changed_since_it_was_judged_is_kept(yard: Yard, change: Callable[[Yard], None], words: str) -> None:
    judged = yard.judge().files[0]
    assert judged.fate is Fate.REMOVABLE
    change(yard)
    before = yard.files(SOURCE)
    ended = remove_left(judged, yard.world)
    assert (ended.fate, words in ended.reason) == (Fate.KEPT, True), ended.reason
    assert yard.files(SOURCE) == before
    assert [row for row in yard.world.journal.rows(yard.run) if row.step == PURGE] == []


def test_a_removal_that_fails_is_told_and_stops_no_other(yard: Yard) -> None:
    yard.fleet.inject(Fault(does=Blow.PERMANENT, op="remove_file"))
    first, second = yard.remove()
    assert (first.fate, second.fate) == (Fate.FAILED, Fate.REMOVED)
    assert first.reason
    marks = [row.mark for row in yard.world.journal.rows(yard.run) if row.step == PURGE]
    assert marks == [Mark.INTENDED, Mark.NOTE, Mark.INTENDED, Mark.DONE]


def test_a_removal_without_an_answer_is_told_and_the_next_purge_finds_nothing(yard: Yard) -> None:
    yard.fleet.inject(Fault(does=Blow.LOST_ANSWER, op="remove_file"))
    assert [file.fate for file in yard.remove()] == [Fate.FAILED, Fate.REMOVED]
    assert yard.judge().files == ()


@pytest.mark.parametrize("blow", [Blow.CRASH_BEFORE, Blow.CRASH_AFTER])
def test_a_purge_that_dies_in_the_middle_is_done_by_the_next_one(yard: Yard, blow: Blow) -> None:
    yard.fleet.inject(Fault(does=blow, op="remove_file"))
    with pytest.raises(SimulatedCrash):
        yard.remove()
    yard.process()
    assert {file.fate for file in yard.remove()} == {Fate.REMOVED}
    assert yard.judge().files == ()
    assert yard.unsettled() == ()
    assert yard.fleet.problems() == ()


def test_nothing_goes_without_a_record(yard: Yard) -> None:
    before = yard.files(SOURCE)
    yard.fleet.inject(Fault(does=Blow.PERMANENT, op="write"))
    with pytest.raises(VmferryError):
        yard.remove()
    assert yard.files(SOURCE) == before


def test_purge_and_audit_call_the_same_files_the_same(yard: Yard) -> None:
    yard.fleet.add_file(SOURCE, f"{LOCAL}/.vmferry-{yard.run}/part.qcow2")
    yard.fleet.add_file(SOURCE, f"{LOCAL}/nobodys.qcow2")
    evidence = read_evidence(yard.world)
    audited = find_orphans(Fleet(evidence.snapshot), evidence.listings)
    ours = {(f.kind, f.host, f.path) for f in audited if f.kind in (FileKind.SET_ASIDE, FileKind.STAGED)}
    assert {(f.kind, f.host, f.path) for f in yard.judge().files} == ours
    assert len(ours) == 3


# shared storage


@pytest.fixture
def shared() -> Voyage:
    """A VM whose image lay on shared storage and was copied to the destination's own; both hosts see what is aside."""
    voyage = Voyage(SCENARIOS["offline on shared storage"])
    path, there = f"{SHARED}/{voyage.vm}.qcow2", f"{LOCAL}/{voyage.vm}.qcow2"
    copy = FileCopy(source_path=path, dest_path=there, size_bytes=10 << 30, allocated_bytes=1 << 30)
    voyage.plan = voyage.make_plan(changes=DomainChanges(disk_sources={"vda": there})).model_copy(
        update={"files": (copy,)}
    )
    voyage.sail()
    voyage.fleet.advance((datetime.now(UTC) - voyage.fleet.now()).total_seconds() + 8 * DAY_S)
    return voyage


def test_a_file_that_two_hosts_see_stands_once_under_the_host_that_left_it(shared: Voyage) -> None:
    (judged,) = list_left(shared.world, (), 7.0).files
    assert (judged.host, judged.fate, judged.reason) == (SOURCE, Fate.REMOVABLE, "")
    assert list_left(shared.world, [DEST], 7.0).files == ()
    assert remove_left(judged, shared.world).fate is Fate.REMOVED
    assert shared.fleet.problems() == ()


@pytest.mark.parametrize("what", ["named", "built on", "blind"])
def test_a_file_that_two_hosts_see_is_kept_for_either(shared: Voyage, what: str) -> None:
    aside = f"{SHARED}/{shared.vm}.qcow2.vmferry-moved-{shared.run}"
    if what == "named":
        shared.fleet.add_vm(DEST, "rescue", disks=[aside], state=DomainState.SHUTOFF)
    elif what == "built on":
        shared.fleet.add_file(DEST, f"{SHARED}/snap.qcow2")
        file = shared.fleet.hosts[DEST].file(f"{SHARED}/snap.qcow2")
        assert file is not None
        file.backing = aside
    else:
        shared.fleet.inject(Fault(does=Blow.PERMANENT, op="backing_files", host=DEST))
    (judged,) = list_left(shared.world, (), 7.0).files
    assert judged.fate is Fate.KEPT
    assert {"named": "names it", "built on": "builds on it", "blind": "the files of kvm2"}[what] in judged.reason
