"""Rules about policy post-copy: what must hold so that its begin is possible, and that what breaks in it can go on."""

from __future__ import annotations

from collections.abc import Iterator

from vmferry.model.convergence import POLICIES
from vmferry.model.findings import Severity
from vmferry.model.host import Profile
from vmferry.model.migration import MigrationMode
from vmferry.model.transport import Encryption
from vmferry.model.vm import DomainState
from vmferry.rules.case import Case, Side
from vmferry.rules.compat import version_text
from vmferry.rules.encryption import choose_way
from vmferry.rules.mirroring import mirrored
from vmferry.rules.proofs import has_proved_locks
from vmferry.rules.rule import Rule, Weights
from vmferry.rules.sharing import is_media, places

# VIR_MIGRATE_POSTCOPY_RESUME (libvirt-domain.h of libvirt); migrate-recover and migrate-pause (migration.json of QEMU).
_LIBVIRT, _QEMU = 8_005_000, 3_000_000
_DEVICE_QEMU = 8_001_000
_OTHER_WAY = "or move it with `--policy suspend-if-needed`"
_RUNNING = (DomainState.RUNNING, DomainState.BLOCKED)
_SOURCE = "libvirt-measurements, section 5, Post-copy"


def _may_begin(case: Case) -> bool:
    """Whether this move may be switched to post-copy: a paused VM arrives paused, and nothing else moves so."""
    is_asked = POLICIES[case.convergence].may_postcopy and case.mode is MigrationMode.LIVE
    return is_asked and case.vm.state in _RUNNING


def postcopy_transport(case: Case) -> Iterator[str]:
    """Under policy post-copy, memory travels from QEMU to QEMU: libvirt refuses post-copy through its connection."""
    if not _may_begin(case):
        return
    way = choose_way(case.source, case.dest)
    if way.encryption is Encryption.TUNNELLED:
        yield (
            f"vm {case.vm.name}: policy {case.convergence} cannot go through the libvirt connection, as memory from "
            f"{case.source.name} to {case.dest.name} would ({way.reason}); give both hosts certificates for TLS "
            f"(`encryption: tls`), allow plain text on a private network (`plain_networks`), {_OTHER_WAY}"
        )


def postcopy_release(case: Case) -> Iterator[str]:
    """Under policy post-copy, both hosts can resume one that broke off: libvirt 8.5, QEMU 3.0."""
    if not _may_begin(case):
        return
    for side in (case.source, case.dest):
        if old := _too_old(side):
            yield (
                f"vm {case.vm.name}: policy {case.convergence} needs libvirt {version_text(_LIBVIRT)} and QEMU "
                f"{version_text(_QEMU)} to go on after a broken link, {side.name} has {old}; upgrade it, {_OTHER_WAY}"
            )


def _too_old(side: Side) -> str:
    facts = side.facts
    old = [f"libvirt {version_text(facts.libvirt_version)}"] if facts.libvirt_version < _LIBVIRT else []
    old += [f"QEMU {version_text(facts.qemu_version)}"] if facts.qemu_version < _QEMU else []
    return ", ".join(old)


def postcopy_memory(case: Case) -> Iterator[str]:
    """Under policy post-copy, the VM's memory is its QEMU's alone, and made of pages that can be fetched one by one."""
    if not _may_begin(case):
        return
    for what in _hard_memory(case):
        yield (
            f"vm {case.vm.name} has {what}: whether its pages can be fetched in post-copy depends on the kernel of "
            f"{case.dest.name} and on who shares them; QEMU tells at the begin of the move and refuses it; be ready to "
            "repeat it with `--policy suspend-if-needed`"
        )


def _hard_memory(case: Case) -> Iterator[str]:
    if case.vm.hugepages:
        yield "huge pages (userfaultfd of hugetlbfs, and a long pause per page)"
    for device in case.vm.devices:
        if device.kind == "memoryBacking" and device.attributes.get("access") == "shared":
            yield "memory that other processes write to (memoryBacking access shared)"
        if device.kind == "shmem":
            yield f"shared memory ({device.detail})"
    if any(nic.kind == "vhostuser" for nic in case.vm.nics):
        yield "a vhost-user network card, whose back end writes to its memory"


