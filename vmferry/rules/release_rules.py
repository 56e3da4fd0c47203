"""Rules about the two hosts' releases and the VM's machine type, judged by the tables in `releases`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from vmferry.model.facts import OsRelease
from vmferry.model.findings import Severity
from vmferry.model.host import Profile
from vmferry.rules.case import Case, Side
from vmferry.rules.machines import canonical_machine
from vmferry.rules.releases import TABLES, CompatibilityTable, Direction, Holds, Row, parse_releases
from vmferry.rules.rule import Rule, Scope, running


class Answer(StrEnum):
    """What the tables say of a pair of hosts."""

    SAME = "same"  # one system, one release: no table is needed
    SUPPORTED = "supported"
    PERHAPS = "perhaps"  # supported if the release is a later update than os-release tells
    UNSUPPORTED = "unsupported"
    NOT_COVERED = "not covered"  # not both hosts run the system of a table
    UNKNOWN = "unknown"  # a release was not read, or is no number


@dataclass(frozen=True)
class Judgement:
    """An answer, with the row and the table that gave it."""

    answer: Answer
    table: CompatibilityTable | None = None
    row: Row | None = None


def _tables(profile: Profile) -> tuple[CompatibilityTable, ...]:
    """Return the profile's tables; all for a profile without its own, where only the inventory's policy asks."""
    return tuple(table for table in TABLES if table.profile is profile) or TABLES


def _asked(case: Case) -> tuple[CompatibilityTable, ...]:
    """Return the tables that were asked: those of the source's system, or all where none covers it."""
    tables = _tables(case.profile)
    return tuple(table for table in tables if table.system == case.source.facts.system.os.id) or tables


def _names(case: Case) -> str:
    return " and ".join(table.name for table in _asked(case))


def judge_path(case: Case) -> Judgement:
    """Return what the tables of the case's profile say of its two hosts, whatever the VM is."""
    return _judge(case.profile, _key(case.source), _key(case.dest))


def _key(side: Side) -> tuple[str, str]:
    return side.facts.system.os.id, side.facts.system.os.version_id


@cache
def _judge(profile: Profile, source: tuple[str, str], dest: tuple[str, str]) -> Judgement:
    if not source[0] or not dest[0]:
        return Judgement(Answer.UNKNOWN)
    if source == dest:
        return Judgement(Answer.SAME)
    tables = [table for table in _tables(profile) if source[0] == dest[0] == table.system]
    if not tables:
        return Judgement(Answer.NOT_COVERED)
    try:
        releases = parse_releases(source[1]), parse_releases(dest[1])
    except ValueError:
        return Judgement(Answer.UNKNOWN)
    held = [(row.holds(*releases), row, table) for table in tables for row in table.rows]
    best, row, table = max(held, key=lambda item: item[0])
    if best is Holds.NO:
        return Judgement(Answer.UNSUPPORTED)
    return Judgement(Answer.SUPPORTED if best is Holds.YES else Answer.PERHAPS, table, row)


def is_supported_backward(case: Case) -> bool:
    """Whether a table of the profile itself supports, at least perhaps, going back to the destination's release."""
    found = judge_path(case)
    return (
        found.row is not None
        and found.table is not None
        and found.table.profile is case.profile
        and found.row.direction is Direction.BACKWARD
    )


def os_text(os: OsRelease) -> str:
    """Return what to call a system in a message."""
    return os.name or f"{os.id} {os.version_id}".strip() or "an unknown system"


def _hosts_text(case: Case) -> str:
    return " and ".join(f"{side.name} runs {os_text(side.facts.system.os)}" for side in (case.source, case.dest))


def release_path(case: Case) -> Iterator[str]:
    """A move with memory between two releases of RHEL takes a path that Table 9.2 holds."""
    if judge_path(case).answer is Answer.UNSUPPORTED:
        paths = ", ".join(row.path for table in _asked(case) for row in table.rows)
        yield (
            f"{_hosts_text(case)}; {_names(case)} supports {paths} and equal releases only; choose a host with "
            "such a release, update one of the two, or move its VMs offline; to go without the vendor's support, lift "
            "release-path for this run"
        )


def release_machine(case: Case) -> Iterator[str]:
    """The machine type is one that Table 9.2 supports on this path."""
    row, machine = judge_path(case).row, canonical_machine(case)
    if row is None or machine is None:
        return
    if not row.supports(machine, parse_releases(case.source.facts.system.os.version_id)):
        yield (
            f"vm {case.vm.name} has machine type {machine}; for {row.path} {_names(case)} supports "
            f"{', '.join(map(str, row.notes))} only; move it offline, or give it another machine type while it is "
            f"shut off: `virsh -c {case.source.host.uri} edit {case.vm.name}`"
        )


def release_unknown(case: Case) -> Iterator[str]:
    """Both hosts' releases are known well enough to look them up in Table 9.2."""
    found = judge_path(case)
    if found.answer is Answer.UNKNOWN:
        for side in (case.source, case.dest):
            os = side.facts.system.os
            if not _is_numbered(os):
                yield (
                    f"the release of {side.name} is unknown ({os_text(os)}), so {_names(case)} cannot be "
                    f"asked; see `ssh {side.host.ssh.address} cat /etc/os-release`"
                )
    elif found.answer is Answer.PERHAPS and found.row is not None:
        for side, spec in zip((case.source, case.dest), found.row.ends, strict=True):
            text = side.facts.system.os.version_id
            if spec.include(parse_releases(text)) is Holds.PERHAPS:
                yield (
                    f"{side.name} says {text} whatever updates it has; {_names(case)} supports "
                    f"{found.row.path}: look up in Red Hat's errata which release the package is from that "
                    f"`ssh {side.host.ssh.address} rpm -q qemu-kvm` shows, or update the host"
                )


def _is_numbered(os: OsRelease) -> bool:
    try:
        parse_releases(os.version_id)
    except ValueError:
        return False
    return bool(os.id)


def release_not_covered(case: Case) -> Iterator[str]:
    """The two hosts run one release of one system, or a system that Table 9.2 covers."""
    if judge_path(case).answer is Answer.NOT_COVERED:
        covered = ", ".join(sorted({table.system for table in _tables(case.profile)}))
        yield (
            f"{_hosts_text(case)}; {_names(case)} covers {covered} only and says nothing about this path: "
            "the technical checks decide; set `profile: upstream` for these hosts in the inventory to be asked no more"
        )


_SOURCE = "reference 9.6, Table 9.2"
RULES: tuple[Rule, ...] = (
    Rule(
        "release-path",
        release_path,
        running(Severity.BLOCK, upstream=Severity.IGNORE),
        _SOURCE,
        scope=Scope.HOSTS,
    ),
    Rule("release-machine", release_machine, running(Severity.BLOCK, upstream=Severity.IGNORE), f"{_SOURCE}: status"),
    Rule(
        "release-unknown",
        release_unknown,
        running(Severity.WARN, upstream=Severity.IGNORE),
        f"{_SOURCE}; os-release(5)",
        scope=Scope.HOSTS,
    ),
    Rule(
        "release-not-covered",
        release_not_covered,
        running(Severity.WARN, upstream=Severity.IGNORE),
        f"{_SOURCE}: RHEL",
        scope=Scope.HOSTS,
    ),
)
