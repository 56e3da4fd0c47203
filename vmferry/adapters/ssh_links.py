"""Network devices of a host: `ip -json -details address show`, or the text of an `ip` that knows no JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from vmferry.model.facts import Link

# Kinds by which the text of `ip -details` is told from other words at the same place.
_KINDS = ("bond", "bridge", "dummy", "ifb", "macvlan", "macvtap", "openvswitch", "team", "tun", "veth", "vlan", "vxlan")
_NO_MAC = "00:00:00:00:00:00"


@dataclass
class _Seen:
    """A device as `ip` shows it, before it is known what is plugged into it."""

    name: str
    flags: frozenset[str]
    mtu: int
    kind: str = ""
    master: str | None = None
    mac: str | None = None
    vlan_id: int | None = None
    has_vlan_filtering: bool = False
    addresses: list[str] = field(default_factory=list)


def parse_links(shown: str, speeds: str, traffic: tuple[str, str]) -> tuple[Link, ...]:
    """Return the devices in the kernel's order; `shown` is JSON, or `ip -oneline` of links and then of addresses.

    `is_up`: set up by the administrator and with a carrier. A bridge that nothing is plugged into has no carrier
    before its first guest comes, and is as good as up; one whose plugs are all dead is down.
    """
    seen = list(_from_json(shown) if shown.lstrip().startswith("[") else _from_text(shown))
    used_ports = {device.master for device in seen}
    speed, used = parse_speeds(speeds), parse_traffic(*traffic)
    return tuple(
        Link(
            name=device.name,
            kind=device.kind,
            mtu=device.mtu,
            is_up=_is_up(device, has_ports=device.name in used_ports),
            master=device.master,
            mac=device.mac if device.mac != _NO_MAC else None,
            vlan_id=device.vlan_id,
            has_vlan_filtering=device.has_vlan_filtering,
            addresses=tuple(device.addresses),
            speed_mbit_s=speed.get(device.name),
            used_mbit_s=used.get(device.name),
        )
        for device in seen
    )


def _is_up(device: _Seen, *, has_ports: bool) -> bool:
    is_empty_bridge = device.kind == "bridge" and not has_ports
    return "UP" in device.flags and ("NO-CARRIER" not in device.flags or is_empty_bridge)


def _from_json(text: str) -> Iterator[_Seen]:
    for item in json.loads(text):
        if "ifname" not in item:  # iproute2 before 4.19 prints {} for what it leaves out
            continue
        info: dict[str, Any] = item.get("linkinfo") or {}
        data: dict[str, Any] = info.get("info_data") or {}
        kind = info.get("info_kind", "")
        yield _Seen(
            name=item["ifname"],
            flags=frozenset(item.get("flags", ())),
            mtu=int(item["mtu"]),
            kind=kind,
            master=item.get("master"),
            mac=item.get("address"),
            vlan_id=int(data["id"]) if kind == "vlan" and "id" in data else None,
            has_vlan_filtering=kind == "bridge" and bool(data.get("vlan_filtering")),
            addresses=[
                f"{one['local']}/{one['prefixlen']}"
                for one in item.get("addr_info", ())
                if "local" in one and not one.get("tentative") and not one.get("dadfailed")
            ],
        )


_LINK = re.compile(r"^\d+: ([^@: ]+)(?:@[^:]+)?: <([^>]*)> mtu (\d+)(.*)$")
_ADDRESS = re.compile(r"^\d+: (\S+)\s+inet6? ([0-9a-fA-F.:]+)(?: peer \S+?)?(/\d+)?(?=\s)(.*)$")


def _from_text(text: str) -> Iterator[_Seen]:
    """Yield the devices of `ip -details -oneline link`, with the addresses of `ip -oneline address` below it."""
    seen: dict[str, _Seen] = {}
    for line in text.splitlines():
        if link := _LINK.match(line):
            seen[link[1]] = _seen_in_line(link)
        elif address := _ADDRESS.match(line):
            device = seen.get(address[1].partition("@")[0])
            if device is not None and not {"tentative", "dadfailed"} & set(address[4].split()):
                device.addresses.append(address[2] + (address[3] or ""))
    yield from seen.values()


def _seen_in_line(link: re.Match[str]) -> _Seen:
    first, *more = (part.split() for part in link[4].split("\\"))
    words = next((part for part in more if part and part[0] in _KINDS), [])
    kind = words[0] if words else ""
    hardware = next((part for part in more if part and part[0].startswith("link/")), [])
    vlan_id = _after("id", words) if kind == "vlan" else None
    return _Seen(
        name=link[1],
        flags=frozenset(link[2].split(",")),
        mtu=int(link[3]),
        kind=kind,
        master=_after("master", first),
        mac=hardware[1] if len(hardware) > 1 else None,
        vlan_id=int(vlan_id) if vlan_id is not None else None,
        has_vlan_filtering=kind == "bridge" and _after("vlan_filtering", words) == "1",
    )


def _after(word: str, words: list[str]) -> str | None:
    """Return what follows a word; None where it does not stand."""
    return next((value for name, value in pairwise(words) if name == word), None)


def parse_speeds(text: str) -> dict[str, int]:
    """Return Mbit/s by device from lines `/sys/class/net/DEVICE/speed:N`; what is down or has no speed says -1."""
    found = re.findall(r"^/sys/class/net/([^/]+)/speed:(-?\d+)$", text, re.MULTILINE)
    return {name: int(speed) for name, speed in found if int(speed) > 0}


def parse_traffic(before: str, after: str) -> dict[str, float]:
    """Return Mbit/s by device between two looks at /proc/net/dev, each below its time; the busier direction."""
    if not before.strip() or not after.strip():
        return {}
    (first_s, first), (second_s, second) = _counted(before), _counted(after)
    seconds = second_s - first_s
    used = {}
    for name in first.keys() & second.keys() if seconds > 0 else ():
        grown = [now - then for then, now in zip(first[name], second[name], strict=True)]
        if min(grown) >= 0:  # less than before: the device was made anew
            used[name] = round(max(grown) * 8 / 1e6 / seconds, 3)
    return used


def _counted(text: str) -> tuple[float, dict[str, tuple[int, int]]]:
    """Return the time, and received and sent bytes by device."""
    time, *lines = text.strip().splitlines()
    counted = {}
    for line in lines:
        name, colon, numbers = line.partition(":")
        if colon and len(columns := numbers.split()) >= 9:
            counted[name.strip()] = (int(columns[0]), int(columns[8]))
    return float(time), counted
