"""The health gate: what is not as it was before the work, each thing by itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.builders import IMAGES, build_facts, build_host
from vmferry.model.facts import ClockReading, Link, Mount, Pool, SystemFacts
from vmferry.model.host import HostFacts
from vmferry.model.roll import BootFacts
from vmferry.planning.health import unhealthy

SYSTEM = SystemFacts(
    clock=ClockReading(offset_ms=3, error_ms=5),
    links=(Link(name="eth0", mtu=1500, addresses=("10.0.0.5/24", "fe80::1/64")),),
    mounts=(Mount(path="/", source="/dev/sda1", fstype="ext4"), Mount(path=IMAGES, source="nas:/vm", fstype="nfs4")),
)
POOLS = (Pool(name="images", kind="dir", target=IMAGES),)


def facts(system: dict[str, Any] | None = None, **given: Any) -> HostFacts:
    return build_facts("kvm1", system=SYSTEM.model_copy(update=system or {}), pools=given.pop("pools", POOLS), **given)


BEFORE, BOOT, AGAIN = facts(), BootFacts(boot_id="a", failed_units=("old.service",)), BootFacts(boot_id="b")


def wrong(after: HostFacts, boot: BootFacts = AGAIN, *, rebooted: bool = True) -> tuple[str, ...]:
    return unhealthy(build_host("kvm1"), BEFORE, after, BOOT, boot, rebooted=rebooted)


def test_a_host_that_is_as_it_was_is_well() -> None:
    assert wrong(BEFORE) == ()
    assert wrong(BEFORE, BOOT, rebooted=False) == ()
    more = facts(bridges=("br0", "br9"), memory_available_kib=1)
    assert wrong(more, BootFacts(boot_id="b", failed_units=("old.service",))) == ()  # failed before, too


@pytest.mark.parametrize(
    ("after", "boot", "words"),
    [
        (BEFORE, BootFacts(boot_id="a"), "has not rebooted"),
        (BEFORE, BootFacts(boot_id="b", failed_units=("nfs.service",)), "systemctl status nfs.service"),
        (facts({"mounts": SYSTEM.mounts[:1]}), AGAIN, f"{IMAGES} was on nas:/vm"),
        (facts(pools=(POOLS[0].model_copy(update={"is_active": False}),)), AGAIN, "virsh pool-start images"),
        (facts(pools=()), AGAIN, "virsh pool-start images"),
        (facts(networks=()), AGAIN, "virsh net-start default"),
        (facts(bridges=()), AGAIN, "bridge br0 is gone"),
        (facts({"links": (Link(name="eth0", mtu=1500),)}), AGAIN, "eth0 has lost 10.0.0.5/24"),
        (facts({"clock": ClockReading(offset_ms=-5000, error_ms=5)}), AGAIN, "its clock is -5.0 s off"),
        (facts(cpus=8), AGAIN, "8 CPUs, and had 16"),
        (facts(memory_total_kib=32 << 20), AGAIN, "32768 MiB of memory, and had 65536 MiB"),
    ],
)
def test_each_thing_that_is_not_as_it_was_is_told(after: HostFacts, boot: BootFacts, words: str) -> None:
    (told,) = wrong(after, boot)
    assert words in told
