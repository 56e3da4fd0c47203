"""Every XML file of libvirt's own source: nothing is too strange to be judged, and nothing tied to its host may move.

The files are those of Debian 12's source package libvirt 9.0.0; `make setup` fetches them (infra/libvirt_corpus.sh).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.unit.builders import build_facts, build_host, build_pair, build_snapshot
from tests.unit.corpus.scan import RULE_OF, hostdev_kinds, root_of, ties
from vmferry.domxml.read import parse_vm
from vmferry.model.findings import PreflightReport
from vmferry.model.host import Machine, Profile, Storage
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import DomainState, Vm
from vmferry.rules.case import Case, Fleet
from vmferry.rules.check import check_move
from vmferry.terminal.inspect_run import Inspected, inspect_file

CORPUS = Path(__file__).resolve().parents[3] / ".cache" / "libvirt-corpus"
EVERYTHING = (Storage(path="/", shared="all"),)
RUNNING = (MigrationMode.LIVE, MigrationMode.NON_LIVE)


@dataclass(frozen=True)
class Read:
    """One file: what the standard library sees in it, and what vmferry says of it."""

    path: Path
    root: ElementTree.Element | None
    inspected: dict[Profile, Inspected]
    seconds: float  # of the processor: others may use it too

    @property
    def is_domain(self) -> bool:
        return self.root is not None and self.root.tag == "domain"

    @property
    def ties(self) -> tuple[str, ...]:
        return tuple(ties(self.root)) if self.root is not None and self.is_domain else ()

    @property
    def name(self) -> str:
        return self.path.relative_to(CORPUS).as_posix()


@cache
def corpus() -> tuple[Read, ...]:
    """Read and judge every file once for all tests; a corpus that is not there fails them."""
    assert (CORPUS / "SOURCE").exists(), f"{CORPUS} is missing: run infra/libvirt_corpus.sh (make setup does)"
    return tuple(_read(path) for path in sorted(CORPUS.rglob("*.xml")))


def _read(path: Path) -> Read:
    started = time.process_time()
    inspected = {profile: inspect_file(str(path), profile) for profile in Profile}
    return Read(path, root_of(path.read_bytes()), inspected, time.process_time() - started)


def domains() -> Iterator[Read]:
    return (read for read in corpus() if read.is_domain)


def test_the_corpus_holds_everything_that_ties_a_domain(capsys: pytest.CaptureFixture[str]) -> None:
    count = Counter("domain" if read.is_domain else "other" for read in corpus())
    tied = Counter(tie for read in domains() for tie in set(read.ties))
    with capsys.disabled():
        print(f"\nlibvirt corpus: {count['domain']} domains, {count['other']} other files; tied: {dict(tied)}")
    assert count["domain"] > 2000
    assert set(tied) >= set(RULE_OF) - {"vhostvdpa disk"}  # which came with libvirt 9.8
    kinds = {kind for read in domains() if read.root is not None for kind in hostdev_kinds(read.root)}
    assert kinds >= {"pci", "usb", "scsi", "scsi_host", "mdev"}


def test_no_file_is_too_strange_to_be_judged_or_refused() -> None:
    defects = {read.name: i.error for read in corpus() for i in read.inspected.values() if i.is_defect}
    assert defects == {}
    failed = [
        (read.name, finding.message)
        for read in corpus()
        for i in read.inspected.values()
        for finding in (i.inspection.findings if i.inspection else ())
        if "this is a bug" in finding.message
    ]
    assert failed == []


def test_domains_are_judged_and_everything_else_is_told_to_be_none() -> None:
    wrong = [
        read.name
        for read in corpus()
        for i in read.inspected.values()
        if (i.inspection is not None) is not read.is_domain or bool(i.error) is read.is_domain
    ]
    assert wrong == []


@pytest.mark.parametrize("profile", Profile)
def test_nothing_tied_to_its_host_may_move_with_its_memory(profile: Profile) -> None:
    wrong = [
        (read.name, mode, read.ties)
        for read in domains()
        if read.ties and (inspection := read.inspected[profile].inspection) is not None
        for mode in RUNNING
        if inspection.modes[mode].may_move
    ]
    assert wrong == []


@pytest.mark.parametrize("profile", Profile)
def test_what_ties_a_domain_is_named_by_the_rule_about_it(profile: Profile) -> None:
    wrong = [
        (read.name, mode, RULE_OF[tie])
        for read in domains()
        for tie in set(read.ties)
        if (inspection := read.inspected[profile].inspection) is not None
        for mode in RUNNING
        if RULE_OF[tie] not in inspection.modes[mode].blocked_by
    ]
    assert wrong == []


def test_a_file_takes_no_time_to_speak_of() -> None:
    slowest = max(corpus(), key=lambda read: read.seconds)
    assert slowest.seconds < 2, slowest.name


def _anything_goes(vm: Vm, profile: Profile, mode: MigrationMode) -> Case:
    """A move to a host that has whatever the VM may ask for, on storage that is all shared."""
    machines = tuple(Machine(name=name, canonical=name) for name in {vm.machine or "pc"})
    offers = {
        "arch": vm.arch,
        "domain_types": (vm.domain_type,),
        "machines": machines,
        "cpus": 4096,
        "memory_total_kib": 1 << 50,
        "memory_available_kib": 1 << 50,
        "bridges": tuple({nic.source for nic in vm.nics if nic.source}),
        "networks": tuple({nic.source for nic in vm.nics if nic.source}),
    }
    entry = {"hypervisors": (vm.domain_type,), "profile": profile, "storage": EVERYTHING}
    source = build_facts("kvm1", (vm,), **offers)
    hosts = [(build_host("kvm1", **entry), source), (build_host("kvm2", **entry), build_facts("kvm2", **offers))]
    fleet = Fleet(build_snapshot(hosts, pairs=[build_pair("kvm1", "kvm2", (vm,), same_storage=("/",))]))
    return fleet.case(vm, "kvm1", "kvm2", mode)


@cache
def reports() -> dict[tuple[str, Profile, MigrationMode], PreflightReport]:
    """Judge every domain as a VM of a host, for a destination that refuses nothing it can do without."""
    found = {}
    for read in domains():
        content = read.path.read_bytes()
        for profile in Profile:
            for mode in MigrationMode:
                is_off = mode is MigrationMode.OFFLINE
                vm = parse_vm(content, state=DomainState.SHUTOFF if is_off else DomainState.RUNNING)
                found[read.name, profile, mode] = check_move(_anything_goes(vm, profile, mode))
    return found


def test_no_rule_fails_on_any_domain() -> None:
    failed = {
        (key[0], f.message) for key, report in reports().items() for f in report.findings if "is a bug" in f.message
    }
    assert failed == set()


def test_no_destination_makes_a_tied_domain_movable() -> None:
    tied = {read.name for read in domains() if read.ties}
    wrong = [key for key, report in reports().items() if key[0] in tied and key[2] in RUNNING and not report.blockers]
    assert wrong == []


def test_plain_domains_may_move_to_a_host_that_has_all_they_ask_for(capsys: pytest.CaptureFixture[str]) -> None:
    free = Counter((profile.value, mode.value) for (_, profile, mode), r in reports().items() if not r.blockers)
    with capsys.disabled():
        print(f"\nmovable to a host that has everything: { {' '.join(key): n for key, n in sorted(free.items())} }")
    assert all(free[profile.value, mode.value] > 100 for profile in Profile for mode in MigrationMode)
