"""Other devices that matter for a move: each reader yields at most one `Device` per element."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lxml import etree

from vmferry.domxml.chardevs import character_device
from vmferry.domxml.values import attribute_at, known, text_at
from vmferry.model.vm import Device

_Reader = Callable[[etree._Element], Iterator[Device]]
_EVERY_HOST_HAS = ("/dev/random", "/dev/urandom")
_ANY_ADDRESS = ("0.0.0.0", "127.0.0.1", "::", "::1", "localhost")


def read_devices(devices: etree._Element) -> Iterator[Device]:
    """Yield, in document order, the devices that tie the VM to its host or that QEMU may not move.

    `READERS` names the elements; each reader's docstring lists the attributes. Sound, plain video and input,
    controllers and the like travel with the guest and are left out.
    """
    for element in devices.iterchildren(*READERS):
        yield from READERS[str(element.tag)](element)


def _filesystem(element: etree._Element) -> Iterator[Device]:
    """Attributes: type, driver (virtiofs, path for 9p, …), accessmode, source, target."""
    source = element.find("source")
    names = ("dir", "name", "file", "dev", "socket", "usage", "volume")
    place = None if source is None else next((source.get(name) for name in names if source.get(name)), None)
    found = known(
        type=element.get("type", "mount"),
        driver=attribute_at(element, "driver", "type"),
        accessmode=element.get("accessmode"),
        source=place,
        target=attribute_at(element, "target", "dir"),
    )
    yield Device(kind="filesystem", detail=f"{place or 'without a source'}", attributes=found)


def _tpm(element: etree._Element) -> Iterator[Device]:
    """Attributes: type (emulator, passthrough, external), model, version, path, persistent_state, secret."""
    backend = element.find("backend")
    if backend is None:
        yield Device(kind="tpm", detail="without a backend", attributes=known(model=element.get("model")))
        return
    kind = backend.get("type", "")
    path = attribute_at(backend, "device", "path") or attribute_at(backend, "source", "path")
    found = known(
        type=kind,
        model=element.get("model"),
        version=backend.get("version"),
        path=path,
        persistent_state=backend.get("persistent_state"),
        secret=attribute_at(backend, "encryption", "secret"),
    )
    yield Device(kind="tpm", detail=f"{kind} {path or ''}".strip(), attributes=found)


def _shmem(element: etree._Element) -> Iterator[Device]:
    """Attributes: name, model (ivshmem, ivshmem-plain, ivshmem-doorbell), role, server."""
    model, name = attribute_at(element, "model", "type") or "ivshmem", element.get("name", "")
    server = attribute_at(element, "server", "path")
    found = known(name=name, model=model, role=element.get("role"), server=server)
    yield Device(kind="shmem", detail=f"{model} {name}".strip(), attributes=found)


def _memory(element: etree._Element) -> Iterator[Device]:
    """Attributes: model (dimm, nvdimm, virtio-pmem, virtio-mem, sgx-epc), size, unit, path, node."""
    model = element.get("model", "")
    size = text_at(element, "target/size")
    unit = attribute_at(element, "target/size", "unit") or "KiB"
    path = text_at(element, "source/path")
    node = text_at(element, "target/node")
    found = known(model=model, size=size, unit=unit, path=path, node=node)
    yield Device(kind="memory", detail=f"{model} {size} {unit} {path or ''}".strip(), attributes=found)


def _vsock(element: etree._Element) -> Iterator[Device]:
    """Attributes: cid, auto."""
    cid, auto = attribute_at(element, "cid", "address"), attribute_at(element, "cid", "auto")
    yield Device(kind="vsock", detail=f"cid {cid or 'auto'}", attributes=known(cid=cid, auto=auto))


def _redirdev(element: etree._Element) -> Iterator[Device]:
    """Attributes: bus, and those of a character device where it uses one of the host."""
    bus, kind = element.get("bus", "usb"), element.get("type", "")
    tied = next(character_device(element, element), None)
    found = {"bus": bus, "type": kind} | ({} if tied is None else tied.attributes)
    yield Device(kind="redirdev", detail=f"{bus} over {kind}", attributes=found)


def _smartcard(element: etree._Element) -> Iterator[Device]:
    """Attributes: mode (host, host-certificates), and those of a character device; only from the host."""
    mode = element.get("mode", "")
    if mode == "passthrough":
        yield from character_device(element, element)
    else:
        yield Device(kind="smartcard", detail=mode, attributes=known(mode=mode))


def _rng(element: etree._Element) -> Iterator[Device]:
    """Attributes: model (random, egd), path or those of a character device; only what not every host has."""
    for backend in element.iterchildren("backend"):
        if backend.get("model") == "egd":
            yield from character_device(backend, element)
        elif (path := text_at(element, "backend")) and path not in _EVERY_HOST_HAS:
            yield Device(kind="rng", detail=path, attributes=known(model=backend.get("model"), path=path))


def _input(element: etree._Element) -> Iterator[Device]:
    """Attributes: type (passthrough, evdev), path; only those that are a device of the host."""
    path = attribute_at(element, "source", "evdev") or attribute_at(element, "source", "dev")
    if path:
        kind = element.get("type", "")
        yield Device(kind="input", detail=f"{kind} {path}", attributes=known(type=kind, path=path))


def _graphics(element: etree._Element) -> Iterator[Device]:
    """Attributes: type, listen, rendernode; only where they name an address or GPU of this host.

    An egl-headless display always counts: it draws on a GPU of the host.
    """
    kind = element.get("type", "")
    listen = attribute_at(element, "listen[@type='address']", "address") or element.get("listen")
    rendernode = attribute_at(element, "gl", "rendernode") or element.get("rendernode")
    if listen in _ANY_ADDRESS:
        listen = None
    if listen or rendernode or kind == "egl-headless":
        found = known(type=kind, listen=listen, rendernode=rendernode)
        yield Device(kind="graphics", detail=f"{kind} {listen or rendernode or ''}".strip(), attributes=found)


def _video(element: etree._Element) -> Iterator[Device]:
    """Attributes: type, accel3d, driver; only with 3D acceleration or a vhost-user backend."""
    model = element.find("model")
    accel = None if model is None else attribute_at(model, "acceleration", "accel3d")
    driver = attribute_at(element, "driver", "name")
    if accel == "yes" or driver == "vhostuser":
        kind = attribute_at(element, "model", "type")
        found = known(type=kind, accel3d=accel, driver=driver)
        yield Device(kind="video", detail=f"{kind} {'3D' if accel == 'yes' else driver}", attributes=found)


def _lease(element: etree._Element) -> Iterator[Device]:
    """Attributes: path, key."""
    path, key = attribute_at(element, "target", "path"), text_at(element, "key")
    yield Device(kind="lease", detail=f"{key} in {path}", attributes=known(path=path, key=key))


def _pstore(element: etree._Element) -> Iterator[Device]:
    """Attributes: path."""
    path = text_at(element, "path")
    yield Device(kind="pstore", detail=path or "without a path", attributes=known(path=path))


READERS: dict[str, _Reader] = {
    "filesystem": _filesystem,
    "tpm": _tpm,
    "shmem": _shmem,
    "memory": _memory,
    "vsock": _vsock,
    "redirdev": _redirdev,
    "smartcard": _smartcard,
    "rng": _rng,
    "input": _input,
    "graphics": _graphics,
    "video": _video,
    "lease": _lease,
    "pstore": _pstore,
}
