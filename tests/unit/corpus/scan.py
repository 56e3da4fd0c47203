"""What ties a domain to its host, told by the standard library alone: none of vmferry's own reading is used."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

# What ties → the rule that must name it.
RULE_OF = {
    "hostdev": "passthrough",
    "mdev hostdev": "mediated-device",
    "hostdev interface": "nic-passthrough",
    "vfio interface": "nic-passthrough",
    "vdpa interface": "nic-vdpa",
    "nvme disk": "passthrough",
    "vhostvdpa disk": "disk-kind",
    "filesystem": "filesystem",
    "virtiofs": "filesystem",
    "launch security": "launch-security",
    "persistent memory": "persistent-memory",
    "enclave memory": "sgx-memory",
    "shared memory": "shmem",
}
_INTERFACES = {"hostdev": "hostdev interface", "vdpa": "vdpa interface"}
_MEMORY = {"nvdimm": "persistent memory", "virtio-pmem": "persistent memory", "sgx-epc": "enclave memory"}
_DISKS = {"nvme": "nvme disk", "vhostvdpa": "vhostvdpa disk"}


def root_of(content: bytes) -> ElementTree.Element | None:
    """Return the root element; None where the file is no well-formed XML."""
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError:
        return None


def ties(domain: ElementTree.Element) -> Iterator[str]:
    """Yield why the domain must not move with its memory, wherever in the document the element stands."""
    for hostdev in domain.iter("hostdev"):
        yield "mdev hostdev" if hostdev.get("type") == "mdev" else "hostdev"
    for interface in domain.iter("interface"):
        yield from _listed(_INTERFACES, interface)
        if any(driver.get("name") == "vfio" for driver in interface.iter("driver")):
            yield "vfio interface"
    for disk in domain.iter("disk"):
        yield from _listed(_DISKS, disk)
    for filesystem in domain.iter("filesystem"):
        is_virtiofs = any(driver.get("type") == "virtiofs" for driver in filesystem.iter("driver"))
        yield "virtiofs" if is_virtiofs else "filesystem"
    for memory in domain.iter("memory"):
        yield from _listed(_MEMORY, memory, "model")
    yield from ("shared memory" for _ in domain.iter("shmem"))
    yield from ("launch security" for _ in domain.iter("launchSecurity"))


def hostdev_kinds(domain: ElementTree.Element) -> set[str]:
    """Return the types of the host devices that are handed through."""
    return {hostdev.get("type", "") for hostdev in domain.iter("hostdev")}


def _listed(names: dict[str, str], element: ElementTree.Element, attribute: str = "type") -> Iterator[str]:
    if element.get(attribute) in names:
        yield names[element.get(attribute, "")]
