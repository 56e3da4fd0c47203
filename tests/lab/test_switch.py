"""Who lets a VM run at the destination, on real storage with and without locks between the hosts."""

from __future__ import annotations

import pytest

from flows.migrate_vm import migrate_vm
from infra.lab import DiskKind, GuestSpec, Lab
from vmferry.adapters.world import RealWorld
from vmferry.model.journal import Mark
from vmferry.model.migration import MigrationOutcome, OutcomeKind
from vmferry.model.transport import Switch
from vmferry.steps.names import RESUME_INTENT

pytestmark = pytest.mark.lab


def notes_of(world: RealWorld, run: str) -> list[str]:
    return [row.note for row in world.journal.rows(run) if row.mark is Mark.NOTE]


@pytest.mark.parametrize(
    ("disk", "switch", "because"),
    [
        (DiskKind.SHARED, Switch.LIBVIRT, "kvm2 was seen to respect the image locks of kvm1"),
        (DiskKind.NOLOCK, Switch.GUARDED, "does not say `locks: true` of /srv/nolock"),
        (DiskKind.NONE, Switch.GUARDED, "no disk whose image lock could stop a second copy"),
    ],
)
def test_the_switch_over_is_chosen_by_what_was_proved(
    fleet: Lab, world: RealWorld, disk: DiskKind, switch: Switch, because: str
) -> None:
    fleet.add_guest(GuestSpec(name="switch1", disk=disk, dirty_mib_s=10, working_set_mib=16))
    with fleet.watch("switch1") as watch:
        outcome = migrate_vm(vm="switch1", dest="kvm2")
    assert isinstance(outcome, MigrationOutcome) and outcome.kind is OutcomeKind.MOVED
    assert world.journal.find(outcome.run).plan.switch is switch
    (told,) = [note for note in outcome.notes if note.startswith("switch-over: ")]
    assert because in told
    assert notes_of(world, outcome.run).count(RESUME_INTENT) == (1 if switch is Switch.GUARDED else 0)
    assert fleet.where("switch1") == {"kvm2": "running"}
    assert watch.overlap_s == 0 and watch.errors == 0 and watch.alive_on("kvm2")
    assert outcome.downtime_ms is not None and outcome.move_seconds is not None
    assert 0 < outcome.downtime_ms / 1000 < outcome.move_seconds


def test_storage_that_only_claims_to_have_locks_is_guarded(fleet: Lab, world: RealWorld) -> None:
    def claiming(host: object) -> object:
        storage = tuple(place.model_copy(update={"locks": place.shared is not None}) for place in host.storage)  # type: ignore[attr-defined]
        return host.model_copy(update={"storage": storage})  # type: ignore[attr-defined]

    hosts = tuple(claiming(host) for host in world.inventory.hosts)
    world.inventory = world.inventory.model_copy(update={"hosts": hosts})
    fleet.add_guest(GuestSpec(name="claim1", disk=DiskKind.NOLOCK))
    with fleet.watch("claim1") as watch:
        outcome = migrate_vm(vm="claim1", dest="kvm2")
    assert isinstance(outcome, MigrationOutcome)
    assert world.journal.find(outcome.run).plan.switch is Switch.GUARDED
    assert "image locks between kvm1 and kvm2 were not seen to work in /srv/nolock" in " ".join(outcome.notes)
    assert fleet.where("claim1") == {"kvm2": "running"} and watch.overlap_s == 0


def test_the_vm_is_let_run_before_libvirts_own_call_returns(fleet: Lab, world: RealWorld) -> None:
    """The source's process is seen to end; libvirt notices that later, and the intent is in the journal before."""
    fleet.add_guest(GuestSpec(name="early1", disk=DiskKind.NOLOCK))
    source, states = world.hypervisor("kvm1"), []
    migrate = source.migrate

    def watched(plan: object, *rest: object) -> object:
        stats = migrate(plan, *rest)  # type: ignore[arg-type]
        states.append(world.hypervisor("kvm2").look(plan.uuid).state)  # type: ignore[attr-defined]
        return stats

    source.migrate = watched  # type: ignore[method-assign, assignment]
    with fleet.watch("early1") as watch:
        outcome = migrate_vm(vm="early1", dest="kvm2")
    assert isinstance(outcome, MigrationOutcome)
    assert states == ["running"]
    assert notes_of(world, outcome.run).count(RESUME_INTENT) == 1
    assert watch.overlap_s == 0 and watch.errors == 0
