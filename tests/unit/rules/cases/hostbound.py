"""Cases of the rules in vmferry/rules/hostbound.py."""

from __future__ import annotations

from tests.unit.builders import (
    IMAGES,
)
from tests.unit.rules.cases.making import OVMF, OVMF_FACTS, Makers, firmware, on, with_device
from tests.unit.rules.cases.real import captured

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
        (on, lambda: with_device("serial", "file x", type="file", path=f"{IMAGES}/vm.log")),
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
    "raw-arguments": ((lambda: captured("qemu-ns-alt"),), (on,)),
    "host-file-missing": (
        (lambda: firmware({}),),
        (on, lambda: firmware(OVMF_FACTS), lambda: on(firmware="efi"), lambda: on(firmware=OVMF)),
    ),
}
