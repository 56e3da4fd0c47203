"""Cases of the rules in vmferry/rules/hostbound.py."""

from __future__ import annotations

from tests.unit.builders import IMAGES, build_pair, build_vm
from tests.unit.rules.cases.making import DEST, OVMF, OVMF_FACTS, SOURCE, Makers, firmware, make, on, with_device
from tests.unit.rules.cases.real import captured
from vmferry.model.facts import FileFacts
from vmferry.model.vm import Device
from vmferry.rules.case import Case


def line_to(path: str, *, here: str, there: str | None = None, type: str = "file") -> Case:
    """A serial line that ends in `path`; what it needs was found at `here` and `there`."""
    line = Device(kind="serial", detail=path, attributes={"type": type, "path": path})
    found = {p: FileFacts(path=p, size_bytes=0, allocated_bytes=0) for p in (here, there) if p}
    seen = build_pair(SOURCE, DEST, source_files=found, dest_files=found if there else {})
    return make(build_vm(devices=(line,)), pair=seen)


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "block-job": (
        (
            lambda: captured("disk-mirror"),
            lambda: captured("disk-active-commit"),
            lambda: with_device("mirror", "disk vda: copy job to /x", target="vda"),
        ),
        (on, lambda: captured("disk-network-rbd")),
    ),
    "invariant-tsc": (
        (lambda: with_device("feature", "CPU feature invtsc", name="invtsc"),),
        (on, lambda: with_device("feature", "CPU feature invtsc", name="invtsc", tsc_frequency="2800000000")),
    ),
    "accelerated-video": (
        (
            lambda: captured("graphics-egl-headless"),
            lambda: with_device("video", "virtio 3D", type="virtio", accel3d="yes"),
            lambda: with_device("graphics", "egl-headless", type="egl-headless"),
        ),
        (on, lambda: with_device("graphics", "vnc 10.0.0.1", type="vnc", listen="10.0.0.1")),
    ),
    "graphics-address": (
        (
            lambda: with_device("graphics", "vnc 10.0.0.1", type="vnc", listen="10.0.0.1"),
            lambda: with_device("serial", "tcp 10.0.0.1:4555", type="tcp", mode="bind", address="10.0.0.1:4555"),
        ),
        (
            on,
            lambda: with_device("serial", "tcp 0.0.0.0:4555", type="tcp", mode="bind", address="0.0.0.0:4555"),
            lambda: with_device("serial", "tcp log:514", type="tcp", mode="connect", address="log:514"),
        ),
    ),
    "character-path": (
        (
            lambda: captured("serial-file-log"),
            lambda: with_device("console", "pty /var/log/c.log", type="pty", log="/var/log/c.log"),
        ),
        (
            on,
            lambda: with_device("serial", "file x", type="file", path=f"{IMAGES}/vm.log"),
            lambda: line_to("/var/log/vm", here="/var/log", there="/var/log"),
        ),
    ),
    "character-path-missing": (
        (
            lambda: line_to("/var/log/vms/a.log", here="/var/log/vms"),
            lambda: line_to("/dev/ttyS1", here="/dev/ttyS1", type="dev"),
        ),
        (
            on,
            lambda: line_to("/var/log/vms/a.log", here="/var/log/vms", there="/var/log/vms"),
            lambda: line_to("/var/log/vms/a.log", here="/elsewhere"),
        ),
    ),
    "tied-device": (
        (
            lambda: captured("input-linux"),
            lambda: captured("lease"),
            lambda: captured("smartcard-host"),
            lambda: captured("vhost-vsock"),
            lambda: with_device("vsock", "cid 3", cid="3", auto="no"),
            lambda: with_device("smartcard", "host", mode="host"),
        ),
        (
            on,
            lambda: with_device("vsock", "cid auto", auto="yes"),
            lambda: with_device("smartcard", "tcp h:1", type="tcp"),
        ),
    ),
    "raw-arguments": (
        (lambda: captured("qemu-ns-alt"), lambda: with_device("qemu:override", "ua-nic.x=1", arguments="ua-nic.x=1")),
        (on,),
    ),
    "host-file-missing": (
        (lambda: firmware({}),),
        (on, lambda: firmware(OVMF_FACTS), lambda: on(firmware="efi"), lambda: on(firmware=OVMF)),
    ),
}
