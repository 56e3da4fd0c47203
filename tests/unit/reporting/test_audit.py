"""An audit as people and the next audit read it: text, markdown, picture, files."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.unit.builders import (
    GIB,
    LOCAL,
    NOW,
    build_disk,
    build_facts,
    build_host,
    build_off_vm,
    build_snapshot,
    build_uuid,
    build_vm,
)
from vmferry.model.audit import FleetAudit, Listing, SavedAudit
from vmferry.model.facts import Mount, StoredFile, SystemFacts
from vmferry.model.host import FleetSnapshot, Unreachable
from vmferry.model.vm import Vm
from vmferry.planning.audit import audit
from vmferry.planning.movability import movability
from vmferry.reporting.audit_files import audits_dir, load_before, remove_old, save_audit
from vmferry.reporting.audit_markdown import markdown_audit, matrix_table
from vmferry.reporting.audit_picture import movability_svg
from vmferry.reporting.audit_text import audit_text
from vmferry.reporting.audit_words import audit_headline, finding_tags

EXT4 = SystemFacts(mounts=(Mount(path="/", source="/dev/sda1", fstype="ext4"),))
SVG = "{http://www.w3.org/2000/svg}"
NASTY = "a|b <script>alert('x')</script> & \"q\" `c`"


def snapshot(*, extra: tuple[Vm, ...] = ()) -> FleetSnapshot:
    """Three hosts with eight VMs of every fate; kvm4 was not read."""
    vms = {
        "kvm1": (build_vm("shop"), build_off_vm("archive"), build_vm("gpu", numa_pinned=("numatune",)), *extra),
        "kvm2": (build_vm("mail"), build_vm("cache", disks=(build_disk(f"{LOCAL}/cache.qcow2"),))),
        "kvm3": (build_vm("ci", cpu_mode="host-passthrough"),),
    }
    hosts = [(build_host(name), build_facts(name, there, system=EXT4)) for name, there in vms.items()]
    lost = [Unreachable(host="kvm4", reason="no route to host")]
    return build_snapshot([*hosts, (build_host("kvm4"), None)], unreachable=lost)


def leftover() -> Listing:
    files = (StoredFile(path=f"{LOCAL}/gone.qcow2", size_bytes=4 * GIB, allocated_bytes=3 * GIB),)
    return Listing(host="kvm1", directories=(LOCAL,), files=files)


def large(hosts: int = 50, vms: int = 4) -> FleetAudit:
    """Many hosts, each with a VM that is stuck; shown, not judged: made from one row of a small one."""
    small = audit(snapshot())
    row = small.movability.immovable[0]
    names = tuple(f"kvm{n:02}" for n in range(hosts))
    rows = [
        row.model_copy(
            update={
                "vm": f"vm-{h}-{n}",
                "uuid": str(build_uuid(f"{h}-{n}")),
                "host": host,
                "free": tuple(x for x in names if x != host) if n else (),
                "blocked": {} if n else {x: row.blocked["kvm2"] for x in names if x != host},
            }
        )
        for h, host in enumerate(names)
        for n in range(vms)
    ]
    update = {"hosts": names, "rows": tuple(rows), "unread": ()}
    emptying = tuple(small.emptying[0].model_copy(update={"host": host}) for host in names)
    losses = tuple(small.losses[1].model_copy(update={"host": host}) for host in names)
    matrix = small.movability.model_copy(update=update)
    return small.model_copy(update={"movability": matrix, "emptying": emptying, "losses": losses})


def twice() -> FleetAudit:
    vms = {"kvm1": [build_vm("shop")], "kvm2": [build_vm("shop")]}
    return audit(build_snapshot([(build_host(n), build_facts(n, there)) for n, there in vms.items()]))


# words


def test_the_headline_tells_who_is_stuck_and_which_host_cannot_be_emptied_or_lost() -> None:
    assert audit_headline(audit(snapshot())) == (
        "3 hosts, 6 VMs; 1 host not read (kvm4); 2 VMs can go nowhere; 2 hosts cannot be emptied (kvm1, kvm2); the "
        "loss of kvm1, kvm2 would strand VMs"
    )


def test_the_headline_of_a_sound_fleet_says_so() -> None:
    vms = {"kvm1": [build_vm("shop")], "kvm2": []}
    sound = audit(build_snapshot([(build_host(n), build_facts(n, there)) for n, there in vms.items()]))
    assert audit_headline(sound) == "2 hosts, 1 VM; every VM can go somewhere; every host can be emptied"
    assert finding_tags(sound) == ()


def test_a_run_is_found_by_what_it_found() -> None:
    before = SavedAudit.of(movability(snapshot())).model_copy(update={"taken_at": NOW - timedelta(days=7)})
    extra = (build_vm("new", snapshots=1),)
    found = audit(snapshot(extra=extra), files=[leftover()], before=before)
    assert finding_tags(found) == (
        "unmovable:3",
        "not-emptiable:2",
        "stranded-by-loss:2",
        "leftover-files:1",
        "not-read:1",
    )
    assert "alarm:1" in finding_tags(twice())


@pytest.mark.parametrize("show", [audit_headline, audit_text, markdown_audit], ids=lambda show: show.__name__)
def test_an_alarm_comes_before_everything(show: Any) -> None:
    assert show(twice()).lstrip("# ").startswith("ALARM: ")


# text


def test_the_text_tells_each_host_and_each_vm_that_is_stuck() -> None:
    text = audit_text(audit(snapshot(), files=[leftover()]))
    assert "kvm1  3    2        NO: gpu    1 of 2 stranded: gpu; 1 shut-off not startable" in text
    assert "kvm3  1    1        yes        1 VM would start elsewhere" in text
    assert "kvm4: not read: no route to host" in text
    assert "  gpu (kvm1, running): numa-pinning (every host)" in text
    assert "  3.0 GiB  kvm1:/srv/local/gone.qcow2" in text
    assert "no earlier audit to compare with" in text


def test_the_text_of_a_large_fleet_fits_a_screen() -> None:
    lines = audit_text(large()).splitlines()
    assert len(lines) <= 50
    assert "… and 30 more hosts with something to tell" in lines
    assert "  … and 42 more" in lines


def test_hosts_without_anything_to_tell_are_counted_in_a_large_fleet() -> None:
    found = large()
    quiet = tuple(e.model_copy(update={"stranded": ()}) if n else e for n, e in enumerate(found.emptying))
    calm = tuple(r.model_copy(update={"free": found.movability.hosts}) if r.host != "kvm00" else r
                 for r in found.movability.rows)  # fmt: skip
    matrix = found.movability.model_copy(update={"rows": calm})
    losses = tuple(loss.model_copy(update={"stranded": ()}) for loss in found.losses)
    text = audit_text(found.model_copy(update={"movability": matrix, "emptying": quiet, "losses": losses}))
    assert "49 other hosts: can be emptied, and all their running VMs would start elsewhere" in text


def test_changes_are_told_with_the_day_of_the_audit_before() -> None:
    before = SavedAudit.of(movability(snapshot())).model_copy(update={"taken_at": NOW - timedelta(days=7)})
    text = audit_text(audit(snapshot(extra=(build_vm("new"),)), before=before))
    assert "changed since 2024-09-17 12:00 UTC:\n  new (kvm1) is new" in text
    assert "nothing changed since 2024-09-17" in audit_text(audit(snapshot(), before=before))


# markdown


def test_the_markdown_tells_rule_hosts_and_remedy() -> None:
    text = markdown_audit(audit(snapshot(), files=[leftover()]))
    assert "| gpu | kvm1 | running | numa-pinning | every host | vm gpu is pinned by numatune" in text
    assert "| kvm2 | cache | runs | storage-not-shared (kvm1, kvm3), host-unreachable (kvm4) |" in text
    assert "| kvm1 | archive | shut off | storage-not-shared" in text
    assert "| named by no domain | kvm1:/srv/local/gone.qcow2 | 3.0 GiB | 4.0 GiB |" in text
    assert "qemu-img info --backing-chain" in text


def test_names_from_outside_cannot_break_a_table() -> None:
    text = markdown_audit(audit(snapshot(extra=(build_vm(NASTY, snapshots=1),))))
    assert "<script>" not in text
    rows = [line for line in text.splitlines() if "script" in line and line.startswith("|")]
    assert rows
    assert all(line.replace("\\|", "").count("|") in (7, 8) for line in rows if "snapshots" in line)


def test_a_small_matrix_has_a_row_per_vm() -> None:
    rows = {row["VM"]: row for row in matrix_table(audit(snapshot()))}
    assert rows["shop"] == {"VM": "shop", "on": "kvm1", "mode": "live"} | {
        "kvm1": "–",
        "kvm2": "✓",
        "kvm3": "✓",
        "kvm4": "?",
    }
    assert rows["gpu"]["kvm2"] == "✗ numa-pinning"
    assert rows["ci"]["kvm1"].startswith("! cpu-")


def test_a_large_matrix_has_a_row_per_host() -> None:
    rows = matrix_table(large())
    assert len(rows) == 50
    assert rows[7] | {"if it went down now": ""} == {
        "host": "kvm07",
        "VMs": "4",
        "can move": "3",
        "nowhere": "1",
        "can be emptied": "NO: gpu",
        "if it went down now": "",
        "can go nowhere": "vm-7-0",
    }


# picture


def test_a_small_picture_shows_every_vm_and_host() -> None:
    svg = ElementTree.fromstring(movability_svg(audit(snapshot())))
    words = [element.text for element in svg.iter(f"{SVG}text")]
    assert {"shop", "archive", "gpu", "mail", "cache", "ci", "kvm1", "kvm2", "kvm3", "kvm4"} <= set(words)
    titles = [element.text for element in svg.iter(f"{SVG}title")]
    assert "gpu: kvm1 → kvm2: blocked (numa-pinning)" in titles
    assert "shop: kvm1 → kvm4: host not read" in titles
    assert words.count("×") == 4


def test_a_large_picture_stays_small() -> None:
    picture = movability_svg(large(50, 20))
    svg = ElementTree.fromstring(picture)
    assert len(picture) < 250_000
    assert "kvm49 (20)" in [element.text for element in svg.iter(f"{SVG}text")]
    assert float(svg.attrib["width"]) <= 1200


def test_any_name_gives_well_formed_xml() -> None:
    ElementTree.fromstring(movability_svg(audit(snapshot(extra=(build_vm(NASTY + "\x01", snapshots=1),)))))


def test_a_fleet_without_vms_has_a_picture() -> None:
    empty = audit(build_snapshot([(build_host("kvm1"), build_facts("kvm1"))]))
    assert "no VM" in movability_svg(empty)
    assert audit_headline(empty) == "1 host, 0 VMs; every VM can go somewhere; every host can be emptied"


# files


def at_day(found: FleetAudit, day: int) -> FleetAudit:
    moment = NOW + timedelta(days=day)
    matrix = found.movability.model_copy(update={"taken_at": moment})
    return found.model_copy(update={"taken_at": moment, "movability": matrix})


def test_a_saved_audit_is_what_the_next_one_is_compared_with(tmp_path: Path) -> None:
    found = audit(snapshot())
    save_audit(tmp_path, at_day(found, 0))
    report = save_audit(tmp_path, at_day(found, 7))
    before, notes = load_before(tmp_path, ["kvm1"])
    assert (before, notes) == (SavedAudit.of(at_day(found, 7).movability), ())
    assert report.read_text().startswith("# 3 hosts, 6 VMs")
    assert (report.with_suffix(".svg")).read_text().startswith("<svg")


def test_the_saved_form_is_compact(tmp_path: Path) -> None:
    report = save_audit(tmp_path, audit(snapshot()))
    vms = {vm["vm"]: vm for vm in json.loads(report.with_suffix(".json").read_text())["vms"]}
    assert vms["gpu"] == vms["gpu"] | {"host": "kvm1", "movable_to": [], "blocked_by": ["numa-pinning"]}
    assert vms["shop"]["movable_to"] == ["kvm2", "kvm3"]


def test_the_first_audit_has_nothing_before_it(tmp_path: Path) -> None:
    assert load_before(tmp_path, ["kvm1"]) == (None, ())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 1}', b"\xff\xfe", b'{"hosts": 3}'])
def test_a_damaged_audit_is_told_and_the_one_before_is_taken(tmp_path: Path, content: bytes) -> None:
    found = audit(snapshot())
    save_audit(tmp_path, at_day(found, 0))
    damaged = save_audit(tmp_path, at_day(found, 7)).with_suffix(".json")
    damaged.write_bytes(content)
    before, (note,) = load_before(tmp_path, ["kvm1"])
    assert before == SavedAudit.of(at_day(found, 0).movability)
    assert str(damaged) in note


def test_an_audit_in_another_form_is_told_and_passed_over(tmp_path: Path) -> None:
    saved = save_audit(tmp_path, audit(snapshot())).with_suffix(".json")
    saved.write_text(saved.read_text().replace('"version":1', '"version":9'))
    before, (note,) = load_before(tmp_path, ["kvm1"])
    assert before is None
    assert "another vmferry (form 9)" in note


def test_an_audit_of_another_inventory_is_passed_over(tmp_path: Path) -> None:
    save_audit(tmp_path, audit(snapshot()))
    assert load_before(tmp_path, ["elsewhere1"]) == (None, ())


def test_only_the_newest_audits_stay_and_other_files_are_left_alone(tmp_path: Path) -> None:
    found = audit(snapshot())
    for day in range(5):
        save_audit(tmp_path, at_day(found, day))
    other = audits_dir(tmp_path) / "notes.json"
    other.write_text("mine")
    remove_old(tmp_path, kept=2)
    left = sorted(path.name for path in audits_dir(tmp_path).iterdir())
    assert left == [f"2024092{n}T120000.000000Z{end}" for n in (7, 8) for end in (".json", ".md", ".svg")] + [
        "notes.json"
    ]
