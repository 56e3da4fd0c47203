"""Placement constraints in a domain's metadata, in a namespace of vmferry's.

    <vmferry:placement xmlns:vmferry="urn:vmferry:placement:1">
      <vmferry:spread group="web" level="rack"/>
      <vmferry:fence hosts="kvm1 kvm2" soft="yes"/>
      <vmferry:root/>
    </vmferry:placement>

They travel with the VM: libvirt keeps metadata over every kind of move.
"""

from __future__ import annotations

from lxml import etree

from vmferry.domxml.parse import shown
from vmferry.model.constraint import ConstraintKind, Level, PlacementWish

PLACEMENT_URI = "urn:vmferry:placement:1"
_KINDS = {
    kind.value: kind
    for kind in (
        ConstraintKind.SPREAD,
        ConstraintKind.GATHER,
        ConstraintKind.LONELY,
        ConstraintKind.FENCE,
        ConstraintKind.BAN,
        ConstraintKind.ROOT,
    )
}
_YES = {"yes": True, "no": False, "true": True, "false": False}


def read_placement_wishes(root: etree._Element, problems: list[str]) -> tuple[PlacementWish, ...]:
    """Return what the domain asks for; what cannot be understood goes to `problems`: it might have been a fence."""
    found: list[PlacementWish] = []
    for element in root.iterfind(f"metadata/{{{PLACEMENT_URI}}}placement/*"):
        if not isinstance(element.tag, str):
            continue
        space, _, word = element.tag.rpartition("}")
        kind = _KINDS.get(word) if space == "{" + PLACEMENT_URI else None
        if kind is None:
            problems.append(f"placement metadata: {shown(word)} is not one of {', '.join(_KINDS)}")
            continue
        try:
            found.append(_wish(kind, element))
        except ValueError as error:
            problems.append(f"placement metadata: {kind}: {shown(str(error))}")
    return tuple(found)


def _wish(kind: ConstraintKind, element: etree._Element) -> PlacementWish:
    wrong = sorted(set(map(str, element.attrib)) - {"group", "hosts", "level", "soft", "continuous"})
    if wrong:
        raise ValueError(f"unknown attributes {', '.join(wrong)}")
    hosts = tuple(str(element.get("hosts") or "").split())
    if kind in (ConstraintKind.FENCE, ConstraintKind.BAN) and not hosts:
        raise ValueError("names no hosts: hosts='kvm1 kvm2'")
    return PlacementWish(
        kind=kind,
        name=shown(str(element.get("group") or "")),
        hosts=tuple(shown(host) for host in hosts),
        level=Level(str(element.get("level") or Level.HOST)),
        is_hard=not _flag(element, "soft", False),
        is_continuous=_flag(element, "continuous", True),
    )


def _flag(element: etree._Element, name: str, default: bool) -> bool:
    text = element.get(name)
    if text is None:
        return default
    if text not in _YES:
        raise ValueError(f"{name}={text}: write yes or no")
    return _YES[str(text)]
