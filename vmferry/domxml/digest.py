"""Tell whether somebody has changed a domain's definition."""

from __future__ import annotations

import hashlib

from lxml import etree

from vmferry.domxml.parse import parse_domain

_OURS = "{urn:vmferry:run:"  # marks of runs come and go


def definition_digest(xml: str) -> str:
    """Return a digest of domain XML, whatever its white space and the order of attributes, without our own marks."""
    root = parse_domain(xml)
    metadata = root.find("metadata")
    if metadata is not None:
        for element in list(metadata):
            if isinstance(element.tag, str) and element.tag.startswith(_OURS):
                metadata.remove(element)
        if len(metadata) == 0:
            root.remove(metadata)
    root.attrib.pop("id", "")  # of a running domain
    for element in root.iter():
        element.text = (element.text or "").strip() or None
        element.tail = None
    canonical = etree.tostring(root, method="c14n")
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()
