"""Devices of the host that a VM holds: `<hostdev>`, and interfaces and disks that are one underneath."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from vmferry.domxml.disks import kind_of, source_place
from vmferry.domxml.values import attribute_at, known, pci_address, text_at
from vmferry.model.vm import Device, DiskKind


def read_hostdevs(devices: etree._Element) -> Iterator[Device]:
    """Yield a device of kind `hostdev` for each piece of the host's hardware that the guest holds.

    Attributes: mode (subsystem, capabilities), type (pci, usb, scsi, scsi_host, mdev, storage, misc, net),
    managed, model, driver, teaming, address (in the form its type has), and from (hostdev, interface, disk)
    with mac or target of the interface or disk that it is.
    """
    for element in devices.iterchildren("hostdev"):
        yield _hostdev(element)
    for element in devices.iterchildren("interface"):
        if element.get("type") == "hostdev" or attribute_at(element, "driver", "name") == "vfio":
            yield _interface(element)
    for element in devices.iterchildren("disk"):
        if kind_of(element) is DiskKind.NVME:
            yield _nvme(element)


def _hostdev(element: etree._Element) -> Device:
    mode = element.get("mode", "subsystem")
    kind = element.get("type", "")
    address = _address(element, kind)
    found = known(
        mode=mode,
        type=kind,
        managed=element.get("managed"),
        model=element.get("model"),
        driver=attribute_at(element, "driver", "name"),
        teaming=attribute_at(element, "teaming", "type"),
        address=address,
    )
    detail = f"{kind} {address or ''}".strip()
    return Device(kind="hostdev", detail=detail, attributes={**found, "from": "hostdev"})


def _interface(element: etree._Element) -> Device:
    address = pci_address(element.find("source/address"))
    mac = attribute_at(element, "mac", "address")
    found = known(
        mode="subsystem",
        type="pci",
        managed=element.get("managed"),
        driver=attribute_at(element, "driver", "name"),
        teaming=attribute_at(element, "teaming", "type"),
        address=address,
        mac=mac,
    )
    place = address or attribute_at(element, "source", "network") or attribute_at(element, "source", "dev")
    detail = f"pci {place or 'device'} (interface {mac})"
    return Device(kind="hostdev", detail=detail, attributes={**found, "from": "interface"})


def _nvme(element: etree._Element) -> Device:
    target = attribute_at(element, "target", "dev")
    found = known(
        mode="subsystem",
        type="pci",
        managed=attribute_at(element, "source", "managed"),
        address=pci_address(element.find("source/address")),
        target=target,
    )
    detail = f"nvme {source_place(element)} (disk {target})"
    return Device(kind="hostdev", detail=detail, attributes={**found, "from": "disk"})


def _address(element: etree._Element, kind: str) -> str | None:
    """Return which device of the host it is, in the words of its kind."""
    source = element.find("source")
    if source is None:
        return None
    match kind:
        case "pci":
            return pci_address(source.find("address"))
        case "usb":
            return _usb(source)
        case "mdev":
            return attribute_at(source, "address", "uuid")
        case "scsi":
            return _scsi(source)
        case "scsi_host":
            return source.get("wwpn")
        case _:
            return text_at(source, "block") or text_at(source, "char") or text_at(source, "interface")


def _usb(source: etree._Element) -> str | None:
    vendor, product = attribute_at(source, "vendor", "id"), attribute_at(source, "product", "id")
    if vendor and product:
        return f"{vendor}:{product}"
    address = source.find("address")
    return None if address is None else f"bus {address.get('bus')} device {address.get('device')}"


def _scsi(source: etree._Element) -> str | None:
    if source.get("protocol"):
        return f"{source.get('protocol')}://{source.get('name', '')}"
    address = source.find("address")
    if address is None:
        return None
    unit = ":".join(address.get(name, "0") for name in ("bus", "target", "unit"))
    return f"{attribute_at(source, 'adapter', 'name')}:{unit}"
