"""The CPU of a VM: how many, which, and what of it cannot be had on every host."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from vmferry.domxml.parse import shown
from vmferry.domxml.values import known, number, text_at, text_of
from vmferry.model.vm import Device

# No part of a comparison (x86Compute in src/cpu/cpu_x86.c, qemuConnectCPUModelComparison in src/qemu/qemu_driver.c of
# libvirt 9.0), and different in VMs whose CPUs are the same.
_NOT_COMPARED = ("topology", "numa")


def read_vcpus(root: etree._Element, problems: list[str]) -> int:
    """Return the number of CPUs that the guest has now: `current` of `<vcpu>`, else its text, else 1."""
    element = root.find("vcpu")
    if element is None:
        return 1
    count = number(element.get("current") or text_of(element) or "1")
    if not count:
        problems.append(f"<vcpu> has no number of CPUs but {shown(text_of(element))!r}")
    return count or 1


def read_max_vcpus(root: etree._Element) -> int:
    """Return the number of CPUs that may be plugged in, the present ones included; 0 when it is no larger."""
    element = root.find("vcpu")
    current = number(None if element is None else element.get("current"))
    most = number(text_of(element))
    return most if current and most and most > current else 0


def read_cpu_mode(root: etree._Element) -> str | None:
    """Return the CPU mode; `custom` where only a model is named; None where libvirt chooses the CPU."""
    cpu = root.find("cpu")
    if cpu is None:
        return None
    return cpu.get("mode") or ("custom" if text_at(cpu, "model") else None)


def read_cpu_xml(root: etree._Element) -> str | None:
    """Return `<cpu>` in a form that is the same text for the same CPU; None where libvirt chooses the CPU.

    Attributes and elements are sorted (libvirt takes features in any order and refuses a feature named twice);
    comments, white space, other programs' elements, and what libvirt does not compare are left out.
    """
    cpu = root.find("cpu")
    if cpu is None or read_cpu_mode(root) is None:
        return None
    return etree.tostring(_canonical(cpu), encoding="unicode")


def _canonical(element: etree._Element) -> etree._Element:
    attributes = {
        str(name): str(value) for name, value in sorted(element.attrib.items()) if not str(name).startswith("{")
    }
    made = etree.Element(str(element.tag), attributes)
    children = [c for c in element.iterchildren("{}*") if not (element.tag == "cpu" and c.tag in _NOT_COMPARED)]
    # A stable sort: where libvirt reads the first of several (`model[1]`), the first stays first.
    made.extend(_canonical(child) for child in sorted(children, key=lambda c: (str(c.tag), c.get("name", ""))))
    if not children and (text := text_of(element).strip()):
        made.text = text
    return made


def read_cpu_devices(root: etree._Element) -> Iterator[Device]:
    """Yield what the CPU needs of the host beyond its model.

    Kinds: feature for CPU features that QEMU cannot move (name, policy, tsc_frequency in Hz), timer for a fixed TSC
    frequency (name, frequency in Hz): libvirt starts such a VM only where the host's frequency is within 250 ppm of
    it or can be scaled (qemuProcessStartValidateTSC, src/qemu/qemu_process.c).
    """
    timer = root.find("clock/timer[@name='tsc']")
    frequency = None if timer is None else timer.get("frequency")
    frequency = frequency if number(frequency) else None  # 0: not fixed
    # QEMU marks a CPU with invtsc as unmigratable unless the TSC frequency is fixed (target/i386/kvm/kvm.c).
    for feature in root.iterfind("cpu/feature[@name='invtsc']"):
        if feature.get("policy", "require") in ("require", "force"):
            found = known(name="invtsc", policy=feature.get("policy"), tsc_frequency=frequency)
            yield Device(kind="feature", detail="CPU feature invtsc", attributes=found)
    if frequency:
        yield Device(
            kind="timer", detail=f"TSC at {shown(frequency)} Hz", attributes=known(name="tsc", frequency=frequency)
        )
