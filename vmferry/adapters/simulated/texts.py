"""Domain XML for the simulated fleet: a small writer and a small reader, independent of vmferry.domxml."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID
from xml.etree import ElementTree

from vmferry.errors import PermanentError
from vmferry.model.base import Model

_UNITS = {"b": 1 / 1024, "k": 1, "kib": 1, "m": 1024, "mib": 1024, "g": 1024**2, "gib": 1024**2}


class DomainText(Model):
    """What the simulated QEMU needs of a domain XML; `disks` maps path → whether it is a block device."""

    name: str
    uuid: UUID
    memory_kib: int
    vcpus: int
    disks: dict[str, bool]
    bridges: tuple[str, ...]
    networks: tuple[str, ...]


@lru_cache(maxsize=8192)
def read_text(xml: str) -> DomainText:
    """Parse a domain XML; raises PermanentError where libvirt would answer XML_ERROR."""
    try:
        root = ElementTree.fromstring(xml)
        name, uuid = root.findtext("name", ""), UUID(root.findtext("uuid", "").strip())
    except (ElementTree.ParseError, ValueError) as error:
        raise PermanentError(f"XML error: {error}; check the domain XML") from error
    memory = root.find("memory")
    unit = (memory.get("unit", "KiB") if memory is not None else "KiB").lower()
    amount = int(memory.text or "0") if memory is not None else 0
    return DomainText(
        name=name.strip(),
        uuid=uuid,
        memory_kib=int(amount * _UNITS[unit]),
        vcpus=int(root.findtext("vcpu", "1")),
        disks=_disks(root),
        bridges=_sources(root, "bridge"),
        networks=_sources(root, "network"),
    )


def _disks(root: ElementTree.Element) -> dict[str, bool]:
    found = {}
    for disk in root.iterfind("devices/disk"):
        source = disk.find("source")
        if source is not None and (path := source.get("file") or source.get("dev")):
            found[path] = source.get("dev") is not None
    return found


def _sources(root: ElementTree.Element, kind: str) -> tuple[str, ...]:
    nics = root.iterfind(f"devices/interface[@type='{kind}']/source")
    return tuple(name for nic in nics if (name := nic.get(kind)))


def write_text(
    name: str,
    uuid: UUID,
    memory_kib: int,
    *,
    disks: Sequence[str] = (),
    bridge: str | None = None,
    vcpus: int = 1,
) -> str:
    """Write the XML of a domain with a CPU that the default host can run; paths below /dev become block disks."""
    devices = "".join(_disk(path, index) for index, path in enumerate(disks))
    if bridge is not None:
        devices += f"<interface type='bridge'><source bridge='{bridge}'/><model type='virtio'/></interface>"
    return (
        f"<domain type='kvm'><name>{name}</name><uuid>{uuid}</uuid>"
        f"<memory unit='KiB'>{memory_kib}</memory><currentMemory unit='KiB'>{memory_kib}</currentMemory>"
        f"<vcpu placement='static'>{vcpus}</vcpu>"
        "<os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type></os>"
        "<cpu mode='custom' match='exact' check='partial'><model fallback='allow'>EPYC</model></cpu>"
        f"<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{devices}</devices></domain>"
    )


def _disk(path: str, index: int) -> str:
    kind, key = ("block", "dev") if path.startswith("/dev/") else ("file", "file")
    driver = "qcow2" if path.endswith(".qcow2") else "raw"
    return (
        f"<disk type='{kind}' device='disk'><driver name='qemu' type='{driver}' cache='none'/>"
        f"<source {key}='{path}'/><target dev='vd{chr(97 + index)}' bus='virtio'/></disk>"
    )
