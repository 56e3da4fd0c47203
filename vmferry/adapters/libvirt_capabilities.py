"""What libvirt's capabilities documents tell of a host; pure readers of XML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from uuid import UUID

from lxml import etree

from vmferry.domxml.values import attribute_at, number, text_at, unit_bytes
from vmferry.errors import PermanentError
from vmferry.model.facts import Firmware, HostCpu, HugePages
from vmferry.model.host import Machine


class Capabilities:
    """The host's capabilities (`virsh capabilities`)."""

    def __init__(self, xml: str) -> None:
        self._root = etree.fromstring(xml.encode())

    @property
    def uuid(self) -> UUID:
        """The host's UUID: two names with one UUID are one host."""
        text = text_at(self._root, "host/uuid")
        if text is None:
            raise PermanentError("libvirt does not know the host's UUID; set `host_uuid` in /etc/libvirt/libvirtd.conf")
        return UUID(text)

    @property
    def arch(self) -> str:
        """The host's architecture."""
        return text_at(self._root, "host/cpu/arch") or ""

    @property
    def domain_types(self) -> tuple[str, ...]:
        """What kinds of domains can be run here, for any architecture (kvm, qemu, …)."""
        return tuple(sorted({str(d.get("type")) for d in self._root.iterfind("guest/arch/domain")}))

    @property
    def machines(self) -> tuple[Machine, ...]:
        """Machine types of the host's own architecture by name, aliases resolved."""
        arches = [arch for arch in self._root.iterfind("guest/arch") if arch.get("name") == self.arch]
        found = {machine.name: machine for arch in arches for machine in map(_machine, arch.iter("machine"))}
        return tuple(found[name] for name in sorted(found))

    @property
    def cpu(self) -> HostCpu | None:
        """The host's CPU; None where libvirt could not tell its model."""
        cpu = self._root.find("host/cpu")
        model = None if cpu is None else text_at(cpu, "model")
        if cpu is None or model is None:
            return None
        tsc = "counter[@name='tsc']"
        return HostCpu(
            model=model,
            vendor=text_at(cpu, "vendor") or "",
            tsc_hz=number(attribute_at(cpu, tsc, "frequency")) or None,
            has_tsc_scaling=attribute_at(cpu, tsc, "scaling") == "yes",
        )

    @property
    def qemu_uid(self) -> int | None:
        """The user that QEMU runs as unless the domain says otherwise; None without libvirt's DAC driver.

        As the label `+UID:+GID` of the kind of domain that comes first (src/qemu/qemu_driver.c gives all the same).
        """
        for model in self._root.iterfind("host/secmodel"):
            if text_at(model, "model") == "dac":
                return number((text_at(model, "baselabel") or "").partition(":")[0].lstrip("+"))
        return None

    @property
    def cells(self) -> tuple[int, ...]:
        """Numbers of the NUMA nodes; they may have gaps."""
        found = (number(cell.get("id")) for cell in self._root.iterfind("host/topology/cells/cell"))
        return tuple(cell for cell in found if cell is not None)

    @property
    def hugepage_totals(self) -> dict[int, int]:
        """Size in KiB → pages of all NUMA nodes together.

        The smallest size is the ordinary page (4 KiB; 64 KiB on some ARM and POWER hosts) and is left out.
        """
        totals: Counter[int] = Counter()
        for pages in self._root.iterfind("host/topology/cells/cell/pages"):
            size = (number(pages.get("size")) or 0) * (unit_bytes(pages.get("unit")) or 0) // 1024
            totals[size] += number(pages.text) or 0
        ordinary = min(totals, default=0)
        return {size: totals[size] for size in sorted(totals) if size > ordinary}


def _machine(element: etree._Element) -> Machine:
    name = (element.text or "").strip()
    return Machine(
        name=name,
        canonical=element.get("canonical", name),
        max_vcpus=number(element.get("maxCpus")) or 255,
    )


def hugepages(totals: dict[int, int], free: dict[int, int]) -> tuple[HugePages, ...]:
    """Join totals and free pages, both by size in KiB; pages made between the two reads count as total too."""
    return tuple(
        HugePages(size_kib=size, total=max(total, free.get(size, 0)), free=free.get(size, 0))
        for size, total in totals.items()
    )


def parse_firmware(xmls: Iterable[str]) -> Firmware:
    """Join what the domain capabilities of several machine types offer for booting.

    Firmware descriptors name machine types: Secure Boot is offered for q35 alone, on RHEL every UEFI is
    (qemuFirmwareMatchesMachineArch), so the default machine type does not tell it.
    """
    found = [etree.fromstring(xml.encode()) for xml in xmls]
    return Firmware(
        kinds=_values(found, "os/enum[@name='firmware']/value"),
        loaders=_values(found, "os/loader/value"),
        has_secure_boot="yes" in _values(found, "os/loader/enum[@name='secure']/value"),
    )


def _values(roots: Iterable[etree._Element], path: str) -> tuple[str, ...]:
    texts = ((value.text or "").strip() for root in roots for value in root.iterfind(path))
    return tuple(sorted({text for text in texts if text}))
