"""The guest CPU as a question to hosts, and rules about whether the destination can run it."""

from __future__ import annotations

from vmferry.model.facts import GuestCpu
from vmferry.model.host import HostFacts
from vmferry.model.vm import Vm


def guest_cpu(vm: Vm, source: HostFacts) -> GuestCpu | None:
    """Return what a destination is to be asked about the VM's CPU; None where the XML has no `<cpu>`.

    The machine type is the canonical one of the source: aliases differ between hosts.
    """
    if vm.cpu_xml is None:
        return None
    canonical = {machine.name: machine.canonical for machine in source.machines}
    machine = canonical.get(vm.machine, vm.machine) if vm.machine else None
    return GuestCpu(xml=vm.cpu_xml, arch=vm.arch, machine=machine, domain_type=vm.domain_type)
