"""Marks of runs in a domain's metadata, on both of its definitions where it has both."""

from __future__ import annotations

import libvirt

from vmferry.domxml.marks import MARK_PREFIX, mark_uri, mark_xml, marks_of
from vmferry.model.mark import VmMark


def put_mark(domain: libvirt.virDomain, mark: VmMark) -> tuple[VmMark, ...]:
    """Write the mark, then read all of them: of two that write at the same time one at least sees both."""
    kind, uri = libvirt.VIR_DOMAIN_METADATA_ELEMENT, mark_uri(mark.run)
    domain.setMetadata(kind, mark_xml(mark), MARK_PREFIX, uri, _affected(domain))
    return marks_of(domain.XMLDesc(0))


def take_mark(domain: libvirt.virDomain, run: str) -> None:
    """Remove the mark; libvirt says nothing where there is none, and leaves an empty <metadata/>."""
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, None, MARK_PREFIX, mark_uri(run), _affected(domain))


def _affected(domain: libvirt.virDomain) -> int:
    """Return flags for what the domain has: libvirt refuses a call that asks for more."""
    live = libvirt.VIR_DOMAIN_AFFECT_LIVE if domain.isActive() else 0
    return int(live | (libvirt.VIR_DOMAIN_AFFECT_CONFIG if domain.isPersistent() else 0))
