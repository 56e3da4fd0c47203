"""Changes reach what they name and nothing else."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.domxml.samples import FILES, UUID_TEXT, domain, sample
from vmferry.domxml.read import parse_vm
from vmferry.domxml.rewrite import applicable, check_same_vm, rewrite
from vmferry.errors import InvalidInput
from vmferry.model.migration import DomainChanges
from vmferry.model.vm import DiskKind

LIVE = sample("web1-live.xml")
XML_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1)


def disk_of(xml: str, target: str) -> tuple[DiskKind, str | None]:
    disk = next(disk for disk in parse_vm(xml).disks if disk.target == target)
    return disk.kind, disk.source


def problems_of(changes: DomainChanges, xml: str = LIVE) -> tuple[str, ...]:
    with pytest.raises(InvalidInput) as refusal:
        rewrite(xml, changes)
    return refusal.value.problems


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_without_changes_every_character_stays(path: Path) -> None:
    assert rewrite(path.read_text(), DomainChanges()) == path.read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_title_changes_the_title_only(path: Path) -> None:
    before = parse_vm(path.read_text())
    after = parse_vm(rewrite(path.read_text(), DomainChanges(title="a <b> & 'c'")))
    assert after == before.model_copy(update={"title": "a <b> & 'c'"})


def test_a_changed_path_changes_its_line_only() -> None:
    changed = rewrite(LIVE, DomainChanges(disk_sources={"vda": '/mnt/it\'s & "that".qcow2'}))
    lines = [pair for pair in zip(LIVE.splitlines(), changed.splitlines(), strict=True) if pair[0] != pair[1]]
    assert lines == [
        (
            "      <source file='/srv/images/web1 &amp; co.qcow2' index='2'/>",
            "      <source file='/mnt/it&apos;s &amp; \"that\".qcow2' index='2'/>",
        )
    ]


def test_namespaces_comments_cdata_and_quotes_survive() -> None:
    changed = rewrite(LIVE, DomainChanges(disk_sources={"vdb": "/dev/vg9/x"}, bridges={"br0": "br7"}))
    for kept in (
        "<!-- owner: café",
        "<![CDATA[keep <b>me</b>",
        'app:kind = "a>b"',
        "<qemu:arg value='-fw_cfg'/>",
    ):
        assert kept in changed
    assert '<source dev="/dev/vg9/x"/>' in changed
    assert "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'" in changed


@pytest.mark.parametrize(
    ("target", "place", "kind"),
    [
        ("vda", "/mnt/a.qcow2", DiskKind.FILE),
        ("vda", "/dev/vg1/a", DiskKind.BLOCK),
        ("vda", "/dev/shm/a.img", DiskKind.FILE),
        ("vdb", "/dev/vg1/b", DiskKind.BLOCK),
        ("vdb", "/mnt/b.raw", DiskKind.FILE),
        ("vdc", "/mnt/c.raw", DiskKind.FILE),
        ("vdc", "/dev/vg1/c", DiskKind.BLOCK),
        ("vdc", "slow/web1-log", DiskKind.VOLUME),
        ("sda", "/iso/debian.iso", DiskKind.FILE),
        ("sda", "/dev/sr0", DiskKind.BLOCK),
    ],
)
def test_the_type_of_a_disk_follows_its_new_place(target: str, place: str, kind: DiskKind) -> None:
    changed = rewrite(LIVE, DomainChanges(disk_sources={target: place}))
    assert disk_of(changed, target) == (kind, place)
    others = [disk for disk in parse_vm(changed).disks if disk.target != target]
    assert others == [disk for disk in parse_vm(LIVE).disks if disk.target != target]


def test_leaving_a_volume_leaves_no_trace_of_its_pool() -> None:
    changed = rewrite(LIVE, DomainChanges(disk_sources={"vdc": "/mnt/c.raw"}))
    assert "<source file='/mnt/c.raw'/>" in changed


def test_a_disk_without_a_source_gets_one_on_its_own_line() -> None:
    changed = rewrite(LIVE, DomainChanges(disk_sources={"sda": "/iso/debian.iso"}))
    assert "      <source file='/iso/debian.iso'/>\n      <target dev='sda' bus='sata'/>" in changed


def test_a_path_that_stays_keeps_the_type_it_has() -> None:
    xml = domain("<disk type='file'><source file='/dev/loop0'/><target dev='vda'/></disk>")
    assert rewrite(xml, DomainChanges(disk_sources={"vda": "/dev/loop0"})) == xml


def test_two_bridges_can_be_swapped() -> None:
    nics = "".join(f"<interface type='bridge'><source bridge='{name}'/></interface>" for name in ("a", "b"))
    changed = rewrite(domain(nics), DomainChanges(bridges={"a": "b", "b": "a"}))
    assert [nic.source for nic in parse_vm(changed).nics] == ["b", "a"]


def test_a_network_changes_and_its_bridge_is_left_to_libvirt() -> None:
    changed = rewrite(LIVE, DomainChanges(networks={"default": "lab"}))
    assert parse_vm(changed).nics[1].source == "lab"
    assert problems_of(DomainChanges(bridges={"virbr0": "virbr1"})) == (
        "no interface on bridge 'virbr0'; the VM has br0",
    )


def test_all_problems_are_told_at_once_with_what_there_is() -> None:
    problems = problems_of(
        DomainChanges(
            disk_sources={"vdz": "/a", "vda": "images/a.qcow2", "vdb": " ", "vdd": "/b"},
            bridges={"br9": "br1", "br0": "\x01"},
            networks={"lan": "x"},
            title="two\nlines",
            description="\x00",
        )
    )
    assert problems[0] == "no disk 'vdz'; the VM has vda, vdb, vdc, vdd, sda"
    assert len(problems) == 9


@pytest.mark.parametrize("file", ["disk-scsi-lun-passthrough", "disk-source-fd", "disk-virtio-scsi-reservations"])
def test_a_disk_that_needs_its_kind_of_source_does_not_get_another(file: str) -> None:
    xml = sample(f"libvirt/{file}.xml")
    disks = [d for d in parse_vm(xml).disks if d.device == "lun" or file == "disk-source-fd"]
    assert problems_of(DomainChanges(disk_sources={disks[-1].target: "/mnt/a.img"}), xml)


def test_title_and_description_are_added_after_the_identity() -> None:
    changed = rewrite(domain(), DomainChanges(title="T", description="D\nE"))
    assert "</uuid>\n  <title>T</title>\n  <description>D\nE</description>\n  <memory" in changed


def test_an_empty_title_element_is_filled() -> None:
    changed = rewrite(domain(before="<title/>"), DomainChanges(title="T"))
    assert changed == domain(before="<title>T</title>")


def test_a_domain_without_anything_takes_no_title() -> None:
    assert problems_of(DomainChanges(title="T"), "<domain/>") == ("no place for a title: the domain is empty",)


def test_a_declaration_of_another_encoding_is_dropped_for_libvirt() -> None:
    xml = domain(before="<title>Bär</title>")
    assert rewrite(f" <?xml version='1.0' encoding='latin1'?>\n{xml}", DomainChanges()) == xml
    utf8 = f"<?xml version='1.0' encoding='UTF-8'?>\n{xml}"
    assert rewrite(utf8, DomainChanges()) == utf8


@pytest.mark.parametrize("xml", ["<domain>", "<network/>", ""])
def test_what_is_no_domain_is_refused(xml: str) -> None:
    assert problems_of(DomainChanges(), xml)


def test_changes_are_narrowed_to_what_a_definition_has() -> None:
    wide = DomainChanges(
        disk_sources={"vda": "/a", "vdz": "/z"},
        bridges={"br0": "x", "br9": "y"},
        networks={"lan": "z"},
        title="T",
    )
    narrow = applicable(LIVE, wide)
    assert narrow == DomainChanges(disk_sources={"vda": "/a"}, bridges={"br0": "x"}, title="T")
    assert rewrite(LIVE, narrow)


@given(XML_TEXT, XML_TEXT, XML_TEXT)
def test_any_name_that_xml_can_hold_arrives(path: str, bridge: str, text: str) -> None:
    bridge = bridge.strip() or "br1"
    changes = DomainChanges(
        disk_sources={"vda": f"/a{path}", "sda": f"/b{path}"}, bridges={"br0": bridge}, title=f"t{text}t"
    )
    vm = parse_vm(rewrite(LIVE, changes))
    assert (vm.disks[0].source, vm.disks[4].source) == (f"/a{path}", f"/b{path}")
    assert (vm.nics[0].source, vm.title) == (bridge, f"t{text}t")


def test_xml_of_the_same_vm_has_no_problems() -> None:
    assert check_same_vm(LIVE, "web1", UUID(UUID_TEXT), max_memory_kib=4194304) == ()


def test_xml_of_another_vm_is_told_apart_by_everything_that_differs() -> None:
    problems = check_same_vm(LIVE, "web2", UUID(int=5), max_memory_kib=1024)
    assert [problem.split()[2] for problem in problems] == ["is", "has", "gives"]


@pytest.mark.parametrize("xml", ["<domain>", domain().replace(UUID_TEXT, "")])
def test_xml_that_cannot_be_read_is_never_the_same_vm(xml: str) -> None:
    assert check_same_vm(xml, "vm1", UUID(UUID_TEXT))
