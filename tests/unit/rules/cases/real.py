"""Moves of domains that are read from real XML, and of small ones written as libvirt writes them."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import IMAGES, LOCAL
from tests.unit.domxml.samples import domain, sample
from tests.unit.rules.cases.making import OFF_STATE, make
from vmferry.domxml.read import parse_vm
from vmferry.model.vm import DomainState, Vm
from vmferry.rules.case import Case

RUNNING: dict[str, Any] = {"state": DomainState.RUNNING, "state_reason": "booted"}


def xml_vm(devices: str = "", *, is_off: bool = False, **parts: str) -> Vm:
    """A small domain with these devices, running unless told otherwise."""
    return parse_vm(domain(devices, **parts), **(OFF_STATE if is_off else RUNNING))


def written(devices: str = "", *, is_off: bool = False, before: str = "", **case: Any) -> Case:
    """A move of a small domain with these devices."""
    return make(xml_vm(devices, is_off=is_off, before=before), **case)


def captured(name: str, *, is_off: bool = False, **case: Any) -> Case:
    """A move of one of libvirt's own test domains (tests/unit/domxml/data/libvirt)."""
    return make(parse_vm(sample(f"libvirt/{name}.xml"), **(OFF_STATE if is_off else RUNNING)), **case)


def file_disk(path: str = f"{IMAGES}/vm1.qcow2", *, inside: str = "", device: str = "disk", target: str = "vda") -> str:
    return (
        f"<disk type='file' device='{device}'><driver name='qemu' type='qcow2' cache='none'/><source file='{path}'/>"
        f"{inside}<target dev='{target}' bus='virtio'/></disk>"
    )


def block_disk(path: str = "/dev/vg0/vm1", *, inside: str = "") -> str:
    return (
        f"<disk type='block' device='disk'><driver name='qemu' type='raw' cache='none'/><source dev='{path}'/>"
        f"{inside}<target dev='vda' bus='virtio'/></disk>"
    )


def volume_disk(pool: str = "images", volume: str = "vm1.qcow2", *, device: str = "disk") -> str:
    return (
        f"<disk type='volume' device='{device}'><driver name='qemu' type='qcow2' cache='none'/>"
        f"<source pool='{pool}' volume='{volume}'/><target dev='vda' bus='virtio'/></disk>"
    )


def backing(path: str, kind: str = "file", attribute: str = "file") -> str:
    return (
        f"<backingStore type='{kind}'><format type='qcow2'/><source {attribute}='{path}'/><backingStore/>"
        "</backingStore>"
    )


LOCAL_FILE = f"{LOCAL}/vm1.qcow2"
