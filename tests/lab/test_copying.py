"""Copies between real hosts that are cut off in the middle, or that do not fit; and block devices.

What is on the hosts is looked at from inside them, never taken from what the call said.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.lab import Lab, LabHost
from infra.lab.storage import IMAGES
from vmferry.adapters import ssh_copy_engine
from vmferry.adapters.world import open_world
from vmferry.errors import CopyFailed, TransientError
from vmferry.inventory import load_inventory
from vmferry.model.disks import CopyDone, CopyMethod, CopyOptions, CopyStats
from vmferry.ports import World
from vmferry.settings import Settings

pytestmark = pytest.mark.lab

MIB = 2**20
IMAGE, STAGING = f"{IMAGES}/copying.raw", f"{IMAGES}/.vmferry-copying/copying.raw"
DATA = 24 * MIB
SLOWLY = CopyOptions(bandwidth_mib_s=12)
_LOOK = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null; echo; done | grep -c 'vmferry-[sr]e[ncde]'"


@pytest.fixture
def way() -> str:
    """Whether copies go by TLS; most of these do, for that has more that can break."""
    return "always"


@pytest.fixture
def tools(fleet: Lab, tmp_path: Path, way: str) -> Iterator[World]:
    """The lab's hosts without flows; copies give up after 4 s without a link."""
    settings = Settings.model_validate(
        {"state_dir": tmp_path, "connect_timeout_s": 3, "call_timeout_s": 20, "copy_patience_s": 4, "copy_tls": way}
    )
    world = open_world(load_inventory(fleet.inventory_path), settings)
    try:
        yield world
    finally:
        world.close()
        for host in fleet.hosts.values():
            host.link_up()
            host.run(["rm", "-rf", IMAGE, str(Path(STAGING).parent)])


