"""Cases of the rules in vmferry/rules/hosts.py."""

from __future__ import annotations

from tests.unit.builders import (
    build_cordon,
    build_uuid,
    build_vm,
)
from tests.unit.rules.cases.making import DEST, SOURCE, Makers, make, on
from vmferry.model.facts import ClockReading, Service, SshdLimits, SystemFacts
from vmferry.model.host import Limits
from vmferry.rules.case import Case


def unit(name: str, **fields: bool | None) -> Service:
    return Service(name=name, **{"is_active": True, **fields})


def serviced(*units: Service) -> Case:
    """A destination with these units; libvirt answers on it."""
    return make(dest={"system": SystemFacts(services=units)})


def clocks(source_ms: float, dest_ms: float, error_ms: float) -> Case:
    def system(offset_ms: float) -> dict[str, SystemFacts]:
        return {"system": SystemFacts(clock=ClockReading(offset_ms=offset_ms, error_ms=error_ms))}

    return make(source=system(source_ms), dest=system(dest_ms))


def parallel(
    incoming: int = 2,
    outgoing: int = 2,
    sshd: SshdLimits | None = SshdLimits(start=10, rate=30, full=100),  # noqa: B008
    uri: str = "qemu+ssh://{}/system",
) -> Case:
    """Hosts with sshd's usual limits and this many moves at once."""
    read = {"system": SystemFacts(sshd=sshd)}

    def entry(name: str) -> dict[str, object]:
        limits = Limits(incoming=incoming, outgoing=outgoing)
        return {"limits": limits, "uri": uri.format(name), "peer_uri": uri.format(name)}

    return make(source=read, dest=read, source_host=entry(SOURCE), dest_host=entry(DEST))


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "already-moving": (
        (lambda: make(open_runs={str(build_uuid("wanderer1")): "run-7"}),),
        (lambda: make(open_runs={str(build_uuid("other")): "run-7"}),),
    ),
    "same-machine": ((lambda: make(dest={"uuid": build_uuid(f"host-{SOURCE}")}),), (on,)),
    "hypervisor": (
        (
            lambda: on(domain_type="xen"),
            lambda: on(domain_type="qemu"),
            lambda: make(dest={"domain_types": ("qemu",)}),
            lambda: make(source={"domain_types": ("qemu",)}),
        ),
        (
            on,
            lambda: make(
                build_vm(domain_type="qemu"),
                source_host={"hypervisors": ("kvm", "qemu")},
                dest_host={"hypervisors": ("qemu",)},
            ),
        ),
    ),
    "user-session": (
        (
            lambda: make(dest={"uri": "qemu:///session"}),
            lambda: make(source_host={"uri": "qemu:///session"}),
            lambda: make(dest_host={"peer_uri": "qemu+ssh://dest/session?keyfile=x"}),
        ),
        (on,),
    ),
    "libvirtd-service": (
        (
            lambda: serviced(unit("libvirtd.service", is_enabled=False)),
            lambda: serviced(
                unit("libvirtd.service", is_enabled=False), unit("libvirtd.socket", is_active=False, is_enabled=True)
            ),
            lambda: serviced(
                unit("virtqemud.service", is_enabled=False), unit("virtqemud.socket", is_active=True, is_enabled=False)
            ),
            lambda: make(source={"system": SystemFacts(services=(unit("libvirtd.service", is_enabled=False),))}),
        ),
        (
            on,  # no systemd
            lambda: serviced(unit("libvirtd.service", is_enabled=True)),
            lambda: serviced(unit("libvirtd.service", is_active=False, is_enabled=True)),
            lambda: serviced(unit("libvirtd.service", is_enabled=False), unit("libvirtd.socket", is_enabled=True)),
            lambda: serviced(unit("virtqemud.service", is_enabled=False), unit("virtqemud.socket", is_enabled=True)),
            lambda: serviced(unit("libvirtd.service", is_enabled=None)),
            lambda: serviced(unit("nfs-server.service", is_enabled=False)),
        ),
    ),
    "clock-offset": (
        (
            lambda: clocks(0, 1_050, error_ms=20),
            lambda: clocks(600, -600, error_ms=20),
            lambda: clocks(61_000, 0, error_ms=200),
        ),
        (
            on,
            lambda: clocks(0, 990, error_ms=1),
            lambda: clocks(5_000, 5_100, error_ms=20),  # both against vmferry's machine
            lambda: clocks(0, 1_900, error_ms=500),  # the errors allow for less than 1 s
            lambda: make(dest={"system": SystemFacts(clock=ClockReading(offset_ms=9e6, error_ms=1))}),
        ),
    ),
    "ssh-startups": (
        (
            lambda: parallel(incoming=5),  # 2 × 5 + 2 logins
            lambda: parallel(outgoing=9),
            lambda: parallel(incoming=2, sshd=SshdLimits(start=5, rate=100, full=5)),
        ),
        (
            on,
            lambda: parallel(),
            lambda: parallel(incoming=4),
            lambda: parallel(outgoing=8),
            lambda: parallel(incoming=64, outgoing=64, sshd=None),
            lambda: parallel(incoming=64, sshd=SshdLimits(start=200, rate=30, full=400)),
            # libvirt by TLS: only the copies and the tools log in by ssh
            lambda: parallel(incoming=9, uri="qemu+tls://{}/system"),
            lambda: parallel(outgoing=64, uri="qemu+tls://{}/system"),
        ),
    ),
    "cordoned": (
        (lambda: make(cordons=(build_cordon(DEST),)),),
        (lambda: make(cordons=(build_cordon(SOURCE),)),),
    ),
}
