"""Character devices that are tied to something on the host."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from vmferry.domxml.values import attribute_at, known
from vmferry.model.vm import Device

# Types whose <source path='…'> must exist on the destination; a pty's path is chosen anew there.
_HOST_PATH = ("file", "pipe", "dev", "nmdm")
# Types whose address must be free, or answer, on the destination.
_ADDRESS = ("tcp", "udp")
_AGENT = "channel/target[@name='org.qemu.guest_agent.0']"


def read_chardevs(devices: etree._Element) -> Iterator[Device]:
    """Yield serial, parallel, console and channel devices that use a file, device or port of the host.

    Attributes: type, mode, path, address, log. What libvirt makes anew on every host (pty, spice, null,
    sockets that it binds itself) is left out, and so is the console that is the first serial port under
    another name.
    """
    has_serial = devices.find("serial") is not None
    for element in devices.iterchildren("serial", "parallel", "console", "channel"):
        if not (has_serial and _is_serial_console(element)):
            yield from character_device(element, element)


def read_agent(devices: etree._Element) -> tuple[bool, bool]:
    """Return whether there is a channel for the QEMU guest agent, and whether an agent holds its other end.

    libvirt tells the second of running VMs only (`state='connected'`).
    """
    targets = devices.findall(_AGENT)
    return bool(targets), any(target.get("state") == "connected" for target in targets)


def character_device(element: etree._Element, holder: etree._Element) -> Iterator[Device]:
    """Yield the device for a chardev description (`type` and `<source>`) that belongs to `holder`."""
    kind = element.get("type", "")
    source = _source(element)
    mode = None if source is None else source.get("mode")
    found = known(
        type=kind,
        mode=mode,
        path=_path(kind, mode, source),
        address=_address(kind, source),
        log=attribute_at(element, "log", "file"),
    )
    place = found.get("path") or found.get("address") or found.get("log")
    if place:
        yield Device(kind=str(holder.tag), detail=f"{kind} {place}", attributes=found)


def _is_serial_console(element: etree._Element) -> bool:
    return element.tag == "console" and attribute_at(element, "target", "type") in (None, "serial")


def _source(element: etree._Element) -> etree._Element | None:
    """Return the `<source>` that says where to: UDP has a second one, mode='bind', for the way back."""
    sources = element.findall("source")
    return next((s for s in sources if s.get("mode") == "connect"), sources[0] if sources else None)


def _path(kind: str, mode: str | None, source: etree._Element | None) -> str | None:
    if source is None:
        return None
    if kind in _HOST_PATH:
        return source.get("path") or source.get("master")
    # A socket that libvirt binds is made on the destination; one that it connects to must be there.
    return source.get("path") if kind == "unix" and mode == "connect" else None


def _address(kind: str, source: etree._Element | None) -> str | None:
    if source is None or kind not in _ADDRESS:
        return None
    return f"{source.get('host', '')}:{source.get('service', '')}"
