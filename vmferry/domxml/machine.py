"""What a VM is made of apart from its devices and its CPU: memory, firmware, pins."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from vmferry.domxml.cpu import read_cpu_devices
from vmferry.domxml.disks import source_place
from vmferry.domxml.parse import shown
from vmferry.domxml.values import attribute_at, known, scaled_kib, size_kib, text_at, text_of
from vmferry.model.vm import Device

# Element → path and the attribute that ties it to CPUs or memory nodes of the host.
_PINS = (
    ("vcpu", "vcpu", "cpuset"),
    ("vcpupin", "cputune/vcpupin", "cpuset"),
    ("emulatorpin", "cputune/emulatorpin", "cpuset"),
    ("iothreadpin", "cputune/iothreadpin", "cpuset"),
    ("numatune", "numatune/memory", "nodeset"),
    ("memnode", "numatune/memnode", "nodeset"),
)
# Files of the host that the boot needs: path in the XML; every one must exist on the destination.
_BOOT_FILES = ("os/kernel", "os/initrd", "os/dtb", "os/shim", "os/acpi/table", "bootloader")


def read_memory(root: etree._Element, problems: list[str]) -> tuple[int, int]:
    """Return current and maximum memory in KiB.

    Current is `<currentMemory>`, which the balloon has left to the guest, and at most `<memory>`; maximum is
    `<maxMemory>` where memory can be plugged in, else `<memory>`. A file written by hand may give the size in
    NUMA cells only. Adds a problem when no size is given.
    """
    boot = _size_at(root, "memory", problems) or _cells_kib(root, problems)
    current = _size_at(root, "currentMemory", problems) or boot
    if not boot and not problems:
        problems.append("no <memory>: how much memory the VM needs is unknown")
    return min(current, boot) if boot else current, max(boot, _size_at(root, "maxMemory", problems))


def read_hugepage_kib(root: etree._Element, problems: list[str]) -> int | None:
    """Return the largest page size that `<hugepages>` asks for; None where the host's default size is meant."""
    pages = root.iterfind("memoryBacking/hugepages/page")
    sizes = [scaled_kib("page", page.get("size", ""), page.get("unit"), problems) for page in pages]
    return max(sizes, default=0) or None


def read_firmware(root: etree._Element) -> str | None:
    """Return the loader's path, else what `<os firmware='…'>` asks libvirt to find (efi, bios), else None."""
    return text_at(root, "os/loader") or attribute_at(root, "os", "firmware")


def read_nvram(root: etree._Element) -> str | None:
    """Return the path of the NVRAM file or block device; None without one or where it is on the network."""
    element = root.find("os/nvram")
    if element is None or element.get("type") == "network":
        return None
    return source_place(element) or text_of(element).strip() or None


def read_pins(root: etree._Element) -> tuple[str, ...]:
    """Return the names of the elements that tie the VM to CPUs or memory nodes of its host.

    An element counts when it names a CPU set or node set, even one that holds every CPU: how many the host
    has is not in the XML, and the destination may have fewer. An empty `<numatune/>` and `placement='auto'`
    do not count: libvirt chooses again on the destination.

    Source: reference chapter § 9.3 (NUMA pinning).
    """
    pins = [name for name, path, attribute in _PINS if _has_attribute(root, path, attribute)]
    if root.find("devices/memory/source/nodemask") is not None:
        pins.append("nodemask")
    return tuple(pins)


def read_machine_devices(root: etree._Element) -> Iterator[Device]:
    """Yield what lies outside `<devices>` and matters for a move.

    Kinds: the boot files (kernel, initrd, dtb, shim, table, bootloader; attribute path), nvram on the network
    (path), memoryBacking (source, access, locked), secure-boot (by), what the CPU needs of the host
    (`read_cpu_devices`), and what is for QEMU past libvirt (`RAW_QEMU`; arguments).
    """
    for path in _BOOT_FILES:
        for element in root.iterfind(path):
            if place := text_of(element).strip():
                yield Device(kind=str(element.tag), detail=place, attributes={"path": place})
    yield from _nvram_elsewhere(root)
    yield from _memory_backing(root)
    yield from _secure_boot(root)
    yield from read_cpu_devices(root)
    yield from _raw_qemu(root)


