"""Rules about how memory travels: encrypted by default, and as the inventory asks, or not at all."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.findings import Severity
from vmferry.model.transport import Encryption
from vmferry.rules.case import Case
from vmferry.rules.certificates import expiring
from vmferry.rules.connections import impossible
from vmferry.rules.encryption import choose_way, has_begun, is_plain_tunnel
from vmferry.rules.rule import Rule, Scope, running


def tls_required(case: Case) -> Iterator[str]:
    """Both hosts have certificates that QEMU takes, where the inventory asks for `encryption: tls`."""
    way = choose_way(case.source, case.dest)
    if way.encryption is Encryption.TLS:
        for problem in way.problems:
            yield f"encryption: tls is asked for, and {problem}; or write encryption: auto"


def tls_unused(case: Case) -> Iterator[str]:
    """Where certificates are there, they are good enough for memory to travel by TLS; else ssh carries it, slower."""
    way = choose_way(case.source, case.dest)
    if way.encryption is Encryption.TUNNELLED and way.problems and has_begun(case.source, case.dest):
        for problem in way.problems:
            yield (
                f"memory from {case.source.name} to {case.dest.name} goes through the libvirt connection, slower than "
                f"TLS would be: {problem}"
            )


def tls_expires(case: Case) -> Iterator[str]:
    """The certificates that the move uses last for another 30 days."""
    if choose_way(case.source, case.dest).encryption is Encryption.TLS:
        yield from expiring(case.source, case.dest)


def plain_text(case: Case) -> Iterator[str]:
    """Memory travels as plain text only on a network that the inventory allows it for."""
    source, dest = case.source, case.dest
    if is_plain_tunnel(choose_way(source, dest), source, dest):
        yield (
            f"memory from {source.name} to {dest.name} would go through {dest.host.peer_uri}, which is plain text; "
            f"give both hosts certificates for TLS, write a peer_uri with qemu+ssh for {dest.name}, or allow plain "
            "text on a network with both migration addresses: `plain_networks: [10.20.0.0/24]`"
        )


def plain_refused(case: Case) -> Iterator[str]:
    """No host's libvirt refuses plain text where the inventory asks for it (qemu.conf migrate_tls_force)."""
    if choose_way(case.source, case.dest).encryption is not Encryption.NONE:
        return
    for side in (case.source, case.dest):
        if side.facts.system.tls is not None and side.facts.system.tls.is_forced:
            yield (
                f"the inventory says encryption: none, but {side.name} has migrate_tls_force = 1 in "
                "/etc/libvirt/qemu.conf and refuses it; write encryption: auto for both hosts"
            )


def transport_asked(case: Case) -> Iterator[str]:
    """What the inventory asks for under `transport:` of the source can be had, and goes together."""
    for problem in impossible(case, choose_way(case.source, case.dest)):
        yield f"transport of {case.source.name} cannot be had to {case.dest.name}: {problem}"


RULES: tuple[Rule, ...] = (
    Rule(
        "tls-required",
        tls_required,
        running(Severity.BLOCK),
        "crypto/tlscredsx509.c of QEMU; qemu.conf migrate_tls_x509_cert_dir, _verify",
        scope=Scope.HOSTS,
        is_final=True,
    ),
    Rule(
        "tls-unused",
        tls_unused,
        running(Severity.WARN),
        "crypto/tlscredsx509.c of QEMU; qemu.conf migrate_tls_x509_cert_dir, _verify",
        scope=Scope.HOSTS,
    ),
    Rule("tls-expires", tls_expires, running(Severity.WARN), "crypto/tlscredsx509.c of QEMU", scope=Scope.HOSTS),
    Rule("plain-text", plain_text, running(Severity.BLOCK), "libvirt.org/uri.html: qemu+tcp", scope=Scope.HOSTS),
    Rule(
        "plain-refused",
        plain_refused,
        running(Severity.BLOCK),
        "qemu.conf migrate_tls_force; qemuMigrationSrcBegin of libvirt",
        scope=Scope.HOSTS,
    ),
    Rule(
        "transport-asked",
        transport_asked,
        running(Severity.BLOCK),
        "libvirt-measurements, section 3; qemuMigrationParamsSetCompression of libvirt",
        scope=Scope.HOSTS,
    ),
)
