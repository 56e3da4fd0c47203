"""What a VM's own metadata says about moving it: one element, which travels with the domain.

    <metadata>
      <vmferry:handling xmlns:vmferry="urn:vmferry:handling" priority="5" way-out="live" max-downtime-ms="500">
        <vmferry:blackout>Mon-Fri 08:00-18:00 Europe/Berlin</vmferry:blackout>
        <vmferry:probe>tcp 10.0.0.5:443</vmferry:probe>
      </vmferry:handling>
    </metadata>

`virsh metadata VM urn:vmferry:handling --key vmferry --set '<handling priority="5"/>'` writes it.
"""

from __future__ import annotations

from lxml import etree

from vmferry.domxml.parse import shown
from vmferry.model.operation import VmHandling, WayOut

_NAMESPACE = "urn:vmferry:handling"


def read_handling(root: etree._Element) -> VmHandling:
    """Return what a domain's metadata says; what is there and cannot be read becomes a blackout that never ends.

    No VM is moved against its owner's word because that was misspelt; the reason that is told shows the word.
    """
    element = root.find(f"metadata/{{{_NAMESPACE}}}handling")
    if element is None:
        return VmHandling()
    wrong: list[str] = []
    return VmHandling(
        priority=_number("priority", element, wrong),
        max_downtime_ms=_number("max-downtime-ms", element, wrong, least=1),
        way_out=_way(element.get("way-out"), wrong),
        blackouts=(*_texts(element, "blackout"), *wrong),
        probes=_texts(element, "probe"),
    )


def _texts(element: etree._Element, name: str) -> tuple[str, ...]:
    """Return the texts of children of that name; libvirt puts the root of what it is handed into the namespace only."""
    found = (child for child in element if isinstance(child.tag, str) and etree.QName(child).localname == name)
    return tuple(shown(" ".join((child.text or "").split())) for child in found)


def _number(name: str, element: etree._Element, wrong: list[str], least: int | None = None) -> int | None:
    word = element.get(name)
    if word is None:
        return None
    try:
        number = int(word)
    except ValueError:
        wrong.append(f"{name}={shown(word)!r} is no number")
        return None
    if least is not None and number < least:
        wrong.append(f"{name}={shown(word)!r} is less than {least}")
        return None
    return number


def _way(word: str | None, wrong: list[str]) -> WayOut | None:
    if word is None:
        return None
    if word in (known := [way.value for way in WayOut]):
        return WayOut(word)
    wrong.append(f"way-out={shown(word)!r} is none of {', '.join(known)}")
    return None
