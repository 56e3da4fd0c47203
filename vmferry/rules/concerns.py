"""Which VMs a rule may have something to say of: asked once per VM, so that the rule is not asked for every host."""

from __future__ import annotations

from vmferry.model.vm import DiskKind, Vm
from vmferry.rules.rule import Concern


def nics(*kinds: str) -> Concern:
    """VMs with a card of one of these types."""
    return lambda vm: any(nic.kind in kinds for nic in vm.nics)


def devices(*kinds: str) -> Concern:
    """VMs with a device of one of these kinds."""
    return lambda vm: any(device.kind in kinds for device in vm.devices)


def volumes(vm: Vm) -> bool:
    """VMs with a disk that is named by pool and volume."""
    return any(disk.kind is DiskKind.VOLUME for disk in vm.disks)


def backing_files(vm: Vm) -> bool:
    """VMs with an image that builds on another one."""
    return any(disk.backing for disk in vm.disks)


def filled_drives(vm: Vm) -> bool:
    """VMs with a drive that holds something."""
    return any(disk.device in ("cdrom", "floppy") and disk.source is not None for disk in vm.disks)


def huge_pages(vm: Vm) -> bool:
    """VMs on huge pages."""
    return vm.hugepages


def chosen_cpu(vm: Vm) -> bool:
    """VMs whose XML has a `<cpu>`."""
    return vm.cpu_xml is not None


def host_cpu(vm: Vm) -> bool:
    """VMs whose CPU is the host's own."""
    return vm.cpu_mode in ("host-passthrough", "maximum")


def chosen_firmware(vm: Vm) -> bool:
    """VMs whose XML asks for a firmware."""
    return vm.firmware is not None


def nvram(vm: Vm) -> bool:
    """VMs with firmware variables in a file."""
    return vm.nvram is not None
