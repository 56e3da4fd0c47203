"""Marks of runs in domain XML: one element of `<metadata>` per run, each in a namespace of its own.

libvirt keeps one element per namespace and has no compare-and-swap: two runs that mark a VM at the same time must
both stay readable (docs/decisions/0020).
"""

from __future__ import annotations

from datetime import UTC, datetime

from lxml import etree

from vmferry.domxml.parse import parse_domain, shown
from vmferry.model.mark import VmMark

MARK_PREFIX = "vmferry"  # libvirt's "key": the namespace's prefix in the XML that it writes
_URN = "urn:vmferry:run:"
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def mark_uri(run: str) -> str:
    """Return the namespace of a run's mark."""
    return f"{_URN}{run}"


def mark_xml(mark: VmMark) -> str:
    """Return the element that libvirt is handed; it puts it into the namespace."""
    times = {name: getattr(mark, name).astimezone(UTC).isoformat() for name in ("since", "until")}
    element = etree.Element("run", owner=mark.owner, source=mark.source, dest=mark.dest, **times)
    return etree.tostring(element, encoding="unicode")


def read_marks(root: etree._Element) -> tuple[VmMark, ...]:
    """Return the marks in a domain's metadata by run; one that cannot be understood is there, and long over."""
    found = []
    for element in root.iterfind("metadata/*"):
        if not isinstance(element.tag, str) or not element.tag.startswith("{" + _URN):
            continue
        run = element.tag[1:].partition("}")[0].removeprefix(_URN)
        found.append(_mark(shown(run), element))
    return tuple(sorted(found, key=lambda mark: mark.run))


def _mark(run: str, element: etree._Element) -> VmMark:
    words = {name: shown(element.get(name) or "unknown") for name in ("owner", "source", "dest")}
    since, until = _time(element.get("since")), _time(element.get("until"))
    return VmMark(run=run, **words, since=since, until=until)


def _time(text: str | None) -> datetime:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return _NEVER
    return found if found.tzinfo is not None else _NEVER


def marks_of(xml: str) -> tuple[VmMark, ...]:
    """Return the marks in domain XML. Raises InvalidInput when it is none."""
    return read_marks(parse_domain(xml))


def put_mark(xml: str, mark: VmMark) -> str:
    """Return domain XML with the run's mark, in place of an older one of the same run."""
    root = parse_domain(drop_mark(xml, mark.run))
    metadata = root.find("metadata")
    if metadata is None:
        metadata = etree.SubElement(root, "metadata")
    made = etree.SubElement(metadata, f"{{{mark_uri(mark.run)}}}run", nsmap={MARK_PREFIX: mark_uri(mark.run)})
    made.attrib.update(etree.fromstring(mark_xml(mark)).attrib)
    return etree.tostring(root, encoding="unicode")


def drop_mark(xml: str, run: str) -> str:
    """Return domain XML without the run's mark; the text itself where there is none."""
    if mark_uri(run) not in xml:
        return xml
    root = parse_domain(xml)
    for element in root.findall(f"metadata/{{{mark_uri(run)}}}run"):
        metadata = element.getparent()
        if metadata is None:
            continue
        metadata.remove(element)
        if len(metadata) == 0 and not (metadata.text or "").strip():
            root.remove(metadata)
    return etree.tostring(root, encoding="unicode")
