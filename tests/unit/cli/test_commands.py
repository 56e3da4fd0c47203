"""The command line without Prefect: errors, exit codes, tables and documents, on the simulated fleet."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tasks import _wiring
from vmferry import __version__
from vmferry.adapters.journal import SqlJournal
from vmferry.adapters.simulated.fleet import SimulatedFleet
from vmferry.cli import app
from vmferry.inventory import load_inventory
from vmferry.model.mark import VmMark
from vmferry.steps.host_marks import close_host

RUNNER = CliRunner()
TEXT = """\
hosts:
  kvm1: {storage: [{path: /images, shared: cargo-bay, locks: true}]}
  kvm2: {storage: [{path: /images, shared: cargo-bay, locks: true}]}
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    file = tmp_path / "inventory.yaml"
    file.write_text(TEXT)
    return file


@pytest.fixture
def fleet(inventory: Path) -> Iterator[SimulatedFleet]:
    """A fleet in memory behind the command line's own door."""
    made = SimulatedFleet(load_inventory(inventory))
    made.add_vm("kvm1", "wanderer1", disks=["/images/wanderer1.qcow2"])
    with _wiring.use(made.world(journal=SqlJournal("sqlite://"))):
        yield made


def call(*args: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, [str(arg) for arg in args])
    return result.exit_code, result.stdout, result.stderr


def test_the_version_is_shown() -> None:
    assert call("--version") == (0, f"vmferry {__version__}\n", "")


def test_without_an_inventory_nothing_starts() -> None:
    code, out, err = call("hosts")
    assert (code, out) == (3, "")
    assert err == "no inventory; give --inventory FILE or set VMFERRY_INVENTORY=FILE\n"


def test_the_inventory_may_come_from_the_environment(
    fleet: SimulatedFleet, inventory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMFERRY_INVENTORY", str(inventory))
    assert call("hosts")[0] == 0


def test_global_options_stand_before_or_after_the_command(fleet: SimulatedFleet, inventory: Path) -> None:
    before = call("--inventory", inventory, "--json", "vms")
    after = call("vms", "--json", "-i", inventory)
    assert before == after
    assert json.loads(before[1])["vms"][0]["name"] == "wanderer1"


def test_every_problem_of_an_inventory_is_a_line_and_no_traceback(tmp_path: Path) -> None:
    file = tmp_path / "i.yaml"
    file.write_text("hosts: {a_b: , c_d: {rack: 1}}")
    code, out, err = call("-i", file, "hosts")
    assert (code, out, len(err.splitlines())) == (3, "", 3)
    assert "Traceback" not in err


def test_json_is_one_document_for_errors_too(tmp_path: Path) -> None:
    code, out, err = call("--json", "-i", tmp_path / "none.yaml", "hosts")
    assert code == 3
    assert json.loads(out) == {"exit_code": 3, "problems": [err.strip()]}


def test_wrong_hosts_are_refused_at_once_and_all_together(inventory: Path) -> None:
    code, out, err = call("evacuate", "kvm1", "--to", "kvm1", "--to", "kvm9", "-i", inventory)
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        f"host kvm9 is not in {inventory}; did you mean 'kvm2'?",
        "host kvm1 is both source and destination; choose another destination",
    ]


def test_a_move_to_where_the_vm_is_said_to_be_is_refused(inventory: Path) -> None:
    code, _, err = call("migrate", "wanderer1", "--from", "kvm2", "--to", "kvm2", "-i", inventory)
    assert code == 3
    assert "both source and destination" in err


@pytest.mark.parametrize(
    "args",
    [
        ("evacuate",),
        ("evacuate", "kvm1", "--mode", "wanderer1"),
        ("evacuate", "kvm1", "--mode", "wanderer1=cold"),
        ("evacuate", "kvm1", "--mode", "a=live", "--mode", "a=offline"),
        ("evacuate", "kvm1", "--policy", "faster"),
        ("evacuate", "kvm1", "--policy", "=auto-converge"),
        ("evacuate", "kvm1", "--policy", "a=auto-converge", "--policy", "a=very-large-vm"),
        ("evacuate", "kvm1", "--policy", "auto-converge", "--policy", "very-large-vm"),
        ("evacuate", "kvm1", "--parallel", "0"),
        ("migrate", "wanderer1"),
        ("migrate", "wanderer1", "--to", "kvm2", "--mode", "cold"),
        ("migrate", "wanderer1", "--to", "kvm2", "--policy", "faster"),
        ("migrate", "wanderer1", "--to", "kvm2", "--disk", "vda"),
        ("migrate", "wanderer1", "--to", "kvm2", "--xml", "/nowhere.xml"),
        ("migrate", "wanderer1", "--to", "kvm2", "--bandwidth", "0"),
        ("runs", "-n", "0"),
        ("nonsense",),
    ],
)
def test_wrong_usage_ends_with_2(args: tuple[str, ...]) -> None:
    assert call(*args)[0] == 2


def test_hosts_are_shown_as_aligned_columns_in_a_pipe(fleet: SimulatedFleet, inventory: Path) -> None:
    code, out, err = call("hosts", "-i", inventory)
    assert (code, err) == (0, "")
    head, first, second = out.splitlines()
    assert head.split()[:2] == ["host", "state"]
    assert first.split()[:5] == ["kvm1", "open", "1", "of", "1"]
    assert head.index("state") == first.index("open") == second.index("open")


def test_a_lost_host_hides_no_other(fleet: SimulatedFleet, inventory: Path) -> None:
    fleet.kill_libvirtd("kvm2")
    code, out, err = call("hosts", "-i", inventory)
    assert code == 3
    assert "kvm1  open" in out.replace("    ", "  ") and "unreachable" in out
    assert err.startswith("host kvm2: ")


