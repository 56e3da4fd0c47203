"""Rules about the host networks that the VM's cards are plugged into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vmferry.model.facts import Link, SameNetwork
from vmferry.model.findings import Severity
from vmferry.model.vm import Nic
from vmferry.rules import concerns
from vmferry.rules.case import Case, once_per_case
from vmferry.rules.rule import DEVICE, Rule, Scope, always
from vmferry.rules.sources import ALLOWED

# libvirt gives a guest's tap device the MTU of the bridge it is plugged into (virNetDevTapAttachBridge).
_TAP_MTU = "failure mode 32; libvirt virNetDevTapAttachBridge"


def bridge_missing(case: Case) -> Iterator[str]:
    """Every bridge exists on the destination, after the remaps asked for."""
    wanted = sorted({n.source for n in case.arriving.nics if n.kind == "bridge" and n.source})
    for bridge in wanted:
        if bridge not in case.dest.facts.bridges:
            have = ", ".join(case.dest.facts.bridges) or "none"
            yield (
                f"vm {case.vm.name} is plugged into bridge {bridge}; {case.dest.name} has {have}; create it "
                "on the same network (`ip link show type bridge` there), or map it with changes.bridges "
                f"{bridge}=OTHER"
            )


def network_missing(case: Case) -> Iterator[str]:
    """Every libvirt network is active on the destination, after the remaps asked for."""
    wanted = sorted({n.source for n in case.arriving.nics if n.kind == "network" and n.source})
    for network in wanted:
        if network not in case.dest.facts.networks:
            have = ", ".join(case.dest.facts.networks) or "none"
            yield (
                f"vm {case.vm.name} uses libvirt network {network}; active on {case.dest.name}: {have}; run "
                f"`virsh -c {case.dest.host.uri} net-start {network}`, or map it with changes.networks "
                f"{network}=OTHER"
            )


def same_network(case: Case) -> Iterator[str]:
    """A bridge and its counterpart on the destination are one layer-2 network, where that was tried."""
    for here, there, found in _answers(case):
        if found is not None and found.is_same is False:
            yield (
                f"vm {case.vm.name}: bridge {here} of {case.source.name} and {there} of {case.dest.name} are not one "
                f"network: {found.detail or 'no answer'}; the VM would be cut off; compare the ports of both with "
                f"`bridge link show`, or map it with changes.bridges {here}=OTHER"
            )


def same_network_unproved(case: Case) -> Iterator[str]:
    """That a bridge and its counterpart are one network was proved."""
    for here, there, found in _answers(case):
        if found is None or found.is_same is None:
            why = found.detail if found is not None and found.detail else "it was not tried"
            yield (
                f"vm {case.vm.name}: that {f'bridge {here}' if here else 'the network of its card'} on "
                f"{case.source.name} and bridge {there} on {case.dest.name} are one network is not proved: {why}; give "
                f"both bridges an address (`ip address add ADDRESS/PREFIX dev {there}`), or try `arping -I "
                f"{here or 'BRIDGE'} ADDRESS` on {case.source.name} with an address that is behind {there} only"
            )


@once_per_case
def _answers(case: Case) -> tuple[tuple[str | None, str, SameNetwork | None], ...]:
    """Return bridge here, bridge there and what was found out about them; nothing while the pair was not read."""
    if case.pair is None:
        return ()
    found = []
    for here, there in _plugged(case):
        tried = (n for n in case.pair.networks if (n.bridge, n.dest_bridge) == (here, there))
        found.append((here, there, next(tried, None)))
    return tuple(found)


@once_per_case
def _plugged(case: Case) -> list[tuple[str | None, str]]:
    """Return (bridge on the source, bridge on the destination) of the VM's cards, each pair once.

    None stands for a card that is in no bridge on the source. A bridge that the destination lacks is left out:
    `bridge-missing` says so.
    """
    found: set[tuple[str | None, str]] = set()
    for place, nic in enumerate(case.arriving.nics):
        if nic.kind == "bridge" and nic.source and nic.source in case.dest.facts.bridges:
            before = nic if case.arriving is case.vm else card_before(case.vm.nics, nic, place)
            found.add((before.source if before and before.kind == "bridge" else None, nic.source))
    if len(found) < 2:
        return list(found)
    return sorted(found, key=lambda bridges: (bridges[1], bridges[0] or ""))


def card_before(nics: Sequence[Nic], nic: Nic, place: int) -> Nic | None:
    """Return the card as it is on the source: the one with its MAC address, or at its place where it has none."""
    if nic.mac is None:
        return nics[place] if place < len(nics) else None
    return next((own for own in nics if own.mac == nic.mac), None)


def _links(case: Case) -> Iterator[tuple[Link, Link]]:
    """Yield the bridges of the VM's cards on both hosts, where both were read."""
    for here, there in _plugged(case) if case.dest.links else ():
        source, dest = case.source.links.get(here or ""), case.dest.links.get(there)
        if source is not None and dest is not None:
            yield source, dest


def bridge_mtu(case: Case) -> Iterator[str]:
    """No bridge has a smaller MTU on the destination: the guest's large frames would be dropped."""
    for here, there in _links(case):
        if there.mtu < here.mtu:
            yield (
                f"vm {case.vm.name}: bridge {there.name} of {case.dest.name} has MTU {there.mtu}, {here.name} of "
                f"{case.source.name} has {here.mtu}: larger frames of the guest would be dropped; raise the MTU of its "
                f"ports and run `ip link set {there.name} mtu {here.mtu}` on {case.dest.name}"
            )


