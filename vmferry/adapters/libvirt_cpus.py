"""Ask a host's libvirt whether it can run guest CPUs.

What libvirt 9.0 answers to compareHypervisorCPU with FAIL_INCOMPATIBLE (measured; x86Compute in src/cpu/cpu_x86.c):

- IDENTICAL or SUPERSET: the host has every feature that the CPU requires, and none that it forbids;
- error 91 CPU_INCOMPATIBLE, which names the features, or the vendor;
- error 1 INTERNAL_ERROR "Unknown CPU model …" or "Unknown CPU feature …": this libvirt is older than the CPU;
- error 8 or 67 for a machine type, architecture or accelerator that the host does not have, 27 or 35 for XML that is
  no CPU, 3 or 84 where a hypervisor or architecture has no comparison (all but x86 and s390x);
- SUPERSET for `host-passthrough` and `maximum`, always, even where such a VM cannot be started: they have no model,
  and no requirement is met by every host. Only features that they name besides can be found missing.
"""

from __future__ import annotations

from collections.abc import Sequence

import libvirt
from lxml import etree

from vmferry.adapters.libvirt_calls import text_of
from vmferry.model.facts import CpuFit, CpuVerdict, GuestCpu

_FITS = {
    libvirt.VIR_CPU_COMPARE_IDENTICAL: CpuFit.IDENTICAL,
    libvirt.VIR_CPU_COMPARE_SUPERSET: CpuFit.SUPERSET,
    libvirt.VIR_CPU_COMPARE_INCOMPATIBLE: CpuFit.INCOMPATIBLE,
}
_HOSTS_OWN = ("host-passthrough", "maximum")
_PREFIX = "the CPU is incompatible with host CPU: "


def compare_cpus(connection: libvirt.virConnect, cpus: Sequence[GuestCpu]) -> dict[str, CpuVerdict]:
    """Return the host's verdict on each distinct CPU; only a lost connection is an error."""
    return {key: _compare(connection, cpu) for key, cpu in {cpu.key: cpu for cpu in cpus}.items()}


def _compare(connection: libvirt.virConnect, cpu: GuestCpu) -> CpuVerdict:
    flag = libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
    try:
        answer = connection.compareHypervisorCPU(None, cpu.arch, cpu.machine, cpu.domain_type, cpu.xml, flag)
    except libvirt.libvirtError as error:
        if not connection.isAlive():
            raise
        is_refused = error.get_error_code() == libvirt.VIR_ERR_CPU_INCOMPATIBLE
        fit = CpuFit.INCOMPATIBLE if is_refused else CpuFit.FAILED
        return CpuVerdict(fit=fit, detail=text_of(error).removeprefix(_PREFIX))
    if answer in _FITS and (mode := _hosts_own_mode(cpu.xml)):
        return CpuVerdict(fit=CpuFit.FAILED, detail=f"libvirt has nothing to compare in a CPU of mode {mode}")
    return CpuVerdict(fit=_FITS.get(answer, CpuFit.FAILED))


def _hosts_own_mode(xml: str) -> str | None:
    """Return the CPU's mode where it stands for whatever CPU the host has."""
    try:
        mode = etree.fromstring(xml.encode()).get("mode")
    except etree.LxmlError:
        return None
    return mode if mode in _HOSTS_OWN else None