def _size_at(root: etree._Element, path: str, problems: list[str]) -> int:
    element = root.find(path)
    return 0 if element is None else size_kib(element, problems)


def _cells_kib(root: etree._Element, problems: list[str]) -> int:
    """Add up `<cell memory='…' unit='…'>`, which libvirt takes when it computes the total."""
    total = 0
    for cell in root.iterfind("cpu/numa/cell"):
        if cell.get("memory"):
            total += scaled_kib("cell", cell.get("memory", ""), cell.get("unit"), problems)
    return total


def _has_attribute(root: etree._Element, path: str, attribute: str) -> bool:
    return any(element.get(attribute) for element in root.iterfind(path))


def _nvram_elsewhere(root: etree._Element) -> Iterator[Device]:
    element = root.find("os/nvram")
    if element is not None and element.get("type") == "network":
        place = source_place(element) or "an unnamed place"
        yield Device(kind="nvram", detail=place, attributes={"path": place})


def _memory_backing(root: etree._Element) -> Iterator[Device]:
    backing = root.find("memoryBacking")
    if backing is None:
        return
    found = known(
        source=attribute_at(backing, "source", "type"),
        access=attribute_at(backing, "access", "mode"),
        locked=None if backing.find("locked") is None else "yes",
    )
    if found:
        words = ", ".join(f"{name} {value}" for name, value in found.items())
        yield Device(kind="memoryBacking", detail=words, attributes=found)


def _secure_boot(root: etree._Element) -> Iterator[Device]:
    """Attributes: by (loader: `secure='yes'`, which the domain capabilities speak of; feature: `<firmware>`).

    Enrolled keys are keys of Secure Boot: they ask for it too (docs/formatdomain, "firmware").
    """
    if attribute_at(root, "os/loader", "secure") == "yes":
        yield Device(kind="secure-boot", detail="loader secure='yes'", attributes={"by": "loader"})
        return
    for feature in root.iterfind("os/firmware/feature[@enabled='yes']"):
        if feature.get("name") in ("secure-boot", "enrolled-keys"):
            detail = f"firmware feature {feature.get('name')}"
            yield Device(kind="secure-boot", detail=detail, attributes={"by": "feature"})
            return


# Elements of libvirt's QEMU namespace (docs/drvqemu, "Pass-through of arbitrary qemu commands").
RAW_QEMU = ("qemu:commandline", "qemu:override", "qemu:capabilities", "qemu:deprecation")
_QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"


def _raw_qemu(root: etree._Element) -> Iterator[Device]:
    """Attribute arguments: the words as QEMU gets them, a property as ALIAS.NAME=VALUE, a capability as add or del."""
    for kind in RAW_QEMU:
        words = [word for element in root.iterfind(_QEMU + kind[5:]) for word in _raw_words(element)]
        if words:
            joined = " ".join(words)
            yield Device(kind=kind, detail=shown(joined), attributes={"arguments": joined})


def _raw_words(element: etree._Element) -> Iterator[str]:
    yield from (arg.get("value", "") for arg in element.iterfind("{*}arg"))
    yield from (f"{env.get('name', '')}={env.get('value', '')}" for env in element.iterfind("{*}env"))
    for device in element.iterfind("{*}device"):
        for prop in device.iterfind("{*}frontend/{*}property"):
            yield f"{device.get('alias', '')}.{prop.get('name', '')}={prop.get('value', '')}"
    for action in ("add", "del"):
        yield from (f"{action} {found.get('capability', '')}" for found in element.iterfind(f"{{*}}{action}"))
    if behavior := element.get("behavior"):
        yield f"deprecated features: {behavior}"
