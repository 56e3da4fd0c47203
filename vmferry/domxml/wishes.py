"""What a VM's own metadata says about moving it: one element, which travels with the domain.

    <metadata>
      <vmferry:wishes xmlns:vmferry="urn:vmferry:wishes" priority="5" way-out="live">
        <vmferry:blackout>Mon-Fri 08:00-18:00 Europe/Berlin</vmferry:blackout>
        <vmferry:probe>tcp 10.0.0.5:443</vmferry:probe>
      </vmferry:wishes>
    </metadata>

`virsh metadata VM urn:vmferry:wishes --key vmferry --set '<wishes priority="5"/>'` writes it.
"""

from __future__ import annotations

from lxml import etree

from vmferry.domxml.parse import shown
from vmferry.model.operation import VmWishes, WayOut

_NAMESPACE = "urn:vmferry:wishes"


def read_wishes(root: etree._Element) -> VmWishes:
    """Return the wishes in a domain's metadata; what is there and cannot be read becomes a blackout that never ends.

    Nobody moves a VM against a wish because of a misspelt word; the reason that is told shows the word.
    """
    element = root.find(f"metadata/{{{_NAMESPACE}}}wishes")
    if element is None:
        return VmWishes()
    wrong: list[str] = []
    return VmWishes(
        priority=_number(element.get("priority"), wrong),
        way_out=_way(element.get("way-out"), wrong),
        blackouts=(*_texts(element, "blackout"), *wrong),
        probes=_texts(element, "probe"),
    )


def _texts(element: etree._Element, name: str) -> tuple[str, ...]:
    return tuple(shown(" ".join((e.text or "").split())) for e in element.iterfind(f"{{{_NAMESPACE}}}{name}"))


def _number(word: str | None, wrong: list[str]) -> int | None:
    if word is None:
        return None
    try:
        return int(word)
    except ValueError:
        wrong.append(f"priority={shown(word)!r} is no number")
        return None


def _way(word: str | None, wrong: list[str]) -> WayOut | None:
    if word is None:
        return None
    if word in (known := [way.value for way in WayOut]):
        return WayOut(word)
    wrong.append(f"way-out={shown(word)!r} is none of {', '.join(known)}")
    return None
