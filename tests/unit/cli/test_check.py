"""`vmferry check` on the simulated fleet: a VM, a host, the fleet; nothing is touched, no Prefect."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from tasks import _wiring
from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated.fleet import SimulatedFleet
from vmferry.cli import app
from vmferry.inventory import load_inventory
from vmferry.model.vm import DomainState

RUNNER = CliRunner()
HOST = "{profile: upstream, storage: [{path: /images, shared: cargo-bay, locks: true}, {path: /local}]}"
TEXT = "hosts:\n" + "".join(f"  kvm{n}: {HOST}\n" for n in (1, 2, 3))


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    file = tmp_path / "inventory.yaml"
    file.write_text(TEXT)
    return file


class Fleet:
    """Three hosts behind the command line's own door."""

    def __init__(self, inventory: Path) -> None:
        self.inventory = inventory
        self.simulated = SimulatedFleet(load_inventory(inventory))
        self.journal = SqlJournal("sqlite://")

    def add(self, name: str, host: str = "kvm1", **given: Any) -> UUID:
        """Put a VM with its disk on shared storage on a host."""
        return self.simulated.add_vm(host, name, **{"disks": [f"/images/{name}.qcow2"], **given})

    def add_stuck(self, name: str, host: str = "kvm1") -> UUID:
        """Put a running VM on a host, its disk on a directory of that host alone."""
        return self.add(name, host, disks=[f"/local/{name}.qcow2"])

    def check(self, *args: object) -> tuple[int, str, str]:
        """Run the command; nothing but markers may have been written, and locks held on them."""
        with _wiring.use(self.simulated.world(journal=self.journal)):
            result = RUNNER.invoke(app, ["-i", str(self.inventory), "check", *(str(arg) for arg in args)])
        touched = [
            o.title for o in self.simulated.log if o.is_write and "marker" not in o.op and o.op != "hold_image_locks"
        ]
        assert [title for title in touched if ".vmferry-marker-" not in title] == []
        assert (self.journal.recent(1), self.journal.cordons()) == ((), ())
        return result.exit_code, result.stdout, result.stderr

    def document(self, *args: object) -> dict[str, Any]:
        """Return the JSON document."""
        code, out, _ = self.check("--json", *args)
        document: dict[str, Any] = json.loads(out)
        assert document["exit_code"] == code
        return document


@pytest.fixture
def fleet(inventory: Path) -> Iterator[Fleet]:
    made = Fleet(inventory)
    yield made
    made.journal.close()


# a VM


def test_a_vm_is_told_every_host_with_all_findings(fleet: Fleet) -> None:
    fleet.add_stuck("db")
    fleet.simulated.set_link("kvm2", "br0", segment="elsewhere")
    code, out, _ = fleet.check("db")
    kvm2, kvm3 = out.split("\nkvm2: ")[1].split("\nkvm3: ")
    assert code == 4
    assert "block mirror-encryption: vm db: /local/db.qcow2" in kvm2 and "block mirror-encryption" in kvm3
    assert "bridge" in kvm2
    assert "(libvirt: NBD is not tunnelled)" in kvm3


def test_a_vm_that_may_go_somewhere_ends_well(fleet: Fleet) -> None:
    fleet.add("web1")
    code, out, err = fleet.check("web1")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "web1 may go to kvm2, kvm3; nothing was touched"


def test_a_vm_may_be_named_by_its_uuid_in_any_form(fleet: Fleet) -> None:
    uuid = fleet.add("web1")
    for form in (str(uuid), str(uuid).upper(), uuid.hex):
        assert fleet.document(form)["vm"] == "web1"


def test_a_vm_that_can_go_nowhere_ends_with_4(fleet: Fleet) -> None:
    fleet.add_stuck("db")
    code, out, err = fleet.check("db")
    assert code == 4
    assert out.splitlines()[-1] == "db can go nowhere; nothing was touched"
    assert err == "db can go nowhere: kvm2 blocked, kvm3 blocked\n"


def test_only_the_hosts_that_are_asked_for_are_tried(fleet: Fleet) -> None:
    fleet.add("web1")
    assert list(fleet.document("web1", "--to", "kvm3")["hosts"]) == ["kvm3"]


def test_the_document_of_a_vm_holds_a_verdict_and_findings_per_host(fleet: Fleet) -> None:
    uuid = fleet.add_stuck("db")
    found = fleet.document("db")
    assert (found["vm"], found["uuid"], found["host"], found["mode"]) == ("db", str(uuid), "kvm1", "live")
    assert found["movable_to"] == []
    assert found["hosts"]["kvm2"]["verdict"] == "blocked"
    assert "mirror-encryption" in {finding["rule"] for finding in found["hosts"]["kvm2"]["findings"]}
    assert all(finding["source"] for finding in found["hosts"]["kvm2"]["findings"])


