"""The tiny guest: its image, its domain XML, and whether KVM works here."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from xml.sax.saxutils import escape

from infra.lab.hostfiles import BEATS, BOOT
from infra.lab.proc import lab_env, run, start
from infra.lab.spec import DiskKind, GuestSpec
from infra.lab.storage import disk_path

SOURCE = Path(__file__).with_name("guest") / "guest.S"
PIT_HZ = 1193182
PAGES_PER_MIB = 256


def build_image(path: Path) -> None:
    """Assemble the boot image, unless it is there; it is about one KiB."""
    if path.exists():
        return
    made, linked = path.with_suffix(".o"), path.with_suffix(".new")
    run(["as", "--32", "-o", made, SOURCE])
    run(["ld", "-m", "elf_i386", "-Ttext", "0x100000", "--oformat", "binary", "-o", linked, made])
    linked.replace(path)


def command_line(guest: GuestSpec) -> str:
    """Write the configuration that guest.S reads: pages, pages per tick, timer divisor, flags."""
    writes_disk = guest.disk is not DiskKind.NONE and guest.disk_beats
    words = (
        guest.working_set_mib * PAGES_PER_MIB,
        guest.pages_per_tick,
        min(65535, round(PIT_HZ / guest.hz)),
        int(writes_disk),
    )
    return "@" + " ".join(f"{word:x}" for word in words)


def kvm_works(image: Path, token: str, *, timeout_s: float = 3) -> bool:
    """Boot the tiny guest under KVM and wait for its heartbeat; a /dev/kvm alone proves nothing."""
    if not Path("/dev/kvm").exists():
        return False
    with tempfile.TemporaryDirectory(dir=image.parent) as scratch:
        serial, log = Path(scratch, "serial"), Path(scratch, "log")
        argv = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "32", "-nodefaults"]
        more = ["-display", "none", "-append", "@100 10 2e9c 0", "-serial", f"file:{serial}"]
        child = start([*argv, *more, "-kernel", image], log=log, env=lab_env(token))
        try:
            deadline = time.monotonic() + timeout_s
            while time.monotonic() < deadline and child.poll() is None:
                if serial.exists() and serial.read_bytes().count(b"\n") >= 3:
                    return True
                if b"KVM internal error" in log.read_bytes():
                    return False
                time.sleep(0.02)
            return False
        finally:
            child.kill()
            child.wait()


def domain_xml(guest: GuestSpec, *, kvm: bool) -> str:
    """Write a guest's domain XML."""
    return f"""\
<domain type='{"kvm" if kvm else "qemu"}'>
  <name>{escape(guest.name)}</name>
  {_element("uuid", guest.uuid or "")}
  {_element("title", guest.title)}
  {_element("description", guest.description)}
  {f"<metadata>{guest.metadata}</metadata>" if guest.metadata else ""}
  <memory unit='MiB'>{guest.memory_mib}</memory>
  <vcpu placement='static'>1</vcpu>
  {_PINNED if guest.numa_pinned else ""}
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{BOOT}</kernel>
    <cmdline>{command_line(guest)}</cmdline>
  </os>
  <features><acpi/></features>
  {_cpu(guest)}
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {_disk(guest)}
    {_interface(guest)}
    {guest.devices}
    <controller type='usb' model='none'/>
    <serial type='file'><source path='{BEATS}/{guest.name}.log'/><target port='0'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
"""


_PINNED = "<cputune><vcpupin vcpu='0' cpuset='0'/></cputune><numatune><memory mode='strict' nodeset='0'/></numatune>"


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>" if text else ""


def _cpu(guest: GuestSpec) -> str:
    if guest.cpu is None:
        return ""
    return f"<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>{guest.cpu}</model></cpu>"


def _disk(guest: GuestSpec) -> str:
    path = disk_path(guest)
    if path is None:
        return ""
    return (
        "<disk type='file' device='disk'>"
        f"<driver name='qemu' type='{guest.disk_format.value}' cache='none'/>"
        f"<source file='{path}'/><target dev='hda' bus='ide'/></disk>"
    )


def _interface(guest: GuestSpec) -> str:
    if guest.network is None:
        return ""
    # Without its boot ROM: the firmware would look for a network to boot from.
    return (
        f"<interface type='bridge'><source bridge='{guest.network}'/><model type='virtio'/>"
        "<rom enabled='no'/></interface>"
    )