def postcopy_userfaultfd(case: Case) -> Iterator[str]:
    """Under policy post-copy, the destination's QEMU may ask the kernel for its missing pages.

    QEMU opens a userfaultfd of all faults, which only root may do, or everybody where the sysctl allows it; since 8.1
    it tries /dev/userfaultfd first, whose owner libvirt or the operator sets (util/userfaultfd.c).
    """
    facts = case.dest.facts
    is_root = facts.qemu_uid is None or facts.qemu_uid == 0
    if not _may_begin(case) or is_root or facts.system.may_all_use_userfaultfd is not False:
        return
    if facts.system.has_userfaultfd_device and facts.qemu_version >= _DEVICE_QEMU:
        return
    yield (
        f"vm {case.vm.name}: policy {case.convergence} needs userfaultfd on {case.dest.name}, where QEMU runs as user "
        f"{facts.qemu_uid} and vm.unprivileged_userfaultfd is 0; run `sysctl vm.unprivileged_userfaultfd=1` there (and "
        f"write it to /etc/sysctl.d), {_OTHER_WAY}"
    )


def postcopy_mirror(case: Case) -> Iterator[str]:
    """Under policy post-copy, no disk is mirrored: memory would be on both hosts, and disks on the source alone."""
    if _may_begin(case) and (mirrors := mirrored(case)):
        yield (
            f"vm {case.vm.name}: policy {case.convergence} ends in post-copy, and a VM whose disks are mirrored "
            f"({', '.join(mirror.disk.target for mirror in mirrors)}) cannot: if it broke off, neither host would have "
            "both its memory and its disks; choose another policy, such as `--policy suspend-if-needed`, or put the "
            "disks on shared storage"
        )


def postcopy_locks(case: Case) -> Iterator[str]:
    """Under policy post-copy, image locks are proved between the hosts: libvirt lets the VM run without asking."""
    if not _may_begin(case):
        return
    written = [disk for disk in case.vm.disks if not disk.is_readonly and not is_media(disk)]
    locked = [p for p in places(case) if not p.is_read_only and has_proved_locks(case, p.path, p.dest_path)]
    if not written or len(locked) < len(written):
        yield (
            f"vm {case.vm.name}: under policy {case.convergence} libvirt itself lets it run on {case.dest.name}; no "
            f"proved image lock keeps it from running on {case.source.name} too when libvirt's last answer is lost: "
            "vmferry sees that and ends the source's copy, but not if it dies in the same minute; use storage with "
            f"working locks (`locks: true`), {_OTHER_WAY}"
        )


def _live(severity: Severity) -> Weights:
    return {(profile, MigrationMode.LIVE): severity for profile in Profile}


RULES: tuple[Rule, ...] = (
    Rule("postcopy-transport", postcopy_transport, _live(Severity.BLOCK), _SOURCE, is_final=True),
    Rule("postcopy-release", postcopy_release, _live(Severity.BLOCK), _SOURCE),
    Rule(
        "postcopy-userfaultfd",
        postcopy_userfaultfd,
        _live(Severity.BLOCK),
        "kernel admin-guide/sysctl/vm.rst, unprivileged_userfaultfd; QEMU postcopy_ram_supported_by_host",
    ),
    Rule("postcopy-mirror", postcopy_mirror, _live(Severity.BLOCK), "docs/decisions/0016, 0018", is_final=True),
    Rule("postcopy-memory", postcopy_memory, _live(Severity.WARN), "QEMU migration/postcopy-ram.c"),
    Rule("postcopy-locks", postcopy_locks, _live(Severity.WARN), f"{_SOURCE}; docs/decisions/0018"),
)
