"""Rules about the host networks that the VM's cards are plugged into."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.findings import Severity
from vmferry.rules.case import Case
from vmferry.rules.rule import DEVICE, Rule, Scope, always
from vmferry.rules.sources import ALLOWED


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


def nic_direct(case: Case) -> Iterator[str]:
    """A macvtap card needs a device of the same name on the same network; devices were not read."""
    for nic in case.arriving.nics:
        if nic.kind == "direct":
            yield (
                f"vm {case.vm.name}: card {nic.mac or '?'} is macvtap on "
                f"{nic.source or 'an unknown device'}; make sure that {case.dest.name} has this device on "
                f"the same network: `ip link show {nic.source or ''}`"
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
    ),
    Rule(
        "network-missing",
        network_missing,
        always(Severity.BLOCK),
        "libvirt VIR_ERR_NO_NETWORK; failure mode 32",
    ),
    Rule("nic-direct", nic_direct, always(Severity.WARN), "reference 9.5: same network; failure mode 33"),
    Rule("nic-vdpa", nic_vdpa, DEVICE, f"{ALLOWED}: vDPA", scope=Scope.VM),
    Rule("nic-other", nic_other, always(Severity.WARN), f"{ALLOWED}: slirp; failure mode 33"),
)