def bridge_vlan(case: Case) -> Iterator[str]:
    """A bridge filters VLANs on both hosts or on neither."""
    for here, there in _links(case):
        if here.has_vlan_filtering != there.has_vlan_filtering:
            which, other = (here, case.source) if here.has_vlan_filtering else (there, case.dest)
            yield (
                f"vm {case.vm.name}: bridge {which.name} filters VLANs on {other.name} only, its counterpart does not: "
                f"the VM may land in another VLAN; compare `bridge vlan show` on {case.source.name} and "
                f"{case.dest.name}"
            )


def bridge_down(case: Case) -> Iterator[str]:
    """Every bridge is up on the destination."""
    for _, there in _plugged(case) if case.dest.links else ():
        link = case.dest.links.get(there)
        # The device of an Open vSwitch bridge is a port of the host itself: the guests' frames pass without it.
        if link is not None and not link.is_up and link.kind != "openvswitch":
            yield (
                f"vm {case.vm.name}: bridge {there} of {case.dest.name} is down; run `ip link set {there} up` there "
                f"and look at its ports with `bridge link show`"
            )


def nic_device_missing(case: Case) -> Iterator[str]:
    """Every device that a macvtap card sits on exists on the destination."""
    for nic in case.arriving.nics:
        if nic.kind == "direct" and _is_missing(case, nic):
            have = ", ".join(name for name in case.dest.links if name != "lo")
            yield (
                f"vm {case.vm.name}: card {nic.mac or '?'} is macvtap on {nic.source}; {case.dest.name} has no such "
                f"device ({have or 'none'}); give one of the same network that name there, or plug the card into a "
                f"bridge with `virsh edit {case.vm.name}`"
            )


def _is_missing(case: Case, nic: Nic) -> bool:
    return bool(case.dest.links) and nic.source is not None and nic.source not in case.dest.links


def nic_direct(case: Case) -> Iterator[str]:
    """A macvtap card sits on a device of the same network on the destination, which cannot be proved from outside."""
    for nic in case.arriving.nics:
        if nic.kind == "direct" and not _is_missing(case, nic):
            yield (
                f"vm {case.vm.name}: card {nic.mac or '?'} is macvtap on {nic.source or 'an unknown device'}; make "
                f"sure that it is up and on the same network on {case.dest.name}: `ip link show {nic.source or ''}` "
                "there, and the switch's port"
            )


def nic_vdpa(case: Case) -> Iterator[str]:
    """No card is a vhost-vdpa device: its state is in the source's hardware."""
    for nic in case.vm.nics:
        if nic.kind == "vdpa":
            yield (
                f"vm {case.vm.name}: card {nic.mac or '?'} is vhost-vdpa on {nic.source or '?'}; detach it "
                f"with `virsh detach-interface {case.vm.name} vdpa --mac {nic.mac or 'MAC'}` and use a bridge"
            )


def nic_other(case: Case) -> Iterator[str]:
    """A card that is neither bridge nor libvirt network depends on things outside libvirt."""
    known = ("bridge", "network", "direct", "hostdev", "vdpa")
    for nic in case.arriving.nics:
        if nic.kind not in known:
            yield (
                f"vm {case.vm.name}: card {nic.mac or '?'} is of type {nic.kind} "
                f"({nic.source or 'no source'}); vmferry cannot tell whether {case.dest.name} has its other "
                "end; open connections may be cut"
            )


RULES: tuple[Rule, ...] = (
    Rule(
        "bridge-missing",
        bridge_missing,
        always(Severity.BLOCK),
        "reference 9.5: public bridge; failure mode 32",
        after_loss=Severity.BLOCK,
        concerns=concerns.nics("bridge"),
    ),
    Rule(
        "network-missing",
        network_missing,
        always(Severity.BLOCK),
        "libvirt VIR_ERR_NO_NETWORK; failure mode 32",
        after_loss=Severity.BLOCK,
        concerns=concerns.nics("network"),
    ),
    Rule(
        "same-network",
        same_network,
        always(Severity.BLOCK),
        "reference 9.5: public bridge, same network; failure mode 33",
        after_loss=Severity.BLOCK,
        concerns=concerns.nics("bridge"),
    ),
    Rule(
        "same-network-unproved",
        same_network_unproved,
        always(Severity.WARN),
        "reference 9.5: public bridge, same network",
        after_loss=Severity.WARN,
        concerns=concerns.nics("bridge"),
    ),
    Rule(
        "bridge-mtu",
        bridge_mtu,
        always(Severity.BLOCK),
        _TAP_MTU,
        after_loss=Severity.WARN,
        concerns=concerns.nics("bridge"),
    ),
    Rule(
        "bridge-vlan",
        bridge_vlan,
        always(Severity.WARN),
        "failure mode 32: VLAN filter",
        after_loss=Severity.WARN,
        concerns=concerns.nics("bridge"),
    ),
    Rule(
        "bridge-down",
        bridge_down,
        always(Severity.BLOCK),
        "reference 9.5: public bridge",
        after_loss=Severity.BLOCK,
        concerns=concerns.nics("bridge"),
    ),
    Rule(
        "nic-device-missing",
        nic_device_missing,
        always(Severity.BLOCK),
        "libvirt domain XML: direct attachment names a host device; failure mode 32",
        after_loss=Severity.BLOCK,
        concerns=concerns.nics("direct"),
    ),
    Rule(
        "nic-direct",
        nic_direct,
        always(Severity.WARN),
        "reference 9.5: same network; failure mode 33",
        after_loss=Severity.WARN,
        concerns=concerns.nics("direct"),
    ),
    Rule("nic-vdpa", nic_vdpa, DEVICE, f"{ALLOWED}: vDPA", scope=Scope.VM, after_loss=Severity.BLOCK),
    Rule(
        "nic-other",
        nic_other,
        always(Severity.WARN),
        f"{ALLOWED}: slirp; failure mode 33",
        after_loss=Severity.WARN,
    ),
)
