"""What the rules on hosts and on the way between them tell an operator to type."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.builders import build_pair, build_vm
from tests.unit.rules.cases.making import DEST, RHEL8, SOURCE, make
from vmferry.model.facts import ClockReading, Link, PathMtu, Reach, Service, SshdLimits, SystemFacts
from vmferry.model.findings import Finding, Severity
from vmferry.model.host import Limits
from vmferry.rules.case import Case
from vmferry.rules.check import check_move

NO = Reach(is_ok=False, detail="no answer")


def found(case: Case, rule: str) -> Finding:
    (finding,) = [f for f in check_move(case).findings if f.rule == rule]
    return finding


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        ((0.0, 40.0), (2300.0, 60.0), "2.3 s ± 0.1 s apart (source-example +0.00 s ± 0.04 s, dest-example +2.30 s"),
        ((-1234.5678, 0.3), (1.0, 0.2), "1.236 s ± 0.001 s apart (source-example -1.235 s ± 0.001 s"),
        ((0.0, 2_000.0), (90_000.0, 12_000.0), "90 s ± 14 s apart"),
        ((0.0, 0.0), (1_001.0, 0.0), "1.001 s ± 0.001 s apart"),
    ],
)
def test_clocks_are_told_no_more_precisely_than_they_were_read(here: Any, there: Any, words: str) -> None:
    def system(clock: tuple[float, float]) -> dict[str, SystemFacts]:
        return {"system": SystemFacts(clock=ClockReading(offset_ms=clock[0], error_ms=clock[1]))}

    assert words in found(make(source=system(here), dest=system(there)), "clock-offset").message


@pytest.mark.parametrize(("apart_ms", "is_far"), [(61_000.0, True), (59_000.0, False)])
def test_clocks_a_minute_apart_endanger_certificates(apart_ms: float, is_far: bool) -> None:
    near = SystemFacts(clock=ClockReading(offset_ms=0, error_ms=10))
    far = SystemFacts(clock=ClockReading(offset_ms=-apart_ms, error_ms=10))
    message = found(make(source={"system": near}, dest={"system": far}), "clock-offset").message
    assert ("TLS certificates" in message) is is_far


def test_the_line_for_sshd_allows_twice_what_may_come() -> None:
    read = {"system": SystemFacts(sshd=SshdLimits(start=10, rate=30, full=60))}
    case = make(dest=read, dest_host={"limits": Limits(incoming=16)})
    message = found(case, "ssh-startups").message
    assert "up to 34 ssh logins" in message
    assert "refuses 30 % of them from 10 on and all from 60 on" in message
    assert "`MaxStartups 68:30:136`" in message


@pytest.mark.parametrize("profile", [{}, RHEL8])
def test_a_disabled_libvirtd_blocks_where_the_reference_counts(profile: dict[str, Any]) -> None:
    off = SystemFacts(services=(Service(name="libvirtd.service", is_active=True, is_enabled=False),))
    finding = found(make(dest={"system": off}, dest_host=profile), "libvirtd-service")
    assert finding.severity is (Severity.BLOCK if profile else Severity.WARN)
    assert "`systemctl enable libvirtd.service` on dest-example" in finding.message


def test_the_port_range_is_the_one_of_the_destinations_qemu_conf() -> None:
    pair = build_pair(SOURCE, DEST, (build_vm(),), ports=NO)
    case = make(pair=pair, dest={"system": SystemFacts(migration_ports=(61000, 61063))})
    message = found(case, "migration-ports").message
    assert "`firewall-cmd --permanent --add-port=61000-61063/tcp`" in message


@pytest.mark.parametrize(("address", "size"), [("10.0.0.2", 1472), ("fd00::2", 1452)])
def test_the_ping_to_repeat_fills_a_packet_of_the_devices_mtu(address: str, size: int) -> None:
    pair = build_pair(SOURCE, DEST, (build_vm(),), path_mtu=PathMtu(device="eno1", mtu=1500, full_size=NO))
    message = found(make(pair=pair, dest_host={"migration_address": address}), "path-mtu").message
    assert f"`ping -M do -s {size} {address}` on source-example" in message


def test_full_size_packets_are_not_blamed_where_small_ones_are_lost_too() -> None:
    way = PathMtu(device="eno1", mtu=1500, full_size=NO)
    both, large = (make(pair=build_pair(SOURCE, DEST, (build_vm(),), path_mtu=way, ping=ping))
                   for ping in (NO, Reach(is_ok=True)))  # fmt: skip
    assert "nor do small ones: see rule ping first" in found(both, "path-mtu").message
    assert "small ones" not in found(large, "path-mtu").message


def test_the_link_with_the_migration_address_is_found_however_the_address_is_written() -> None:
    way = PathMtu(device="eno1", mtu=9000, full_size=Reach(is_ok=True))
    there = SystemFacts(links=(Link(name="eno2", mtu=1500, addresses=("fd00::2/64",)),))
    pair = build_pair(SOURCE, DEST, (build_vm(),), path_mtu=way)
    case = make(pair=pair, dest={"system": there}, dest_host={"migration_address": "FD00:0:0::0002"})
    assert "eno2 of dest-example with the migration address has 1500" in found(case, "mtu-differs").message


def test_a_link_without_bandwidth_says_that_memory_never_arrives() -> None:
    way = PathMtu(device="eno1", mtu=1500, full_size=Reach(is_ok=True))
    full = SystemFacts(links=(Link(name="eno1", mtu=1500, speed_mbit_s=1000, used_mbit_s=1000.0),))
    case = make(pair=build_pair(SOURCE, DEST, (build_vm(),), path_mtu=way), source={"system": full})
    message = found(case, "link-busy").message
    assert "0 of 1000 Mbit/s left: 2048 MiB of memory never arrive, a move is aborted after 420 s" in message
