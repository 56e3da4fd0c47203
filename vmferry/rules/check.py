"""Judge one move by all rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from uuid import UUID

from vmferry.model.findings import Finding, PreflightReport, Severity
from vmferry.model.host import Profile
from vmferry.model.migration import MigrationMode
from vmferry.rules.case import Case
from vmferry.rules.policy import Policy
from vmferry.rules.rule import Rule, Scope
from vmferry.rules.table import RULES

_USUAL = Policy()
Found = tuple[tuple[int, Finding], ...]  # (place of the rule in the table, finding)


@dataclass(frozen=True)
class Asked:
    """A rule that is asked, with its place in the table and what a finding does."""

    place: int
    rule: Rule
    severity: Severity
    is_lifted: bool


@cache
def _asked(profile: Profile, mode: MigrationMode, policy: Policy) -> dict[Scope, tuple[Asked, ...]]:
    """Return the rules asked in this mode, by scope."""
    asked: dict[Scope, list[Asked]] = {scope: [] for scope in Scope}
    for place, rule in enumerate(RULES):
        usual = rule.weights.get((profile, mode))
        if usual is None:
            continue
        severity, is_lifted = policy.weigh(rule, usual)
        if severity is not Severity.IGNORE:
            asked[rule.scope].append(Asked(place, rule, severity, is_lifted))
    return {scope: tuple(rules) for scope, rules in asked.items()}


@dataclass
class Memo:
    """Answers that hold for many moves of one fleet: those that depend on the VM, or on the hosts, alone."""

    vms: dict[tuple[str, UUID, MigrationMode, Profile], Found] = field(default_factory=dict)
    hosts: dict[tuple[str, str, MigrationMode], Found] = field(default_factory=dict)


def check_move(case: Case, policy: Policy = _USUAL, memo: Memo | None = None) -> PreflightReport:
    """Return the findings of all rules, in the order of the table; no rule sees another's finding.

    Pure and total: a rule that raises becomes a blocking finding. `memo` belongs to one fleet and one policy.
    """
    asked = _asked(case.profile, case.mode, policy)
    found = sorted((*_of_vm(case, asked, memo), *_of_hosts(case, asked, memo), *_judge(case, asked[Scope.MOVE])),
                   key=lambda item: item[0])  # fmt: skip
    return PreflightReport(
        vm=case.vm.name,
        source=case.source.name,
        dest=case.dest.name,
        mode=case.mode,
        findings=tuple(finding for _, finding in found),
    )


def check_vm(case: Case, policy: Policy = _USUAL) -> tuple[Finding, ...]:
    """Return the findings that the VM alone gives, wherever it is to go; the case's destination is not looked at."""
    return tuple(finding for _, finding in _judge(case, _asked(case.profile, case.mode, policy)[Scope.VM]))


def _judge(case: Case, asked: tuple[Asked, ...]) -> Found:
    found: list[tuple[int, Finding]] = []
    for item in asked:
        for finding in item.rule.judge(case, item.severity, is_lifted=item.is_lifted):
            found.append((item.place, finding))
    return tuple(found)


def _of_vm(case: Case, asked: dict[Scope, tuple[Asked, ...]], memo: Memo | None) -> Found:
    if memo is None or case.arriving is not case.vm:  # the operator's own XML: one question, asked once
        return _judge(case, asked[Scope.VM])
    key = (case.source.name, case.vm.uuid, case.mode, case.profile)
    if key not in memo.vms:
        memo.vms[key] = _judge(case, asked[Scope.VM])
    return memo.vms[key]


def _of_hosts(case: Case, asked: dict[Scope, tuple[Asked, ...]], memo: Memo | None) -> Found:
    if memo is None:
        return _judge(case, asked[Scope.HOSTS])
    key = (case.source.name, case.dest.name, case.mode)
    if key not in memo.hosts:
        memo.hosts[key] = _judge(case, asked[Scope.HOSTS])
    return memo.hosts[key]
