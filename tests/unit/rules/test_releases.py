"""Table 9.2, row by row and note by note, on a captured domain's XML."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.domxml.samples import sample
from tests.unit.rules.cases.making import make
from tests.unit.rules.cases.releases import between, rhel, runs
from vmferry.domxml.read import parse_vm
from vmferry.model.findings import Finding, Severity
from vmferry.model.host import Profile
from vmferry.model.vm import DomainState, Vm
from vmferry.rules import release_rules
from vmferry.rules.case import Case
from vmferry.rules.check import check_move
from vmferry.rules.policy import Policy
from vmferry.rules.releases import (
    TABLE_9_2,
    CompatibilityTable,
    Direction,
    Holds,
    Note,
    ReleaseType,
    Row,
    parse_releases,
)

UPSTREAM_MACHINE = "machine='pc-i440fx-7.2'"


def vm_with(machine: str) -> Vm:
    """agent1, captured from libvirt 9.0, as it would be with a machine type of RHEL."""
    xml = sample("agent1-live.xml")
    assert UPSTREAM_MACHINE in xml
    return parse_vm(xml.replace(UPSTREAM_MACHINE, f"machine='{machine}'"), state=DomainState.RUNNING)


def found(case: Case, policy: Policy | None = None) -> dict[str, list[Finding]]:
    """What the rules on releases find, by rule."""
    ids = {rule.id for rule in release_rules.RULES}
    findings: dict[str, list[Finding]] = {}
    for finding in check_move(case, policy or Policy()).findings:
        if finding.rule in ids:
            findings.setdefault(finding.rule, []).append(finding)
    return findings


def moves(source: str, dest: str, machine: str) -> dict[str, list[Finding]]:
    return found(between(runs("rhel", source), runs("rhel", dest), vm_with(machine)))


def test_the_table_has_the_four_rows_of_the_chapter() -> None:
    both = ("i440fx", "q35")
    assert TABLE_9_2.rows == (
        Row(Direction.FORWARD, ReleaseType.MAJOR, "7.6+ → 8.1", (Note(7, both),)),
        Row(Direction.BACKWARD, ReleaseType.MAJOR, "8.1 → 7.6+", (Note(8, both),)),
        Row(Direction.FORWARD, ReleaseType.MINOR, "8.0.1+ → 8.1+", (Note(7, both, "7.6.0"), Note(8, ("q35",)))),
        Row(Direction.BACKWARD, ReleaseType.MINOR, "8.1 → 8.0.1", (Note(7, both), Note(8, ("q35",)))),
    )


@pytest.mark.parametrize(
    ("row", "source", "dest"),
    [
        (0, "7.6", "8.1"),
        (0, "7.9", "8.1"),
        (1, "8.1", "7.6"),
        (1, "8.1", "7.9"),
        (2, "8.1", "8.2"),
        (2, "8.2", "8.10"),
        (2, "8.0.1", "8.1"),
        (3, "8.1", "8.0.1"),
    ],
)
def test_a_path_of_a_row_is_supported(row: int, source: str, dest: str) -> None:
    assert moves(source, dest, "pc-q35-rhel7.6.0") == {}
    held = [r for r in TABLE_9_2.rows if r.holds(parse_releases(source), parse_releases(dest))]
    assert held == [TABLE_9_2.rows[row]]


@pytest.mark.parametrize(
    ("source", "dest"),
    [
        # beside row 1, 7.6+ → 8.1
        ("7.5", "8.1"),
        ("6.10", "8.1"),
        ("7.6", "8.0"),
        ("7.9", "8.2"),
        # beside row 2, 8.1 → 7.6+
        ("8.1", "7.5"),
        ("8.2", "7.9"),
        ("8.0", "7.6"),
        # beside row 3, 8.0.1+ → 8.1+
        ("8.0.0", "8.1"),
        ("8.1", "9.0"),
        ("8.10", "9.4"),
        # beside row 4, 8.1 → 8.0.1
        ("8.2", "8.0"),
        ("8.2", "8.1"),
        ("8.1", "8.0.2"),
        # nowhere near
        ("7.6", "7.9"),
        ("9.2", "9.4"),
    ],
)
def test_a_path_of_no_row_is_refused_and_may_be_lifted(source: str, dest: str) -> None:
    (finding,) = moves(source, dest, "pc-q35-rhel7.6.0").pop("release-path")
    assert finding.severity is Severity.BLOCK
    assert f"source-example runs rhel {source} and dest-example runs rhel {dest}" in finding.message
    assert "Table 9.2 supports 7.6+ → 8.1, 8.1 → 7.6+, 8.0.1+ → 8.1+, 8.1 → 8.0.1" in finding.message
    lifted = found(rhel(source, dest), Policy.of({}, ["release-path"]))["release-path"]
    assert [(f.severity, f.is_lifted) for f in lifted] == [(Severity.WARN, True)]


# row, path, what its notes support, what they do not
NOTES = [
    (
        "7.6",
        "8.1",
        ("pc-i440fx-rhel7.6.0", "pc-q35-rhel7.6.0", "pc-i440fx-rhel7.0.0"),
        ("pseries-rhel7.6.0", "rhel6.6.0"),
    ),
    ("8.1", "7.6", ("pc-i440fx-rhel7.6.0", "pc-q35-rhel7.6.0", "pc-i440fx-rhel7.5.0"), ("s390-ccw-virtio-rhel7.6.0",)),
    # of RHEL 7: both from 7.6.0 on; of RHEL 8: q35
    ("8.1", "8.2", ("pc-i440fx-rhel7.6.0", "pc-q35-rhel7.6.0"), ("pc-i440fx-rhel7.5.0", "pc-q35-rhel7.5.0")),
    ("8.1", "8.2", ("pc-q35-rhel8.0.0", "pc-q35-rhel8.1.0"), ("pc-i440fx-rhel8.0.0", "pseries-rhel8.1.0")),
    # of RHEL 7: both; of RHEL 8: q35
    ("8.1", "8.0.1", ("pc-i440fx-rhel7.6.0", "pc-i440fx-rhel7.5.0", "pc-q35-rhel7.3.0"), ("pseries-rhel7.6.0",)),
    ("8.1", "8.0.1", ("pc-q35-rhel8.0.0",), ("pc-i440fx-rhel8.0.0", "virt-rhel8.0.0")),
]


@pytest.mark.parametrize(("source", "dest", "machine"), [(s, d, m) for s, d, good, _ in NOTES for m in good])
def test_a_machine_type_of_a_note_may_take_the_path(source: str, dest: str, machine: str) -> None:
    assert moves(source, dest, machine) == {}


@pytest.mark.parametrize(("source", "dest", "machine"), [(s, d, m) for s, d, _, bad in NOTES for m in bad])
def test_a_machine_type_of_no_note_is_refused(source: str, dest: str, machine: str) -> None:
    (finding,) = moves(source, dest, machine).pop("release-machine")
    assert finding.severity is Severity.BLOCK
    assert finding.message.startswith(f"vm agent1 has machine type {machine}; for ")
    assert "virsh -c qemu+ssh://source-example/system edit agent1" in finding.message


def test_the_refusal_tells_what_the_row_supports() -> None:
    (finding,) = moves("8.1", "8.2", "pc-i440fx-rhel7.5.0")["release-machine"]
    assert "Table 9.2 supports i440fx and q35 of RHEL 7 from 7.6.0 on, q35 of RHEL 8 only" in finding.message


def test_an_alias_is_resolved_by_the_source() -> None:
    old = {"machines": runs("rhel", "8.1")["machines"]}
    pc = old["machines"][-1].model_copy(update={"name": "pc"})
    assert pc.canonical == "pc-i440fx-rhel7.5.0"
    case = between(runs("rhel", "8.1") | {"machines": (pc,)}, runs("rhel", "8.2"), vm_with("pc"))
    assert list(found(case)) == ["release-machine"]


@pytest.mark.parametrize(
    ("source", "dest", "told"),
    [("8.0", "8.1", "source-example"), ("8.0", "8.4", "source-example"), ("8.1", "8.0", "dest-example")],
)
def test_release_8_0_is_a_warning_that_says_how_to_find_out(source: str, dest: str, told: str) -> None:
    ((rule, (finding,)),) = moves(source, dest, "pc-q35-rhel8.0.0").items()
    assert (rule, finding.severity) == ("release-unknown", Severity.WARN)
    assert finding.message.startswith(f"{told} says 8.0 ")
    assert f"ssh {told} rpm -q qemu-kvm" in finding.message


def test_the_machine_type_is_judged_where_the_update_is_unknown() -> None:
    assert set(moves("8.0", "8.1", "pc-i440fx-rhel7.5.0")) == {"release-unknown", "release-machine"}


def test_a_release_that_was_not_read_is_told_for_each_host() -> None:
    ((rule, findings),) = found(between(runs("", ""), runs("", ""), vm_with("pc-q35-rhel7.6.0"))).items()
    assert (rule, [f.severity for f in findings]) == ("release-unknown", [Severity.WARN] * 2)
    assert ["source-example" in f.message for f in findings] == [True, False]


@pytest.mark.parametrize(
    ("source", "dest"),
    [
        (("rocky", "8.6"), ("rocky", "8.8")),
        (("rhel", "8.6"), ("centos", "8")),
        (("almalinux", "8.1"), ("rhel", "8.1")),
        (("debian", "12"), ("ubuntu", "24.04")),
    ],
)
def test_other_systems_are_told_once_that_the_table_does_not_cover_them(
    source: tuple[str, str], dest: tuple[str, str]
) -> None:
    case = between(runs(*source), runs(*dest), vm_with("pc-q35-rhel7.6.0"))
    ((rule, (finding,)),) = found(case).items()
    assert (rule, finding.severity) == ("release-not-covered", Severity.WARN)
    assert "Table 9.2 covers rhel only" in finding.message
    assert "`profile: upstream`" in finding.message


@pytest.mark.parametrize("system", [("rhel", "8.0"), ("rhel", "9.4"), ("rocky", "8.6"), ("debian", "12"), ("arch", "")])
def test_equal_releases_are_no_finding(system: tuple[str, str]) -> None:
    assert found(between(runs(*system), runs(*system), vm_with("pc-i440fx-rhel7.5.0"))) == {}


def test_the_upstream_profile_asks_only_where_the_inventory_says_so() -> None:
    case = make(source=runs("rhel", "8.2"), dest=runs("rhel", "8.1"))
    assert found(case) == {}
    raised = found(case, Policy.of({"release-path": Severity.WARN}))
    assert [f.severity for f in raised["release-path"]] == [Severity.WARN]


@pytest.fixture
def with_own_table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    row = Row(Direction.BACKWARD, ReleaseType.MINOR, "8.2+ → 8.1+", (Note(8, ("q35",)),))
    own = CompatibilityTable(name="Our table", profile=Profile.RHEL8, system="rhel", rows=(row,))
    suse = CompatibilityTable(name="SUSE's", profile=Profile.RHEL8, system="sles", rows=(row,))
    monkeypatch.setattr(release_rules, "TABLES", (TABLE_9_2, own, suse))
    release_rules._judge.cache_clear()
    yield
    release_rules._judge.cache_clear()


@pytest.mark.usefixtures("with_own_table")
def test_further_tables_stand_beside_it() -> None:
    assert moves("8.2", "8.1", "pc-q35-rhel8.0.0") == {}
    assert moves("8.1", "8.2", "pc-i440fx-rhel7.6.0") == {}
    assert list(moves("8.2", "8.0", "pc-q35-rhel8.0.0")) == ["release-path"]
    assert found(between(runs("sles", "8.2"), runs("sles", "8.1"), vm_with("pc-q35-8.0"))) == {}
    (finding,) = found(between(runs("sles", "8.1"), runs("sles", "8.2"), vm_with("q35")))["release-path"]
    assert "SUSE's supports 8.2+ → 8.1+ and equal releases only" in finding.message


@pytest.mark.parametrize(
    ("spec", "release", "holds"),
    [
        ("8.1", "8.1", Holds.YES),
        ("8.1", "8.1.3", Holds.YES),
        ("8.1", "8.10", Holds.NO),
        ("8.1", "8", Holds.PERHAPS),
        ("8.1+", "8.1", Holds.YES),
        ("8.1+", "8.10", Holds.YES),
        ("8.1+", "9.0", Holds.NO),
        ("8.1+", "8.0", Holds.NO),
        ("8.0.1", "8.0", Holds.PERHAPS),
        ("8.0.1", "8.0.1", Holds.YES),
        ("8.0.1", "8.1", Holds.NO),
        ("8.0.1+", "8.0", Holds.PERHAPS),
        ("8.0.1+", "8.0.0", Holds.NO),
        ("8.0.1+", "8.1", Holds.YES),
        ("7.6+", "7.10", Holds.YES),
        ("7.6+", "7.5", Holds.NO),
    ],
)
def test_a_release_is_held_against_a_spec(spec: str, release: str, holds: Holds) -> None:
    assert parse_releases(spec).include(parse_releases(release)) is holds


@pytest.mark.parametrize("text", ["", "8.", "8.1 +", "+", "8.x", "stream", "-8.1", "8.1++", "9" * 5000, "８.１"])
def test_a_spec_that_is_no_release_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is no release"):
        parse_releases(text)
