"""Small values inside domain XML: texts, numbers, sizes, addresses."""

from __future__ import annotations

import re

from lxml import etree

from vmferry.domxml.parse import shown

# A letter alone or with "iB" counts in 1024, with "B" in 1000 (virScaleInteger, src/util/virutil.c).
_POWERS = {letter: power for power, letter in enumerate("kmgtpe", start=1)}
_NUMBER = re.compile(r"[0-9]{1,20}")
_LARGEST = 2**64 - 1


def text_of(element: etree._Element | None) -> str:
    """Return the text of an element as XPath's string() does, without comments; empty when there is none."""
    return "" if element is None else str(element.xpath("string()"))


def text_at(element: etree._Element, path: str) -> str | None:
    """Return the stripped text of the first element at `path`; None when it is absent or empty."""
    return text_of(element.find(path)).strip() or None


def attribute_at(element: etree._Element, path: str, name: str) -> str | None:
    """Return an attribute of the first element at `path`; None when either is absent or empty."""
    found = element.find(path)
    return None if found is None else found.get(name) or None


def number(text: str | None) -> int | None:
    """Return a decimal number as libvirt reads it; None when it is not one or does not fit 64 bits."""
    stripped = (text or "").strip()
    if not _NUMBER.fullmatch(stripped):
        return None
    value = int(stripped)
    return value if value <= _LARGEST else None


def unit_bytes(unit: str | None) -> int | None:
    """Return the bytes of one unit (KiB when not named); None for a unit that libvirt does not know.

    Source: virScaleInteger, libvirt src/util/virutil.c.
    """
    name = (unit or "").lower()
    if not name:
        return 1024
    if name in ("b", "byte", "bytes"):
        return 1
    power = _POWERS.get(name[0])
    base = {"": 1024, "ib": 1024, "b": 1000}.get(name[1:])
    return None if power is None or base is None else int(base**power)


def size_kib(element: etree._Element, problems: list[str]) -> int:
    """Return a `<memory unit='…'>` in KiB, rounded up; 0 and a new problem when it cannot be understood."""
    return scaled_kib(str(element.tag), text_of(element), element.get("unit"), problems)


def scaled_kib(tag: str, amount: str, unit: str | None, problems: list[str]) -> int:
    """Return an amount of a unit in KiB, rounded up; 0 and a new problem about `tag` when it is not understood."""
    scale = unit_bytes(unit)
    count = number(amount)
    if scale is None:
        problems.append(f"<{tag}> has the unknown unit {shown(unit or '')!r}")
    if count is None:
        problems.append(f"<{tag}> has no number that fits 64 bits but {shown(amount)!r}")
    if scale is None or count is None:
        return 0
    if count * scale > _LARGEST:
        problems.append(f"<{tag}> is larger than 64 bits of bytes: {count} × {scale}")
        return 0
    return -(-count * scale // 1024)


def pci_address(element: etree._Element | None) -> str | None:
    """Return an `<address domain= bus= slot= function=>` as lspci writes it; None when it is not complete."""
    if element is None:
        return None
    parts = [_hex(element.get(name, "0")) for name in ("domain", "bus", "slot", "function")]
    if element.get("bus") is None or None in parts:
        return None
    domain, bus, slot, function = (part or 0 for part in parts)
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def _hex(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None


def known(**values: str | None) -> dict[str, str]:
    """Return the given attributes without those that are absent."""
    return {name: value for name, value in values.items() if value}
