"""How memory travels: what is chosen for two hosts, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.builders import GIB_KIB, build_off_vm, build_pair, build_vm
from tests.unit.certificates import certificate, system, tls
from tests.unit.rules.cases.making import DEST, SOURCE, make
from vmferry.model.certificates import TlsFacts
from vmferry.model.convergence import POLICIES, PolicyName
from vmferry.model.facts import Link, PathMtu, Reach
from vmferry.model.transport import Compression, Encryption, Transport, TransportWish
from vmferry.model.vm import Vm
from vmferry.planning.transport import choose_transport
from vmferry.rules.case import Case

A, B, PLAIN = "10.7.0.1", "10.7.0.2", "10.7.0.0/24"
BIG = build_vm(memory_kib=64 * GIB_KIB)
AUTO, NONE, TLS, TUNNELLED = Encryption.AUTO, Encryption.NONE, Encryption.TLS, Encryption.TUNNELLED


def between(
    here: TlsFacts | None,
    there: TlsFacts | None,
    *said: Encryption,
    vm: Vm = BIG,
    gbit_s: int = 1,
    cpus: int = 64,
    wish: TransportWish | None = None,
    networks: tuple[str, ...] = (PLAIN,),
    **facts: Any,
) -> Case:
    """A move of a large VM over a link of this speed; `said` is what the inventory says of the two hosts."""
    speed = {"name": "eno1", "mtu": 1500, "speed_mbit_s": 1000 * gbit_s}
    ends = [
        {"system": system(certs, links=(Link(addresses=(f"{ip}/24",), **speed),)), "cpus": cpus, **facts}
        for certs, ip in ((here, A), (there, B))
    ]
    first, last = (said or (AUTO,))[0], (said or (AUTO,))[-1]
    common: dict[str, Any] = {"plain_networks": networks}
    way = PathMtu(device="eno1", mtu=1500, full_size=Reach(is_ok=True))
    return make(
        vm,
        pair=build_pair(SOURCE, DEST, (vm,), path_mtu=way),
        source=ends[0],
        dest=ends[1],
        source_host={**common, "encryption": first, "migration_address": A, "transport": wish or TransportWish()},
        dest_host={**common, "encryption": last, "migration_address": B},
    )


def chosen(*said: Encryption, **options: Any) -> Transport:
    """What is chosen between hosts with certificates."""
    return choose_transport(between(tls(A), tls(B), *said, **options))


@pytest.mark.parametrize(
    ("said", "encryption"),
    [
        ((AUTO, AUTO), TLS),
        ((TLS, TLS), TLS),
        ((AUTO, TLS), TLS),
        ((NONE, TLS), TLS),
        ((NONE, AUTO), TLS),  # plain text takes both
        ((NONE, NONE), NONE),
        ((TUNNELLED, AUTO), TUNNELLED),
        ((TUNNELLED, TLS), TUNNELLED),
        ((NONE, TUNNELLED), TUNNELLED),
    ],
)
def test_the_encryption_is_what_both_hosts_allow(said: tuple[Encryption, ...], encryption: Encryption) -> None:
    assert chosen(*said).encryption is encryption
    assert chosen(*reversed(said)).encryption is encryption


@pytest.mark.parametrize("said", [(AUTO, AUTO), (NONE, AUTO), (NONE, TUNNELLED), (TUNNELLED, TUNNELLED)])
def test_without_certificates_memory_is_tunnelled_never_plain(said: tuple[Encryption, ...]) -> None:
    assert choose_transport(between(None, None, *said)).encryption is TUNNELLED
    assert choose_transport(between(tls(A), None, *said)).encryption is TUNNELLED


def test_plain_text_needs_one_network_that_holds_both_addresses() -> None:
    for networks in ((), ("10.8.0.0/24",), ("10.7.0.1/32", "10.7.0.2/32")):
        assert choose_transport(between(None, None, NONE, networks=networks)).encryption is TUNNELLED
        assert chosen(NONE, networks=networks).encryption is TLS


def test_the_reason_is_told() -> None:
    assert (
        chosen().sentence()
        == "transport: TLS — because source-example and dest-example have certificates that they trust"
    )
    assert (
        choose_transport(between(None, TlsFacts())).reason
        == "source-example and dest-example have no certificates for TLS"
    )
    broken = choose_transport(between(tls(A), tls(B, without=("server-key.pem",))))
    assert broken.reason.startswith("no TLS: dest-example has no /etc/pki/qemu/server-key.pem; copy it there: `scp ")


def test_a_name_of_the_host_is_looked_for_where_its_address_is_not_in_the_certificate() -> None:
    assert chosen().tls_name is None
    assert choose_transport(between(tls(A), tls(DEST))).tls_name == DEST
    both = tls(DEST, server=certificate(DEST, B))
    assert choose_transport(between(tls(A), both)).tls_name is None


@pytest.mark.parametrize(
    ("said", "gbit_s", "cpus", "connections"),
    [
        (AUTO, 1, 64, None),
        (AUTO, 10, 64, 2),
        (AUTO, 25, 64, 5),
        (AUTO, 100, 256, 8),
        (AUTO, 100, 16, 4),
        (AUTO, 25, 4, None),
        (NONE, 10, 64, None),
        (NONE, 25, 64, 2),
        (NONE, 100, 256, 8),
        (TUNNELLED, 100, 256, None),
    ],
)
def test_connections_follow_the_link_and_the_cores(
    said: Encryption, gbit_s: int, cpus: int, connections: int | None
) -> None:
    assert chosen(said, gbit_s=gbit_s, cpus=cpus).connections == connections


def test_a_small_vm_and_an_old_host_have_one_connection() -> None:
    assert chosen(gbit_s=100, vm=build_vm(memory_kib=GIB_KIB)).connections is None
    assert chosen(gbit_s=100, qemu_version=5_001_000).connections is None
    assert chosen(gbit_s=100, libvirt_version=5_001_000).connections is None


def test_post_copy_has_one_connection() -> None:
    case = between(tls(A), tls(B), gbit_s=100, wish=TransportWish(connections=4))
    assert choose_transport(case, POLICIES[PolicyName.MINIMAL_DOWNTIME]).connections == 4
    transport = choose_transport(case, POLICIES[PolicyName.POST_COPY])
    assert transport.connections is None and "post-copy uses one connection" in transport.reason


def test_nothing_is_compressed_and_everything_is_copied_unless_it_is_asked_for() -> None:
    for gbit_s in (1, 100):
        for said in (AUTO, NONE, TUNNELLED):
            transport = chosen(said, gbit_s=gbit_s)
            assert (transport.compression, transport.is_zero_copy) == (None, False)


@pytest.mark.parametrize(
    ("said", "wish", "words"),
    [
        (AUTO, TransportWish(connections=3), "TLS, 3 connections"),
        (AUTO, TransportWish(connections=1), "TLS"),
        (AUTO, TransportWish(compression=Compression.XBZRLE), "TLS, xbzrle"),
        (TUNNELLED, TransportWish(compression=Compression.MT), "tunnelled, mt"),
        (AUTO, TransportWish(connections=2, compression=Compression.ZSTD), "TLS, 2 connections, zstd"),
        (NONE, TransportWish(zero_copy=True), "not encrypted, 2 connections, zero-copy"),
        (NONE, TransportWish(connections=4, zero_copy=True), "not encrypted, 4 connections, zero-copy"),
    ],
)
def test_what_is_asked_for_is_had(said: Encryption, wish: TransportWish, words: str) -> None:
    assert chosen(said, gbit_s=100, wish=wish, libvirt_version=9_004_000).words() == words


def test_what_cannot_be_had_is_left_to_the_rule() -> None:
    assert chosen(wish=TransportWish(connections=4, zero_copy=True)).words() == "TLS"


def test_an_offline_move_has_no_memory_to_carry() -> None:
    assert chosen(vm=build_off_vm(), gbit_s=100).connections is None