def test_a_host_that_was_not_read_is_told_beside_the_others(fleet: Fleet) -> None:
    fleet.add("web1")
    fleet.simulated.kill_libvirtd("kvm3")
    code, out, _ = fleet.check("web1")
    assert code == 0
    assert "\nkvm3: not read: " in out
    assert list(fleet.document("web1")["unread"]) == ["kvm3"]


def test_a_vm_with_no_other_host_left_can_go_nowhere(fleet: Fleet) -> None:
    fleet.add("web1")
    fleet.simulated.kill_libvirtd("kvm2")
    fleet.simulated.kill_libvirtd("kvm3")
    assert fleet.check("web1")[0] == 4


def test_a_vm_is_not_checked_for_the_host_that_it_is_on(fleet: Fleet) -> None:
    fleet.add("web1")
    code, _, err = fleet.check("web1", "--to", "kvm1")
    assert (code, err) == (3, "vm web1 is on kvm1 already; name another host by --to\n")


# names


def test_an_unknown_name_is_told_with_names_that_are_near(fleet: Fleet) -> None:
    fleet.add("web1")
    code, _, err = fleet.check("wbe1")
    assert code == 3
    assert err == (
        "no host of the inventory and no VM is named wbe1; did you mean web1 (VM on kvm1)?; "
        "searched: kvm1, kvm2, kvm3\n"
    )
    assert "kvm1 (host)" in fleet.check("kwm1")[2]


def test_hosts_that_could_not_be_searched_are_named(fleet: Fleet) -> None:
    fleet.simulated.kill_libvirtd("kvm2")
    assert "not searched: kvm2 (" in fleet.check("ghost")[2]


def test_a_name_of_host_and_vm_is_the_host_and_tells_how_to_get_the_vm(fleet: Fleet) -> None:
    uuid = fleet.add("kvm3", "kvm2")
    code, out, err = fleet.check("kvm3")
    assert code == 0
    assert "kvm3 can be emptied" in out
    assert err == f"kvm3 is a host, and a VM on kvm2 too; this is the host; for the VM: vmferry check {uuid}\n"
    assert fleet.document(str(uuid))["vm"] == "kvm3"


def test_several_vms_of_one_name_are_told_with_their_uuids(fleet: Fleet) -> None:
    first = fleet.add("web1")
    xml = fleet.simulated.domain("kvm1", first).persistent_xml.replace(str(first), str(UUID(int=7)))  # type: ignore[union-attr]
    fleet.simulated.add_vm("kvm2", "web1", xml=xml)
    code, _, err = fleet.check("web1")
    assert code == 3
    assert "several VMs are named web1" in err and str(first) in err and str(UUID(int=7)) in err


# a host


def test_a_host_that_can_be_emptied_shows_the_joint_plan(fleet: Fleet) -> None:
    fleet.add("web1")
    fleet.add("off", state=DomainState.SHUTOFF)
    code, out, err = fleet.check("kvm1")
    assert (code, err) == (0, "")
    assert "web1" in out and "off" in out
    assert out.splitlines()[-1] == "kvm1 can be emptied; nothing was touched"


def test_vms_that_fit_alone_but_not_together_keep_a_host_from_being_emptied(fleet: Fleet) -> None:
    for number in range(4):
        fleet.add(f"big{number}", memory_mib=9000)
    code, out, err = fleet.check("kvm1")
    assert code == 4
    assert "kvm1 cannot be emptied: 2 VMs would stay" in out
    assert "no-room-left" in err
    assert fleet.check("big3")[0] == 0


def test_a_host_that_cannot_be_emptied_tells_the_reason_per_vm_and_host(fleet: Fleet) -> None:
    fleet.add("web1")
    fleet.add_stuck("db")
    code, _, err = fleet.check("kvm1")
    assert code == 4
    assert "db: stranded: not to kvm2: mirror-encryption: vm db: /local/db.qcow2" in err
    assert "db: stranded: not to kvm3: mirror-encryption" in err
    assert "(libvirt: NBD is not tunnelled)" in err
    document = fleet.document("kvm1")
    assert document["can_be_emptied"] is False
    assert [stranded["vm"] for stranded in document["plan"]["stranded"]] == ["db"]


def test_a_host_is_checked_for_the_destinations_that_are_asked_for(fleet: Fleet) -> None:
    fleet.add("web1")
    assert {move["dest"] for move in fleet.document("kvm1", "--to", "kvm3")["plan"]["moves"]} == {"kvm3"}
    assert fleet.check("kvm1", "--to", "kvm1")[0] == 3


def test_a_destination_that_was_not_read_is_told_although_the_others_suffice(fleet: Fleet) -> None:
    fleet.add("web1")
    fleet.simulated.cut_power("kvm3")
    code, out, err = fleet.check("kvm1")
    assert code == 0 and "kvm1 can be emptied" in out
    assert "kvm3 was not asked, it was not read: " in out + err


