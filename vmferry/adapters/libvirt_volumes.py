"""Volumes of a host's storage pools, made and removed through libvirt."""

from __future__ import annotations

import libvirt
from lxml import etree

from vmferry.adapters.libvirt_calls import text_of
from vmferry.errors import CopyFailed

# What libvirt answers when a volume is not there, and when one of its name is.
_GONE = (libvirt.VIR_ERR_NO_STORAGE_VOL, libvirt.VIR_ERR_NO_STORAGE_POOL)


def create_volume(
    connection: libvirt.virConnect, host: str, pool: str, name: str, *, size_bytes: int, format: str
) -> str:
    """Create a volume in an active pool and return its path; libvirt never makes one over another.

    Volumes of pools that are no directories have no format. Raises CopyFailed for what libvirt refuses.
    """
    try:
        found = connection.storagePoolLookupByName(pool)
        kind = etree.fromstring(found.XMLDesc(0).encode()).get("type")
        xml = _volume_xml(name, size_bytes, format if kind in ("dir", "fs", "netfs") else None)
        return str(found.createXML(xml, 0).path())
    except libvirt.libvirtError as error:
        if error.get_error_code() in (
            libvirt.VIR_ERR_STORAGE_VOL_EXIST,
            libvirt.VIR_ERR_NO_STORAGE_POOL,
            libvirt.VIR_ERR_OPERATION_INVALID,
        ):
            raise CopyFailed(
                f"volume {name} of pool {pool} on {host}: not made: {text_of(error)}; look with `virsh vol-list {pool}`"
                " there",
                host=host,
            ) from error
        raise


def delete_volume(connection: libvirt.virConnect, pool: str, name: str) -> None:
    """Remove a volume; no-op when it is gone."""
    try:
        connection.storagePoolLookupByName(pool).storageVolLookupByName(name).delete(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _GONE:
            raise


def refresh_pool(connection: libvirt.virConnect, pool: str) -> None:
    """Let libvirt look again at what is in a pool."""
    connection.storagePoolLookupByName(pool).refresh(0)


def _volume_xml(name: str, size_bytes: int, format: str | None) -> str:
    volume = etree.Element("volume")
    etree.SubElement(volume, "name").text = name
    # As large as asked for and, where that is possible, empty: what is copied fills it.
    etree.SubElement(volume, "capacity", unit="bytes").text = str(size_bytes)
    if format is not None:
        etree.SubElement(volume, "allocation", unit="bytes").text = "0"
        etree.SubElement(etree.SubElement(volume, "target"), "format", type=format)
    return etree.tostring(volume, encoding="unicode")
