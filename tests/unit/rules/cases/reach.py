"""Cases of the rules in vmferry/rules/reach.py."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import GIB_KIB, build_off_vm, build_pair, build_vm
from tests.unit.rules.cases.making import BAD, DEST, SOURCE, Makers, make, off, off_pair, on
from vmferry.model.facts import Link, PathMtu, Reach, SystemFacts
from vmferry.model.vm import Vm
from vmferry.rules.case import Case

SILENT = Reach(is_ok=False, detail="2 packets of 9000 bytes that must not be split: no answer")
TOLD = Reach(is_ok=False, detail="From 10.0.0.1 icmp_seq=1 Frag needed and DF set (mtu = 1400)")
OWN_MTU = Reach(is_ok=False, detail="no answer to a packet of mtu 9000")
FILTERED = Reach(is_ok=False, detail="port 49153: No route to host")
ALL_SHARED = build_off_vm(disks=())


def way(full_size: Reach = Reach(is_ok=True), mtu: int = 9000) -> PathMtu:  # noqa: B008
    return PathMtu(device="eno1", mtu=mtu, full_size=full_size)


def over(path: PathMtu | None, *there: Link, here: tuple[Link, ...] = (), vm: Vm | None = None) -> Case:
    """A move over this way between hosts with these network devices; the migration address is 10.0.0.2."""
    vm = vm or build_vm()
    return make(
        vm,
        pair=build_pair(SOURCE, DEST, (vm,), path_mtu=path),
        source={"system": SystemFacts(links=here)},
        dest={"system": SystemFacts(links=there)},
        dest_host={"migration_address": "10.0.0.2"},
    )


def link(speed: int | None = 1000, used: float | None = 0.0, **fields: Any) -> Link:
    given = {"name": "eno1", "mtu": 9000, "addresses": ("fe80::2/64", "10.0.0.2/24"), **fields}
    return Link(speed_mbit_s=speed, used_mbit_s=used, **given)


def guests_port(used: float, **fields: Any) -> tuple[Link, ...]:
    """A bridge that tells a speed of its own, its port of hardware with this load, and a guest's tap device."""
    bridge = link(speed=10_000, name="br0", kind="bridge", **fields)
    tap = Link(name="vnet0", kind="tun", mtu=9000, master="br0", speed_mbit_s=10_000, used_mbit_s=0)
    return (bridge, Link(name="eno9", mtu=9000, master="br0", speed_mbit_s=1000, used_mbit_s=used), tap)


def bonded(used: float) -> tuple[Link, ...]:
    """A bridge on a bond of two, one of which carries all of the load."""
    own = {"mtu": 9000, "speed_mbit_s": 1000, "master": "bond0"}
    slaves = (Link(name="eno1", used_mbit_s=990, **own), Link(name="eno2", used_mbit_s=0, **own))
    bond = Link(name="bond0", kind="bond", mtu=9000, master="br0", speed_mbit_s=2000, used_mbit_s=used)
    return (link(speed=None, name="br0", kind="bridge"), bond, *slaves)


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "ping": ((lambda: make(pair=build_pair(SOURCE, DEST, ping=BAD)),), (on, lambda: make(pair=None))),
    "libvirt-reach": (
        (lambda: make(pair=build_pair(SOURCE, DEST, libvirt=BAD)),),
        (on, lambda: make(pair=None)),
    ),
    "migration-ports": (
        (lambda: make(pair=build_pair(SOURCE, DEST, (build_vm(),), ports=FILTERED)),),
        (
            on,  # memory travels through the libvirt connection: no port is tried
            lambda: make(pair=build_pair(SOURCE, DEST, (build_vm(),), ports=Reach(is_ok=True))),
            lambda: make(pair=None),
            lambda: make(build_off_vm(), pair=off_pair(ports=FILTERED)),
        ),
    ),
    "path-mtu": (
        (
            lambda: over(way(SILENT)),
            lambda: over(way(OWN_MTU)),
            lambda: over(way(Reach(is_ok=False))),
            lambda: over(way(SILENT), vm=build_off_vm()),  # its disk is copied
        ),
        (
            on,
            lambda: make(pair=None),
            lambda: over(way()),
            lambda: over(way(TOLD)),
            lambda: over(way(SILENT), vm=ALL_SHARED),
        ),
    ),
    "path-mtu-smaller": (
        (
            lambda: over(way(TOLD)),
            lambda: over(way(Reach(is_ok=False, detail="ping: local error: message too long, mtu=1400"), mtu=1500)),
            lambda: over(way(TOLD), vm=build_off_vm()),
        ),
        (on, lambda: over(way()), lambda: over(way(SILENT)), lambda: over(way(TOLD), vm=ALL_SHARED)),
    ),
    "mtu-differs": (
        (lambda: over(way(), link(mtu=1500)), lambda: over(way(mtu=1500), link(mtu=9000))),
        (
            on,
            lambda: over(way(), link()),
            lambda: over(way()),  # not read, or the migration address is a name
            lambda: over(way(), link(mtu=1500, addresses=("10.0.0.20/24",))),
            lambda: over(None, link(mtu=1500)),
            lambda: over(way(), link(mtu=1500), vm=build_off_vm()),
        ),
    ),
    "link-busy": (
        (
            lambda: over(way(), here=(link(used=950),)),
            lambda: over(way(), link(used=901)),
            lambda: over(way(), link(used=1200)),
            # idle, but too slow: 512 GiB need 88,000 s, the deadline is 76,920 s
            lambda: over(way(), link(speed=50), vm=build_vm(memory_kib=512 * GIB_KIB)),
            lambda: over(way(), link(used=950), vm=build_off_vm()),
            # the guests' traffic fills the port of the bridge that has the address
            lambda: over(way(), *guests_port(used=950)),
            lambda: over(way(), *bonded(used=1900)),
        ),
        (
            on,
            lambda: over(way(), link(), here=(link(),)),
            lambda: over(way(), link(used=899)),
            lambda: over(way(), link(speed=None, used=950)),
            lambda: over(way(), link(used=None)),
            lambda: over(None, link(used=950), here=(link(used=950),)),
            lambda: over(way(), link(used=950), vm=ALL_SHARED),
            lambda: over(way(), *guests_port(used=100)),
            lambda: over(way(), *bonded(used=1000)),
            # no port of hardware: the bridge's own speed says nothing
            lambda: over(way(), link(speed=10, used=10, name="br0", kind="bridge")),
            lambda: off(),
        ),
    ),
}