def test_a_host_that_does_not_answer_cannot_be_checked(fleet: Fleet) -> None:
    fleet.simulated.kill_libvirtd("kvm1")
    code, _, err = fleet.check("kvm1")
    assert code == 3
    assert "kvm1 was not read" in err


# the fleet


def test_a_fleet_without_trouble_ends_well(fleet: Fleet) -> None:
    fleet.add("web1")
    code, out, err = fleet.check()
    assert (code, err) == (0, "")
    assert "every VM can go somewhere" in out


def test_the_matrix_of_a_small_fleet_is_shown(fleet: Fleet) -> None:
    fleet.add("web1")
    fleet.add_stuck("db", "kvm2")
    head, *rows = (line.split() for line in fleet.check()[1].splitlines()[-3:])
    assert head == ["VM", "mode", "kvm1", "kvm2", "kvm3"]
    assert rows == [["web1", "live", "-", "yes", "yes"], ["db", "live", "no", "-", "no"]]


def test_a_stuck_vm_makes_the_fleet_end_with_4(fleet: Fleet) -> None:
    fleet.add_stuck("db")
    code, out, err = fleet.check()
    assert code == 4
    assert "1 VM can go nowhere" in out
    assert err.splitlines() == ["db (kvm1): can go nowhere", "host kvm1: cannot be emptied"]


def test_a_host_that_was_not_read_goes_before_stuck_vms(fleet: Fleet) -> None:
    fleet.add_stuck("db")
    fleet.simulated.kill_libvirtd("kvm2")
    code, _, err = fleet.check()
    assert code == 3
    assert err.startswith("host kvm2: not read: ")


def test_a_vm_that_runs_twice_goes_before_everything(fleet: Fleet) -> None:
    uuid = fleet.add("web1")
    xml = fleet.simulated.domain("kvm1", uuid).persistent_xml  # type: ignore[union-attr]
    fleet.simulated.add_vm("kvm2", "web1", xml=xml)
    fleet.simulated.kill_libvirtd("kvm3")
    code, out, err = fleet.check()
    assert code == 5
    assert out.startswith("ALARM")
    assert err.startswith("ALARM")
    assert fleet.document()["audit"]["troubles"][0]["kind"] == "runs twice"


def test_the_document_of_a_fleet_is_the_audit(fleet: Fleet) -> None:
    fleet.add_stuck("db")
    audit = fleet.document()["audit"]
    assert [row["vm"] for row in audit["movability"]["rows"]] == ["db"]
    assert {loss["host"] for loss in audit["losses"]} == {"kvm1", "kvm2", "kvm3"}


def test_files_that_no_domain_names_are_told(fleet: Fleet) -> None:
    fleet.add("web1")
    fleet.simulated.add_file("kvm2", "/local/forgotten.qcow2")
    assert "kvm2:/local/forgotten.qcow2" in fleet.check()[1]
    files = [file["path"] for file in fleet.document()["audit"]["files"]]
    assert files == ["/local/forgotten.qcow2"]


def test_destinations_need_something_to_move(fleet: Fleet) -> None:
    code, _, err = fleet.check("--to", "kvm2")
    assert (code, err) == (3, "--to needs a host or a VM: vmferry check HOST|VM --to HOST\n")


# lifting


def test_a_lifted_rule_only_warns_and_says_so(fleet: Fleet) -> None:
    fleet.add("web1")
    fleet.simulated.set_link("kvm2", "br0", segment="elsewhere")
    blocked = fleet.document("web1", "--to", "kvm2")
    (rule,) = {f["rule"] for f in blocked["hosts"]["kvm2"]["findings"] if f["severity"] == "block"}
    code, out, _ = fleet.check("web1", "--to", "kvm2", "--lift", rule)
    assert code == 0
    assert f"warn {rule}: " in out and ", lifted by the operator)" in out
    lifted = fleet.document("kvm1", "--to", "kvm2", "--lift", rule)
    assert (lifted["can_be_emptied"], lifted["plan"]["lifted"]) == (True, [rule])


@pytest.mark.parametrize("what", [(), ("kvm1",), ("web1",)])
def test_a_rule_that_cannot_be_lifted_is_refused_before_anything_is_read(fleet: Fleet, what: tuple[str, ...]) -> None:
    fleet.add("web1")
    code, _, err = fleet.check(*what, "--lift", "two-copies", "--lift", "storage-not-sharde")
    assert code == 3
    assert err.splitlines() == [
        "--lift: two-copies cannot be lifted: it guards against two copies, lost data or a host without room; "
        "remove the cause, see docs/rules.md",
        "--lift: there is no rule 'storage-not-sharde'; did you mean storage-not-shared?",
    ]
    assert fleet.simulated.log == ()


def test_prefect_is_not_imported() -> None:
    code = "import sys, vmferry.terminal.check_run\nprint([m for m in sys.modules if m.split('.')[0] == 'prefect'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