@pytest.fixture
def image(fleet: Lab) -> bytes:
    """A sparse image on kvm1: its content."""
    content = bytearray(96 * MIB)
    draw = random.Random(4)
    for begin in range(0, len(content), 16 * MIB):
        content[begin : begin + DATA // 6] = draw.randbytes(DATA // 6)
    path = fleet.hosts["kvm1"].outer_path(IMAGE)
    with path.open("wb") as file:
        file.truncate(len(content))
        for begin in range(0, len(content), 16 * MIB):
            file.seek(begin)
            file.write(content[begin : begin + DATA // 6])
    return bytes(content)


def copy(world: World, dest: str, on_copy: Callable[[CopyStats], None] | None = None) -> CopyDone:
    entry = world.inventory.find(dest)
    assert entry is not None
    return world.tools("kvm1").copy_file(IMAGE, entry, STAGING, SLOWLY, on_copy)


def at_point(seed: int, act: Callable[[], None]) -> Callable[[CopyStats], None]:
    """Return a callback that acts once, at a random point of the copy."""
    point = random.Random(seed).uniform(0.05, 0.6) * DATA
    has_acted: list[bool] = []

    def on_copy(stats: CopyStats) -> None:
        if stats.sent_bytes >= point and not has_acted:
            has_acted.append(True)
            act()

    return on_copy


def assert_nothing_runs(*hosts: LabHost) -> None:
    """Neither end of a copy is left on the hosts; ssh needs 15 s to notice a link that was cut."""
    deadline = time.monotonic() + 40
    for host in hosts:
        while (count := host.run(["sh", "-c", _LOOK], check=False).stdout.strip()) != "0":
            assert time.monotonic() < deadline, f"{count} processes on {host.name}"
            time.sleep(0.2)


@pytest.mark.parametrize(("way", "seed"), [("never", 20), ("always", 21)])
def test_a_short_cut_of_the_link_is_waited_out(fleet: Lab, tools: World, image: bytes, seed: int, way: str) -> None:
    kvm1, kvm2 = fleet.hosts["kvm1"], fleet.hosts["kvm2"]
    healing = threading.Timer(2.0, kvm2.link_up)

    def cut() -> None:
        kvm2.link_down()
        healing.start()

    done = copy(tools, "kvm2", at_point(seed, cut))
    healing.join()
    assert ("through TLS" in done.reason) == (way == "always")
    assert kvm2.outer_path(STAGING).read_bytes() == image == kvm1.outer_path(IMAGE).read_bytes()
    assert_nothing_runs(kvm1, kvm2)


def test_a_long_cut_fails_clean_and_the_next_attempt_goes_on(fleet: Lab, tools: World, image: bytes) -> None:
    kvm1, kvm2 = fleet.hosts["kvm1"], fleet.hosts["kvm2"]
    with pytest.raises(TransientError, match="the source is unchanged"):
        copy(tools, "kvm2", at_point(22, kvm2.link_down))
    kvm2.link_up()
    done = copy(tools, "kvm2")
    assert done.resumed_bytes > 0
    assert kvm2.outer_path(STAGING).read_bytes() == image == kvm1.outer_path(IMAGE).read_bytes()
    assert_nothing_runs(kvm1, kvm2)


@pytest.mark.parametrize(
    ("lost", "why"), [([], "timed out"), (["-m", "length", "--length", "1400:"], "nothing arrived any more")]
)
def test_what_the_migration_ports_do_not_let_through_goes_by_ssh(
    fleet: Lab, tools: World, image: bytes, lost: list[str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that knows only ssh, and a network that loses large packets."""
    monkeypatch.setattr(ssh_copy_engine, "_TLS_STALL_S", 2.0)
    kvm1, kvm2 = fleet.hosts["kvm1"], fleet.hosts["kvm2"]
    rule = ["INPUT", "-p", "tcp", "--dport", "49152:49215", *lost, "-j", "DROP"]
    kvm2.run(["iptables", "-I", *rule])
    try:
        done = copy(tools, "kvm2")
    finally:
        kvm2.run(["iptables", "-D", *rule])
    assert "through ssh, not TLS: port 49" in done.reason
    assert why in done.reason
    assert kvm2.outer_path(STAGING).read_bytes() == image == kvm1.outer_path(IMAGE).read_bytes()
    assert_nothing_runs(kvm1, kvm2)


def test_a_full_destination_is_told_with_numbers_and_keeps_the_source(fleet: Lab, tools: World, image: bytes) -> None:
    kvm1, kvm3 = fleet.hosts["kvm1"], fleet.hosts["kvm3"]
    kvm3.run(["sh", "-c", f"head -c {36 * MIB} /dev/zero >{IMAGES}/filler"])
    try:
        with pytest.raises(CopyFailed, match=r"the destination is full.* bytes are free"):
            copy(tools, "kvm3")
    finally:
        kvm3.run(["rm", f"{IMAGES}/filler"])
    assert kvm1.outer_path(IMAGE).read_bytes() == image
    assert_nothing_runs(kvm1, kvm3)
    copy(tools, "kvm3")  # there is room now
    assert tools.tools("kvm3").checksum(STAGING) == tools.tools("kvm1").checksum(IMAGE)


@contextmanager
def loop_device(path: Path, size: int, fill: bytes) -> Iterator[str]:
    """Give a block device on a file that is filled with old data."""
    from infra.lab.proc import run

    path.write_bytes(fill * size)
    device = run(["losetup", "--find", "--show", str(path)]).stdout.strip()
    try:
        yield device
    finally:
        run(["losetup", "--detach", device])
        path.unlink()


@pytest.mark.parametrize("method", [None, CopyMethod.RELAY])
def test_a_device_gets_zeros_where_old_data_lay(
    fleet: Lab, tools: World, image: bytes, tmp_path: Path, method: CopyMethod | None
) -> None:
    entry = tools.inventory.find("kvm2")
    assert entry is not None
    place = Path("/var/tmp") / f"vmferry-{fleet.hosts['kvm2'].pid1}.loop"
    with loop_device(place, len(image) + MIB, b"o") as device:
        options = CopyOptions(method=method, is_device=True)
        tools.tools("kvm1").copy_file(IMAGE, entry, device, options)
        assert place.read_bytes() == image + bytes(MIB)
        back = tools.tools("kvm1").copy_file(device, entry, STAGING)  # and from a device into a sparse file
        assert back.sent_bytes <= DATA + MIB
        copied = fleet.hosts["kvm2"].outer_path(STAGING)
        assert copied.stat().st_blocks * 512 <= DATA + MIB
        assert copied.read_bytes() == image + bytes(MIB)


def test_a_device_that_is_too_small_is_refused(fleet: Lab, tools: World, image: bytes) -> None:
    entry = tools.inventory.find("kvm2")
    assert entry is not None
    place = Path("/var/tmp") / f"vmferry-{fleet.hosts['kvm2'].pid1}.loop"
    with loop_device(place, 8 * MIB, b"o") as device:
        with pytest.raises(CopyFailed, match=f"has {8 * MIB} bytes, the original {len(image)}"):
            tools.tools("kvm1").copy_file(IMAGE, entry, device, CopyOptions(is_device=True))
        assert set(place.read_bytes()) == set(b"o")
