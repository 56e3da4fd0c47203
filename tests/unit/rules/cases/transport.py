"""Cases of the rules in vmferry/rules/transport.py."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.unit.builders import NOW, build_off_vm
from tests.unit.certificates import authority, certificate, system, tls
from tests.unit.rules.cases.making import Makers, make, off, on
from vmferry.model.certificates import FILES, Access, TlsFacts
from vmferry.model.transport import Compression, Encryption, TransportWish
from vmferry.model.vm import Vm
from vmferry.rules.case import Case

A, B, NETWORK = "10.7.0.1", "10.7.0.2", "10.7.0.0/24"
NO_FILES = TlsFacts(access={file: Access.MISSING for file in FILES})
DAY = timedelta(days=1)


def between(
    here: TlsFacts | None = None,
    there: TlsFacts | None = None,
    encryption: Encryption = Encryption.AUTO,
    *,
    theirs: Encryption | None = None,
    vm: Vm | None = None,
    wish: TransportWish | None = None,
    facts: dict[str, Any] | None = None,
    **dest_host: Any,
) -> Case:
    """A move from A to B between hosts with these certificates, both on a network for plain text."""
    common = {"plain_networks": (NETWORK,)}
    return make(
        vm,
        source={"system": system(here), **(facts or {})},
        dest={"system": system(there), **(facts or {})},
        source_host={
            **common,
            "encryption": encryption,
            "migration_address": A,
            "transport": wish or TransportWish(),
        },
        dest_host={**common, "encryption": theirs or encryption, "migration_address": B, **dest_host},
    )


def both(here: TlsFacts | None = None, there: TlsFacts | None = None, **options: Any) -> Case:
    """A move between hosts with certificates, unless other ones are given."""
    return between(here or tls(A), there or tls(B), **options)


def closed(file: str) -> dict[str, Access]:
    return {**tls(B).access, file: Access.CLOSED}


# What makes TLS impossible, in as many ways.
BROKEN: tuple[dict[str, TlsFacts], ...] = (
    {"there": NO_FILES},
    {"here": NO_FILES},
    {"there": tls(B, without=("server-key.pem",))},
    {"there": tls(B, without=("server-cert.pem",))},
    {"there": tls(B, without=("ca-cert.pem",))},
    {"here": tls(A, without=("client-cert.pem", "client-key.pem"))},
    {"there": tls(B, access=closed("server-key.pem"))},
    {"there": tls(B, server=None, unreadable={"server-cert.pem": "not PEM"})},
    {"there": tls(B, server=None)},
    {"there": tls(B, server=certificate(B, not_after=NOW - DAY))},
    {"there": tls(B, server=certificate(B, not_after=NOW + DAY / 2))},
    {"there": tls(B, server=certificate(B, not_before=NOW + DAY))},
    {"there": tls(B, authorities=(authority(not_after=NOW - DAY),))},
    {"there": tls(B, server=certificate(B, is_authority=True))},
    {"there": tls(B, server=certificate(B, has_key=False))},
    {"there": tls(B, server=certificate(B, purposes=("client",)))},
    {"there": tls(B, server=certificate(B, signer="nobody"))},
    {"there": tls(B, server=certificate(B, signer="other"), authorities=(authority(), authority("other")))},
    {"here": tls(A, client=certificate(A, signer="other"), authorities=(authority(), authority("other")))},
    {"there": tls("kvm9.example.org", "10.7.0.9")},
    {"here": tls(A, client=certificate(A, purposes=("server",)))},
)
WISHES: tuple[Case, ...] = (
    between(wish=TransportWish(connections=4)),  # tunnelled
    between(wish=TransportWish(compression=Compression.ZSTD, connections=4)),
    both(wish=TransportWish(compression=Compression.ZSTD)),  # without connections
    both(wish=TransportWish(compression=Compression.XBZRLE, connections=2)),
    both(wish=TransportWish(zero_copy=True)),  # TLS
    both(wish=TransportWish(connections=2), facts={"qemu_version": 5_001_000}),
    both(wish=TransportWish(connections=2), facts={"libvirt_version": 5_001_000}),
    both(wish=TransportWish(compression=Compression.MT), facts={"qemu_version": 9_001_000}),
    both(wish=TransportWish(compression=Compression.ZSTD, connections=2)),  # libvirt 9.0
    both(encryption=Encryption.NONE, wish=TransportWish(zero_copy=True, connections=1)),
    both(encryption=Encryption.NONE, wish=TransportWish(zero_copy=True, compression=Compression.MT)),
    both(encryption=Encryption.NONE, wish=TransportWish(zero_copy=True), facts={"libvirt_version": 8_000_000}),
)


def required(broken: dict[str, TlsFacts]) -> Case:
    return both(**broken, encryption=Encryption.TLS)


def optional(broken: dict[str, TlsFacts]) -> Case:
    return both(**broken)


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "tls-required": (
        (
            *(lambda broken=broken: required(broken) for broken in BROKEN),
            lambda: between(encryption=Encryption.TLS),  # nobody could read them
            lambda: both(there=NO_FILES, encryption=Encryption.TLS, theirs=Encryption.AUTO),
            lambda: both(there=NO_FILES, encryption=Encryption.NONE, theirs=Encryption.TLS),
        ),
        (
            on,
            lambda: both(encryption=Encryption.TLS),
            lambda: both(there=NO_FILES),
            lambda: both(there=NO_FILES, encryption=Encryption.TLS, theirs=Encryption.TUNNELLED),
            lambda: both(there=NO_FILES, encryption=Encryption.TLS, vm=build_off_vm()),
        ),
    ),
    "tls-unused": (
        tuple(lambda broken=broken: optional(broken) for broken in BROKEN),
        (
            on,
            both,
            off,
            lambda: between(NO_FILES, NO_FILES),  # nobody meant to use TLS
            lambda: both(there=NO_FILES, theirs=Encryption.TUNNELLED),
            lambda: both(there=NO_FILES, encryption=Encryption.NONE),
            # Who comes shows no certificate, where the destination does not ask for one.
            lambda: both(tls(A, without=("client-cert.pem", "client-key.pem")), tls(B, is_client_verified=False)),
            lambda: both(there=tls("dest-example")),  # its name in the inventory
            lambda: both(there=tls("*.example.org"), facts={"hostname": "kvm2.example.org"}),
            # An authority in between, which the destination sends along.
            lambda: both(there=tls(B, server=certificate(B, signers=("between", "ca")))),
        ),
    ),
    "tls-expires": (
        (
            lambda: both(there=tls(B, server=certificate(B, not_after=NOW + 29 * DAY))),
            lambda: both(tls(A, client=certificate(A, not_after=NOW + 29 * DAY))),
        ),
        (
            on,
            both,
            lambda: both(there=tls(B, client=certificate(B, not_after=NOW + 29 * DAY))),
            lambda: both(there=tls(B, server=certificate(B, not_after=NOW + 31 * DAY))),
            lambda: both(there=tls(B, server=certificate(B, not_after=NOW + 29 * DAY)), vm=build_off_vm()),
        ),
    ),
    "plain-text": (
        (
            lambda: make(dest_host={"peer_uri": "qemu+tcp://dest/system"}),
            lambda: make(dest_host={"peer_uri": "qemu+tcp://dest/system", "encryption": Encryption.TUNNELLED}),
        ),
        (
            on,
            lambda: both(peer_uri="qemu+tcp://dest/system"),  # TLS: only libvirt's own words are plain
            lambda: between(peer_uri="qemu+tcp://dest/system"),  # on a network for that
            lambda: make(build_off_vm(), dest_host={"peer_uri": "qemu+tcp://dest/system"}),
        ),
    ),
    "plain-refused": (
        (
            lambda: both(tls(A, is_forced=True), encryption=Encryption.NONE),
            lambda: both(there=tls(B, is_forced=True), encryption=Encryption.NONE),
        ),
        (
            on,
            lambda: both(encryption=Encryption.NONE),
            lambda: both(tls(A, is_forced=True), tls(B, is_forced=True)),
            lambda: between(TlsFacts(is_forced=True), encryption=Encryption.TUNNELLED),
        ),
    ),
    "transport-asked": (
        tuple(lambda case=case: case for case in WISHES),
        (
            on,
            lambda: both(wish=TransportWish(connections=4)),
            lambda: between(wish=TransportWish(connections=1)),
            lambda: between(wish=TransportWish(compression=Compression.XBZRLE)),
            lambda: both(
                wish=TransportWish(connections=4, compression=Compression.ZLIB), facts={"libvirt_version": 9_004_000}
            ),
            lambda: both(encryption=Encryption.NONE, wish=TransportWish(zero_copy=True)),
            lambda: between(wish=TransportWish(connections=4), vm=build_off_vm()),
        ),
    ),
}
