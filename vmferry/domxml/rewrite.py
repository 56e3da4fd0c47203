"""The destination's domain XML: the source's, with typed changes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from uuid import UUID

from lxml import etree

from vmferry.domxml.disks import kind_of, source_place
from vmferry.domxml.draft import Draft, element_markup
from vmferry.domxml.parse import LEADING, parse_domain, shown
from vmferry.domxml.read import parse_vm
from vmferry.domxml.values import attribute_at
from vmferry.errors import InvalidInput
from vmferry.model.migration import DomainChanges
from vmferry.model.vm import DiskKind

_IDENTITY = ("name", "uuid", "genid", "hwuuid", "title")
_PATH_KINDS = (DiskKind.FILE, DiskKind.BLOCK, DiskKind.VOLUME)
_SOURCE_ATTRIBUTES = ("file", "dev", "pool", "volume", "mode")
# XML 1.0 § 2.2: what a document cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DECLARATION = re.compile(r"<\?xml\s[^>]*?encoding\s*=\s*[\"'](?P<encoding>[^\"']*)[\"'][^>]*\?>\s*")


def rewrite(xml: str, changes: DomainChanges) -> str:
    """Return domain XML with the changes made and every other character as it was.

    Without changes the text comes back as it is, except for white space before the document and a declaration
    of an encoding other than UTF-8, which would be wrong for what libvirt is handed. A disk that gets a path
    becomes `type='block'` for a device below /dev and `type='file'` otherwise; a volume can also get another
    `pool/volume`. Backing files and block jobs stay as they are.

    Raises: InvalidInput with all problems at once: a disk target, bridge or network that the VM does not have
    (the message names those it has; see `applicable`), a source that has no path, a value that XML or libvirt
    does not take.
    """
    text = _without_foreign_declaration(xml.lstrip(LEADING))
    root = parse_domain(text)
    draft = Draft(text, root)
    problems = (
        *_change_disks(draft, root, changes.disk_sources),
        *_change_sources(draft, root, "bridge", changes.bridges),
        *_change_sources(draft, root, "network", changes.networks),
        *_change_texts(draft, root, changes),
    )
    if problems:
        raise InvalidInput("domain XML cannot be changed so: " + "; ".join(problems), problems=problems)
    return draft.result()


def applicable(xml: str, changes: DomainChanges) -> DomainChanges:
    """Return the changes without the disks, bridges and networks that this XML does not have.

    For a persistent definition, which lacks what was plugged into the running VM only, and for maps that hold
    for many VMs. Raises: InvalidInput when it is not domain XML.
    """
    root = parse_domain(xml)
    bridges, networks = _interfaces(root, "bridge"), _interfaces(root, "network")
    return changes.model_copy(
        update={
            "disk_sources": _only(changes.disk_sources, set(_disks(root))),
            "bridges": _only(changes.bridges, {name for name, _ in bridges}),
            "networks": _only(changes.networks, {name for name, _ in networks}),
        }
    )


def check_same_vm(xml: str, name: str, uuid: UUID, *, max_memory_kib: int | None = None) -> tuple[str, ...]:
    """Return why XML given by a user cannot stand for this VM; empty when it can.

    Name, UUID and, where `max_memory_kib` is given, the maximum memory must be the same. XML that cannot be
    read, or not wholly, is a problem too.
    """
    try:
        vm = parse_vm(xml)
    except InvalidInput as error:
        return error.problems
    problems = list(vm.problems)
    if vm.name and vm.name != name:
        problems.append(f"the XML is of VM {shown(vm.name)!r}, not {name!r}")
    if vm.uuid.int and vm.uuid != uuid:
        problems.append(f"the XML has UUID {vm.uuid}, not {uuid}")
    if max_memory_kib is not None and vm.max_memory_kib and vm.max_memory_kib != max_memory_kib:
        problems.append(f"the XML gives {vm.max_memory_kib} KiB of memory, the VM has {max_memory_kib} KiB")
    return tuple(problems)


def _without_foreign_declaration(text: str) -> str:
    match = _DECLARATION.match(text)
    is_foreign = match is not None and match["encoding"].lower() not in ("utf-8", "utf8")
    return text[match.end() :] if match is not None and is_foreign else text


def _disks(root: etree._Element) -> dict[str, etree._Element]:
    found = ((attribute_at(disk, "target", "dev"), disk) for disk in root.iterfind("devices/disk"))
    return {target: disk for target, disk in found if target}


def _interfaces(root: etree._Element, attribute: str) -> list[tuple[str, etree._Element]]:
    """Return name and `<source>` of every interface on a bridge, or on a network.

    A running VM's interface on a network also tells libvirt's own bridge: that one is the network's business.
    """
    path = "devices/interface[@type='bridge']/source" if attribute == "bridge" else "devices/interface/source"
    found = ((source.get(attribute), source) for source in root.iterfind(path))
    return [(name, source) for name, source in found if name]


def _only(changes: Mapping[str, str], names: set[str]) -> dict[str, str]:
    return {name: value for name, value in changes.items() if name in names}


def _change_disks(draft: Draft, root: etree._Element, sources: Mapping[str, str]) -> Iterator[str]:
    disks = _disks(root)
    for target, place in sources.items():
        disk = disks.get(target)
        if disk is None:
            yield f"no disk {shown(target)!r}; the VM has {', '.join(disks) or 'none'}"
        elif problem := _value_problem(place):
            yield f"disk {target}: {problem}"
        elif source_place(disk) != place:
            yield from _change_disk(draft, disk, target, place)


def _change_disk(draft: Draft, disk: etree._Element, target: str, place: str) -> Iterator[str]:
    kind = kind_of(disk)
    if kind not in _PATH_KINDS:
        yield f"disk {target} is of type {kind}: its source is not a path and is the same on every host"
    elif place.startswith("/"):
        new = _kind_of_path(place)
        if problem := _hindrance(disk, new):
            yield f"disk {target} cannot use {shown(place)}: {problem}"
        else:
            _set_source(draft, disk, new, {"dev" if new is DiskKind.BLOCK else "file": place})
    elif kind is DiskKind.VOLUME and all(place.partition("/")):
        pool, _, volume = place.partition("/")
        _set_source(draft, disk, kind, {"pool": pool, "volume": volume})
    else:
        yield f"disk {target}: {shown(place)!r} is not an absolute path"


def _kind_of_path(path: str) -> DiskKind:
    is_device = path.startswith("/dev/") and not path.startswith("/dev/shm/")
    return DiskKind.BLOCK if is_device else DiskKind.FILE


def _hindrance(disk: etree._Element, new: DiskKind) -> str:
    """Return why libvirt would not take the disk with a source of the new kind; empty when it would."""
    if disk.find("source[@fdgroup]") is not None:
        return "it is an open file that another program handed to libvirt (fdgroup)"
    if new is DiskKind.FILE and disk.get("device") == "lun":
        return "a disk with device='lun' needs a block device"
    if new is DiskKind.FILE and disk.find("source/reservations") is not None:
        return "a disk with persistent reservations needs a block device"
    return ""


def _set_source(draft: Draft, disk: etree._Element, kind: DiskKind, values: dict[str, str]) -> None:
    if kind_of(disk) is not kind:
        draft.set_attribute(disk, "type", kind)
    source, target = disk.find("source"), disk.find("target")
    if source is None:
        assert target is not None  # the disk was found by its target
        draft.insert_before(target, element_markup("source", **values))
        return
    kept = {*values, "mode"} if kind is DiskKind.VOLUME else {*values}
    for name in _SOURCE_ATTRIBUTES:
        if name in values:
            draft.set_attribute(source, name, values[name])
        elif name not in kept:
            draft.drop_attribute(source, name)


def _change_sources(draft: Draft, root: etree._Element, attribute: str, names: Mapping[str, str]) -> Iterator[str]:
    interfaces = _interfaces(root, attribute)
    present = dict.fromkeys(name for name, _ in interfaces)
    for old, new in names.items():
        if old not in present:
            yield f"no interface on {attribute} {shown(old)!r}; the VM has {', '.join(present) or 'none'}"
        elif problem := _value_problem(new):
            yield f"{attribute} {old}: {problem}"
    for name, source in interfaces:
        if names.get(name, name) != name:
            draft.set_attribute(source, attribute, names[name])


def _change_texts(draft: Draft, root: etree._Element, changes: DomainChanges) -> Iterator[str]:
    for tag, text in (("title", changes.title), ("description", changes.description)):
        if text is None:
            continue
        if _NOT_XML.search(text):
            yield f"{tag} has a character that XML cannot hold"
        elif tag == "title" and "\n" in text:
            yield "title has more than one line, which libvirt refuses"
        elif (element := root.find(tag)) is not None:
            draft.set_text(element, text)
        elif (anchor := _after_identity(root)) is None:
            yield f"no place for a {tag}: the domain is empty"
        else:
            draft.insert_before(anchor, element_markup(tag, text))


def _after_identity(root: etree._Element) -> etree._Element | None:
    """Return the element before which libvirt writes title and description."""
    children = list(root.iterchildren("*"))
    return next((child for child in children if child.tag not in _IDENTITY), children[0] if children else None)


def _value_problem(value: str) -> str:
    if not value.strip():
        return "the new name is empty"
    return "the new name has a character that XML cannot hold" if _NOT_XML.search(value) else ""
