"""Rules about the way from the source to the destination; not judged while the pair has not been read."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.findings import Severity
from vmferry.rules.case import Case
from vmferry.rules.rule import Rule, Scope, always


def ping(case: Case) -> Iterator[str]:
    """The source pings the destination's migration address."""
    if case.pair is not None and not case.pair.ping.is_ok:
        address = case.dest.host.migration_address
        yield (
            f"{case.source.name} cannot ping {case.dest.name}: {case.pair.ping.detail or 'no answer'}; "
            f"try `ping {address}` on {case.source.name} and check the firewall"
        )


def libvirt(case: Case) -> Iterator[str]:
    """The source opens the destination's libvirt: a peer-to-peer move is driven from there."""
    if case.pair is not None and not case.pair.libvirt.is_ok:
        yield (
            f"{case.source.name} cannot reach libvirt of {case.dest.name}: "
            f"{case.pair.libvirt.detail or 'no answer'}; try `virsh -c {case.dest.host.peer_uri} version` as "
            f"root on {case.source.name}"
        )


RULES: tuple[Rule, ...] = (
    Rule("ping", ping, always(Severity.BLOCK), "reference 9.5: reach each other, ping", scope=Scope.HOSTS),
    Rule("libvirt-reach", libvirt, always(Severity.BLOCK), "reference 9.5; failure mode 43", scope=Scope.HOSTS),
)
