"""Cases of the rules in vmferry/rules/network.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.builders import build_off_vm, build_pair, build_vm
from tests.unit.rules.cases.making import DEST, SOURCE, Makers, make, on, with_nic
from vmferry.model.facts import Link, SameNetwork, SystemFacts
from vmferry.model.host import PairFacts
from vmferry.model.migration import DomainChanges
from vmferry.model.vm import Nic, Vm
from vmferry.rules.case import Case

TWO_BRIDGES = {"bridges": ("br0", "br7")}
TO_BR7 = DomainChanges(bridges={"br0": "br7"})


def compared(bridge: str, dest_bridge: str, is_same: bool | None) -> PairFacts:
    """A pair whose reader has tried these two bridges and no others."""
    found = SameNetwork(bridge=bridge, dest_bridge=dest_bridge, is_same=is_same, detail="no answer from fe80::2%br0")
    return build_pair(SOURCE, DEST, (build_vm(),), networks=(found,))


def links(*there: Link, here: tuple[Link, ...] = (), vm: Vm | None = None, **options: Any) -> Case:
    """A move between hosts with these network devices."""
    source, dest = {"system": SystemFacts(links=here)}, {"system": SystemFacts(links=there), **TWO_BRIDGES}
    return make(vm, source=source, dest=dest, **options)


def bridge(name: str = "br0", mtu: int = 1500, **fields: Any) -> Link:
    return Link(**{"name": name, "kind": "bridge", "mtu": mtu, **fields})


def macvtap(device: str = "eth0") -> Vm:
    return build_vm(nics=(Nic(kind="direct", source=device, mac="52:54:00:00:00:02"),))


def given_xml(*nics: Nic) -> Case:
    """The operator's own XML with these cards, to a host with br0 and br7, of which only br0 was tried."""
    vm = build_vm()
    fleet = make(vm, dest=TWO_BRIDGES, pair=compared("br0", "br0", True))
    return replace(fleet, arriving=vm.model_copy(update={"nics": nics}))


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "bridge-missing": (
        (lambda: make(dest={"bridges": ("virbr0",)}), lambda: make(build_off_vm(), dest={"bridges": ()})),
        (on, lambda: make(dest={"bridges": ("br7",)}, changes=TO_BR7)),
    ),
    "network-missing": (
        (lambda: with_nic("network", "isolated"),),
        (
            lambda: with_nic("network", "default"),
            lambda: with_nic("network", "isolated", changes=DomainChanges(networks={"isolated": "default"})),
        ),
    ),
    "same-network": (
        (
            lambda: make(pair=compared("br0", "br0", False)),
            lambda: make(build_off_vm(), pair=compared("br0", "br0", False)),
            lambda: make(dest=TWO_BRIDGES, changes=TO_BR7, pair=compared("br0", "br7", False)),
        ),
        (
            on,
            lambda: make(pair=None),
            lambda: make(pair=compared("br0", "br0", None)),
            # another VM's bridge
            lambda: make(build_vm(nics=()), pair=compared("br0", "br0", False)),
            lambda: make(dest=TWO_BRIDGES, changes=TO_BR7, pair=compared("br0", "br0", False)),
            # a missing bridge is told once, by `bridge-missing`
            lambda: make(dest={"bridges": ()}, pair=compared("br0", "br0", False)),
        ),
    ),
    "same-network-unproved": (
        (
            lambda: make(pair=compared("br0", "br0", None)),
            lambda: make(pair=build_pair(SOURCE, DEST, (build_vm(),), networks=())),
            lambda: make(dest=TWO_BRIDGES, changes=TO_BR7, pair=compared("br0", "br0", True)),
            # a card that the operator's XML moves to another bridge, and one that it adds
            lambda: given_xml(Nic(kind="bridge", source="br7", mac="52:54:00:00:00:01")),
            lambda: given_xml(Nic(kind="bridge", source="br7")),
            lambda: given_xml(Nic(kind="bridge", source="br0", mac="52:54:00:00:00:09")),
        ),
        (
            on,
            lambda: make(pair=None),
            lambda: make(pair=compared("br0", "br0", False)),
            lambda: make(dest=TWO_BRIDGES, changes=TO_BR7, pair=compared("br0", "br7", True)),
            lambda: make(dest={"bridges": ()}, pair=compared("br0", "br0", None)),
            lambda: given_xml(Nic(kind="bridge", source="br0", mac="52:54:00:00:00:01")),
            lambda: given_xml(Nic(kind="bridge", source="br0")),  # no MAC address: the card at its place
            lambda: with_nic("network", "default"),
        ),
    ),
    "bridge-mtu": (
        (
            lambda: links(bridge(), here=(bridge(mtu=9000),)),
            lambda: links(bridge("br7"), here=(bridge(mtu=9000),), changes=TO_BR7),
        ),
        (
            on,
            lambda: links(bridge(mtu=9000), here=(bridge(),)),
            lambda: links(bridge(mtu=9000), here=(bridge(mtu=9000),)),
            # one side was not read, another bridge is meant
            lambda: links(here=(bridge(mtu=9000),)),
            lambda: links(bridge("br7"), here=(bridge(mtu=9000),)),
        ),
    ),
    "bridge-vlan": (
        (
            lambda: links(bridge(has_vlan_filtering=True), here=(bridge(),)),
            lambda: links(bridge(), here=(bridge(has_vlan_filtering=True),)),
        ),
        (
            on,
            lambda: links(bridge(), here=(bridge(),)),
            lambda: links(bridge(has_vlan_filtering=True), here=(bridge(has_vlan_filtering=True),)),
            lambda: links(bridge(has_vlan_filtering=True)),
        ),
    ),
    "bridge-down": (
        (lambda: links(bridge(is_up=False)), lambda: links(bridge(is_up=False), vm=build_off_vm())),
        (
            on,
            lambda: links(bridge()),
            lambda: links(bridge(), here=(bridge(is_up=False),)),
            lambda: links(bridge("br7", is_up=False)),
            # the device of an Open vSwitch bridge is down as a rule
            lambda: links(bridge(kind="openvswitch", is_up=False)),
        ),
    ),
    "nic-device-missing": (
        (lambda: links(Link(name="eno1", mtu=1500), vm=macvtap()),),
        (
            on,
            lambda: with_nic("direct", "eth0"),  # devices were not read
            lambda: links(Link(name="eth0", mtu=1500), vm=macvtap()),
            lambda: links(Link(name="eno1", mtu=1500)),
        ),
    ),
    "nic-direct": (
        (
            lambda: with_nic("direct", "eth0"),
            lambda: links(Link(name="eth0", mtu=1500), vm=macvtap()),
        ),
        (on, lambda: links(Link(name="eno1", mtu=1500), vm=macvtap())),
    ),
    "nic-vdpa": ((lambda: with_nic("vdpa", "/dev/vhost-vdpa-0"),), (on,)),
    "nic-other": (
        (lambda: with_nic("user"), lambda: with_nic("ethernet")),
        (on, lambda: with_nic("direct", "eth0")),
    ),
}
