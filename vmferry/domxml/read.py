"""Domain XML → `Vm`."""

from __future__ import annotations

import re
from uuid import UUID

from lxml import etree

from vmferry.domxml.chardevs import read_agent, read_chardevs
from vmferry.domxml.cpu import read_cpu_mode, read_cpu_xml, read_max_vcpus, read_vcpus
from vmferry.domxml.devices import read_devices
from vmferry.domxml.disks import read_disk_jobs, read_disks
from vmferry.domxml.handling import read_handling
from vmferry.domxml.hostdevs import read_hostdevs
from vmferry.domxml.machine import (
    read_firmware,
    read_hugepage_kib,
    read_machine_devices,
    read_memory,
    read_nvram,
    read_pins,
)
from vmferry.domxml.marks import read_marks
from vmferry.domxml.nics import read_nics
from vmferry.domxml.parse import parse_domain, shown
from vmferry.domxml.placement_wishes import read_placement_wishes
from vmferry.domxml.values import attribute_at, text_at, text_of
from vmferry.model.vm import Device, DomainState, Vm

NIL_UUID = UUID(int=0)


def parse_vm(
    xml: str | bytes,
    *,
    state: DomainState = DomainState.NOSTATE,
    state_reason: str = "",
    is_persistent: bool = True,
    is_autostart: bool = False,
    has_managed_save: bool = False,
    snapshots: int = 0,
    checkpoints: int = 0,
    has_active_job: bool = False,
) -> Vm:
    """Read domain XML of any hypervisor, and what libvirt says beside it, into a `Vm`.

    What cannot be understood in it goes to `problems`, all of it, and the rest is read all the same: a
    missing or malformed uuid becomes the nil UUID, a missing name the empty string, an unknown size 0.

    Raises: InvalidInput when it is not XML or the root is not `<domain>`.
    """
    return _read_vm(parse_domain(xml)).model_copy(
        update={
            "state": state,
            "state_reason": state_reason,
            "is_persistent": is_persistent,
            "is_autostart": is_autostart,
            "has_managed_save": has_managed_save,
            "snapshots": snapshots,
            "checkpoints": checkpoints,
            "has_active_job": has_active_job,
        }
    )


def _read_vm(root: etree._Element) -> Vm:
    problems: list[str] = []
    devices = _devices_of(root, problems)
    memory_kib, max_memory_kib = read_memory(root, problems)
    has_agent_channel, is_agent_connected = read_agent(devices)
    return Vm(
        name=read_name(root, problems),
        uuid=read_uuid(root, problems),
        domain_type=_domain_type(root, problems),
        title=text_at(root, "title"),
        memory_kib=memory_kib,
        max_memory_kib=max_memory_kib,
        hugepages=root.find("memoryBacking/hugepages") is not None,
        hugepage_kib=read_hugepage_kib(root, problems),
        vcpus=read_vcpus(root, problems),
        max_vcpus=read_max_vcpus(root),
        arch=attribute_at(root, "os/type", "arch") or "x86_64",
        machine=attribute_at(root, "os/type", "machine"),
        cpu_mode=read_cpu_mode(root),
        cpu_xml=read_cpu_xml(root),
        emulator=text_at(devices, "emulator"),
        nvram=read_nvram(root),
        firmware=read_firmware(root),
        numa_pinned=read_pins(root),
        disks=read_disks(devices, problems),
        nics=read_nics(devices),
        devices=_all_devices(root, devices),
        has_agent_channel=has_agent_channel,
        is_agent_connected=is_agent_connected,
        launch_security=attribute_at(root, "launchSecurity", "type"),
        placement_wishes=read_placement_wishes(root, problems),
        marks=read_marks(root),
        handling=read_handling(root),
        problems=tuple(problems),
    )


def _devices_of(root: etree._Element, problems: list[str]) -> etree._Element:
    """Return `<devices>`, an empty one where there is none; libvirt reads all of several, so several are a problem."""
    found = root.findall("devices")
    if len(found) > 1:
        problems.append(f"{len(found)} elements <devices>; make them one")
    return found[0] if found else etree.Element("devices")


def _all_devices(root: etree._Element, devices: etree._Element) -> tuple[Device, ...]:
    return (
        *read_hostdevs(devices),
        *read_devices(devices),
        *read_chardevs(devices),
        *read_disk_jobs(devices),
        *read_machine_devices(root),
    )


def read_name(root: etree._Element, problems: list[str]) -> str:
    """Return the domain's name as it stands; the empty string and a problem when there is none."""
    name = text_of(root.find("name"))
    if not name:
        problems.append("no <name>")
    return name


def read_uuid(root: etree._Element, problems: list[str]) -> UUID:
    """Return the domain's UUID; the nil UUID and a problem when it is missing or malformed."""
    text = text_at(root, "uuid")
    if text is None:
        problems.append("no <uuid>: which VM this is cannot be told")
        return NIL_UUID
    digits = text.replace("-", "")
    if not re.fullmatch("[0-9a-fA-F]{32}", digits):
        problems.append(f"<uuid> is not a UUID but {shown(text)!r}")
        return NIL_UUID
    return UUID(digits)


def _domain_type(root: etree._Element, problems: list[str]) -> str:
    domain_type = root.get("type", "")
    if not domain_type:
        problems.append("<domain> has no type='…' (kvm, qemu, …)")
    return domain_type
