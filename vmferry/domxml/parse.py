"""Domain XML from outside, parsed without trusting it."""

from __future__ import annotations

import re

from lxml import etree

from vmferry.errors import InvalidInput

# The largest of libvirt's own test domains has 60 KiB; a VM with a thousand disks has less than 1 MiB.
MAX_BYTES = 8 * 1024 * 1024
MAX_ELEMENTS = 30_000  # a disk of a running VM has a dozen
# Start and end tags, comments and the like: seen before parsing, as a tree of 8 MiB of tags takes 300 MiB.
_MAX_TAGS = 4 * MAX_ELEMENTS
LEADING = "\ufeff \t\r\n"

_SHOWN = 60
# libvirt's other documents, some of which hold a <domain> in a form that is not for moving.
_OTHERS = {
    "domstatus": "libvirt's own status of a running domain; `virsh dumpxml NAME` prints the domain",
    "domainsnapshot": "a snapshot; `virsh dumpxml NAME` prints the domain",
    "domaincheckpoint": "a checkpoint; `virsh dumpxml NAME` prints the domain",
    "domains": "several domains; give each its own file",
}


def parse_domain(xml: str | bytes) -> etree._Element:
    """Parse domain XML and return its `<domain>` element.

    Text is taken as it is, whatever encoding its declaration names; bytes are decoded as they declare.
    A byte order mark and white space before the document are skipped. Nothing is loaded and no entity is
    expanded: a document type is refused. Time and memory are bounded by `MAX_BYTES`, `MAX_ELEMENTS` and
    libxml2's own limit of 256 nested elements.

    Raises: InvalidInput that says what is wrong, and for syntax errors where.
    """
    data = _bytes(xml)
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"domain XML has {len(data)} bytes, more than the {MAX_BYTES} bytes that are read")
    if not data.strip():
        raise InvalidInput("domain XML is empty; `virsh dumpxml NAME` prints it")
    if (tags := data.count(b"<")) > _MAX_TAGS:
        raise InvalidInput(f"domain XML has {tags} tags, more than the {_MAX_TAGS} that are read")
    root = _parse(data, "utf-8" if isinstance(xml, str) else None)
    if root.getroottree().docinfo.internalDTD is not None:
        raise InvalidInput("domain XML has a <!DOCTYPE …>: libvirt writes none, and it may hide entities")
    if (count := int(str(root.xpath("string(count(//*))")))) > MAX_ELEMENTS:
        raise InvalidInput(f"domain XML has {count} elements, more than the {MAX_ELEMENTS} that are read")
    if root.tag != "domain":
        what = _OTHERS.get(str(root.tag))
        known = f" ({what})" if what else ""
        raise InvalidInput(f"not a libvirt domain: the root is <{shown(str(root.tag))}>{known}, not <domain>")
    return root


def shown(text: str) -> str:
    """Return text from outside as it may stand in a message: one line, at most 60 characters."""
    line = re.sub(r"[^\x20-\x7e\xa1-\uffff]", "·", text)
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def _bytes(xml: str | bytes) -> bytes:
    if isinstance(xml, bytes):
        return xml.lstrip(b" \t\r\n")
    try:
        return xml.lstrip(LEADING).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"domain XML is not text: character {error.start} is a lone surrogate") from error


def _parse(data: bytes, encoding: str | None) -> etree._Element:
    parser = etree.XMLParser(
        encoding=encoding,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
    )
    try:
        return etree.fromstring(data, parser)
    except (etree.LxmlError, ValueError, LookupError) as error:
        raise InvalidInput(f"domain XML is not well-formed: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    first, *_ = (getattr(error, "msg", None) or str(error) or "unknown error").splitlines()
    position = getattr(error, "position", None)
    where = f", line {position[0]}, column {position[1]}" if position and "line" not in first else ""
    return shown(first) + where
