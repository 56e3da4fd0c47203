"""`<interface>` elements: where a VM's network cards are plugged in."""

from __future__ import annotations

from lxml import etree

from vmferry.domxml.values import attribute_at, pci_address
from vmferry.model.vm import Nic

# The attribute of <source> that names the place, per type (libvirt: virDomainNetDefParseXML).
_PLACE = {
    "network": "network",
    "bridge": "bridge",
    "direct": "dev",
    "vdpa": "dev",
    "vhostuser": "path",
    "internal": "name",
    "vds": "switchid",
}
_SOCKETS = ("server", "client", "mcast", "udp")


def read_nics(devices: etree._Element) -> tuple[Nic, ...]:
    """Read every `<interface>` in document order; one without a type is `user`, as in libvirt.

    `source` is the name of the network or bridge, the host's device (direct, vdpa), the PCI address
    (hostdev), `address:port` of the socket types, and None where the host gives nothing (user, ethernet).
    """
    return tuple(_nic(element) for element in devices.iterchildren("interface"))


def _nic(element: etree._Element) -> Nic:
    kind = element.get("type", "user")
    return Nic(
        kind=kind,
        source=_place(element, kind),
        mac=attribute_at(element, "mac", "address"),
        target=attribute_at(element, "target", "dev"),
    )


def _place(element: etree._Element, kind: str) -> str | None:
    source = element.find("source")
    if source is None:
        return None
    if kind == "hostdev":
        return pci_address(source.find("address")) or source.get("network")
    if kind in _SOCKETS:
        return f"{source.get('address', '')}:{source.get('port', '')}"
    return (source.get(_PLACE[kind]) or None) if kind in _PLACE else None