def test_a_host_is_cordoned_and_opened_again(fleet: SimulatedFleet, inventory: Path) -> None:
    assert call("cordon", "kvm2", "--reason", "new disks", "-i", inventory)[0] == 0
    assert "cordoned (new disks)" in call("hosts", "-i", inventory)[1]
    assert json.loads(call("uncordon", "kvm2", "--json", "-i", inventory)[1])["was_cordoned"] is True
    assert "was not cordoned" in call("uncordon", "kvm2", "-i", inventory)[1]


def test_only_hosts_of_the_inventory_are_cordoned(fleet: SimulatedFleet, inventory: Path) -> None:
    assert call("cordon", "kvm7", "-i", inventory)[0] == 3


def test_vms_of_one_host(fleet: SimulatedFleet, inventory: Path) -> None:
    assert json.loads(call("vms", "kvm2", "--json", "-i", inventory)[1])["vms"] == []
    assert "wanderer1" in call("vms", "kvm1", "-i", inventory)[1]


def test_a_journal_without_runs_shows_the_head_alone(fleet: SimulatedFleet, inventory: Path) -> None:
    code, out, _ = call("runs", "-i", inventory)
    assert (code, len(out.splitlines())) == (0, 1)


def test_the_file_alone_can_be_checked(inventory: Path) -> None:
    code, out, _ = call("inventory", "check", "--file-only", "-i", inventory)
    assert (code, out) == (0, f"{inventory}: 2 hosts, the file is right\n")


def test_hosts_that_share_what_they_list_pass_the_check(fleet: SimulatedFleet, inventory: Path) -> None:
    code, out, err = call("inventory", "check", "-i", inventory)
    assert (code, err) == (0, "")
    assert out.splitlines() == ["host kvm1: as the inventory says", "host kvm2: as the inventory says"]


def test_the_check_shows_the_rules_that_the_inventory_sets(inventory: Path) -> None:
    inventory.write_text(TEXT + "rules: {guest-agent: block}\n")
    _, out, _ = call("inventory", "check", "--file-only", "-i", inventory)
    assert out.splitlines()[0] == "rule guest-agent: block, set by `rules` of the inventory"
    document = json.loads(call("inventory", "check", "--file-only", "--json", "-i", inventory)[1])
    assert document["rules"] == {"guest-agent": "block"}


@pytest.mark.parametrize("command", [("evacuate", "kvm1"), ("migrate", "wanderer1", "--to", "kvm2")])
def test_a_rule_that_cannot_be_lifted_is_refused_before_anything_starts(
    inventory: Path, command: tuple[str, ...]
) -> None:
    code, out, err = call(*command, "--lift", "two-copies", "--lift", "machine-typ", "-i", inventory)
    assert (code, out) == (3, "")
    assert [line.partition(":")[0] for line in err.splitlines()] == ["--lift", "--lift"]
    assert "two copies, lost data or a host without room" in err and "did you mean machine-type?" in err


def test_storage_that_is_not_shared_fails_the_check(fleet: SimulatedFleet, inventory: Path) -> None:
    fleet.mount("kvm2", "/images")
    code, out, err = call("inventory", "check", "--json", "-i", inventory)
    assert code == 3
    assert {finding["rule"] for finding in json.loads(out)["hosts"]["kvm1"]} == {"inventory-not-shared"}
    assert "host kvm1: block inventory-not-shared" in err


def test_a_wrong_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMFERRY_CALL_TIMEOUT_S", "s3cret")
    code, _, err = call("hosts")
    assert code == 3
    assert "VMFERRY_CALL_TIMEOUT_S" in err and "s3cret" not in err


def test_an_unexpected_error_is_one_line_unless_debugging(
    fleet: SimulatedFleet, inventory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_wiring._stack[-1], "journal", None)
    code, _, err = call("runs", "-i", inventory)
    assert (code, len(err.splitlines())) == (1, 1)
    monkeypatch.setenv("VMFERRY_DEBUG", "1")
    assert "Traceback" in call("runs", "-i", inventory)[2]


def test_help_and_checks_do_not_import_prefect_or_the_lab(inventory: Path) -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom vmferry.cli import app\n"
        "for args in (['--help'], ['lab', '--help'][:0], ['inventory', 'check', '--file-only', '-i', sys.argv[1]]):\n"
        "    CliRunner().invoke(app, args)\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('prefect', 'infra', 'libvirt', 'sqlalchemy')])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(inventory)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_lab_takes_its_own_options() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vmferry.cli", "lab", "--help"], capture_output=True, text=True, check=True
    )
    assert "vmferry lab" in done.stdout and "down" in done.stdout


def test_what_another_vmferry_has_in_hand_is_shown(fleet: SimulatedFleet, inventory: Path) -> None:
    vm, now = fleet.hosts["kvm1"].domains.popitem()[1], fleet.now()
    fleet.hosts["kvm1"].domains[vm.uuid] = vm
    mark = VmMark(
        run="r-1", owner="ops@mgmt2:4711:99", source="kvm1", dest="kvm2", since=now, until=now + timedelta(minutes=15)
    )
    fleet.hypervisor("kvm1").mark(vm.uuid, mark)
    close_host("kvm2", "new fans", fleet.world(journal=SqlJournal("sqlite://", owner="ops@mgmt2:4711:99")))
    said = " ".join(call("vms", "-i", inventory)[1].split())
    assert "ops@mgmt2:4711:99" in said and "r-1" in said and "(over)" not in said
    assert "cordoned (new fans)" in call("hosts", "-i", inventory)[1]
    assert call("uncordon", "kvm2", "-i", inventory)[0] == 0
    assert "cordoned" not in call("hosts", "-i", inventory)[1]
