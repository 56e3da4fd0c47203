"""Choose how the memory of a VM travels between two hosts, and say why."""

from __future__ import annotations

from vmferry.model.transport import Encryption, Transport
from vmferry.rules.case import Case


def choose_transport(case: Case) -> Transport:
    """Return what both hosts can do and the inventory allows; through the libvirt connection always works."""
    source, dest = case.source.host, case.dest.host
    if source.encryption is dest.encryption:
        return Transport(encryption=source.encryption, reason=f"the inventory says {source.encryption} for both hosts")
    return Transport(encryption=Encryption.TUNNELLED, reason="the inventory says different things of the two hosts")
