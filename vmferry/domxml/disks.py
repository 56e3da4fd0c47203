"""`<disk>` elements: where a VM's content lies."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from vmferry.domxml.parse import shown
from vmferry.domxml.values import attribute_at, known, pci_address
from vmferry.model.vm import Device, Disk, DiskKind

# The attribute of <source> that names the place, per type (libvirt: virDomainStorageSourceParse).
_PLACE = {
    DiskKind.FILE: "file",
    DiskKind.BLOCK: "dev",
    DiskKind.DIR: "dir",
    DiskKind.VHOSTUSER: "path",
    DiskKind.VHOSTVDPA: "dev",
}
_KINDS = {str(kind): kind for kind in DiskKind}
_REMOVABLE = ("cdrom", "floppy")


def read_disks(devices: etree._Element, problems: list[str]) -> tuple[Disk, ...]:
    """Read every `<disk>` in document order; adds a problem for each that libvirt would not accept either."""
    disks = tuple(_disk(element, problems) for element in devices.iterchildren("disk"))
    seen: set[str] = set()
    for disk in disks:
        if disk.target and disk.target in seen:
            problems.append(f"two disks have the target {shown(disk.target)}")
        seen.add(disk.target)
    return disks


def read_disk_jobs(devices: etree._Element) -> Iterator[Device]:
    """Yield a device of kind `mirror` for each disk that a block job is copying.

    Attributes: target, job (copy, active-commit), ready, path.
    """
    for element in devices.iterfind("disk/mirror"):
        disk = element.getparent()
        target = (None if disk is None else attribute_at(disk, "target", "dev")) or "?"
        job = element.get("job", "copy")
        # libvirt < 1.2.6 wrote <mirror file='…'>; the form is still accepted and written beside the new one.
        place = source_place(element) or element.get("file")
        yield Device(
            kind="mirror",
            detail=f"disk {target}: {job} job to {place or 'an unnamed place'}",
            attributes=known(target=target, job=job, ready=element.get("ready"), path=place),
        )


def source_place(element: etree._Element) -> str | None:
    """Return what the `<source>` below a disk, backingStore or mirror names; None when it names nothing.

    A path for file, block and dir; `pool/volume`; `rbd://host:port/name` for network; `0000:01:00.0/1` for
    the namespace of an NVMe controller; a socket for vhostuser; a device for vhostvdpa.
    """
    source = element.find("source")
    if source is None:
        return None
    kind = kind_of(element)
    if kind is DiskKind.VOLUME:
        pool, volume = source.get("pool"), source.get("volume")
        return f"{pool}/{volume}" if pool and volume else None
    if kind is DiskKind.NETWORK:
        return _network_place(source)
    if kind is DiskKind.NVME:
        address = pci_address(source.find("address"))
        return f"{address}/{source.get('namespace', '1')}" if address else None
    return (source.get(_PLACE[kind]) or None) if kind in _PLACE else None


def kind_of(element: etree._Element) -> DiskKind:
    """Return the `type` attribute as a kind; `file` when absent, as in libvirt, `other` when unknown."""
    return _KINDS.get(element.get("type", "file"), DiskKind.OTHER)


def _disk(element: etree._Element, problems: list[str]) -> Disk:
    target = attribute_at(element, "target", "dev")
    if target is None:
        problems.append("a <disk> has no <target dev='…'>")
    kind = kind_of(element)
    if kind is DiskKind.OTHER:
        problems.append(f"disk {target} has the unknown type {shown(element.get('type', ''))!r}")
    device = element.get("device", "disk")
    place = source_place(element)
    if place is None and kind is not DiskKind.OTHER and device not in _REMOVABLE:
        problems.append(f"disk {target} of type {kind} names no source")
    return Disk(
        target=target or "",
        kind=kind,
        device=device,
        source=place,
        pool=attribute_at(element, "source", "pool"),
        driver=attribute_at(element, "driver", "type"),
        cache=attribute_at(element, "driver", "cache"),
        # libvirt adds <readonly/> to every cdrom (virDomainDiskDefPostParse).
        is_readonly=device == "cdrom" or element.find("readonly") is not None,
        is_shareable=element.find("shareable") is not None,
        is_transient=element.find("transient") is not None,
        backing=tuple(_backing(element)),
    )


def _backing(disk: etree._Element) -> Iterator[str]:
    """Yield what lies below a disk, nearest first: the chain, and each layer's external data file."""
    layer: etree._Element | None = disk
    while layer is not None:
        data_file = layer.find("source/dataStore")
        if data_file is not None and (place := source_place(data_file)):
            yield place
        layer = layer.find("backingStore")
        if layer is not None and (place := source_place(layer)):
            yield place


def _network_place(source: etree._Element) -> str:
    hosts = ",".join(_host(host) for host in source.iterchildren("host"))
    return f"{source.get('protocol', 'network')}://{hosts}/{source.get('name', '').lstrip('/')}"


def _host(host: etree._Element) -> str:
    name = host.get("name") or host.get("socket") or ""
    port = host.get("port")
    return f"{name}:{port}" if port else name
