"""Judge one move by all rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from operator import itemgetter
from uuid import UUID

from vmferry.model.findings import Finding, PreflightReport, Severity
from vmferry.model.host import Profile
from vmferry.model.migration import MigrationMode
from vmferry.rules.case import Case
from vmferry.rules.loss import RULES as LOSS_RULES
from vmferry.rules.policy import Policy
from vmferry.rules.rule import Check, Rule, Scope
from vmferry.rules.table import RULES

_USUAL = Policy()
Found = tuple[tuple[int, Finding], ...]  # (place of the rule in the table, finding)


@dataclass(frozen=True)
class Asked:
    """A rule that is asked, with its place in the table and what a finding does."""

    place: int
    rule: Rule
    check: Check
    severity: Severity
    is_lifted: bool


Questions = Mapping[Scope, tuple[Asked, ...]]


@cache
def _asked(profile: Profile, mode: MigrationMode, policy: Policy) -> Questions:
    """Return the rules asked in this mode, by scope."""
    weighed = ((rule, rule.weights.get((profile, mode))) for rule in RULES)
    return _questions(weighed, policy)


def _questions(weighed: Iterable[tuple[Rule, Severity | None]], policy: Policy) -> Questions:
    """Return the rules to be asked by scope, from (rule, what a finding usually does); None: it is not asked."""
    asked: dict[Scope, list[Asked]] = {scope: [] for scope in Scope}
    for place, (rule, usual) in enumerate(weighed):
        if usual is None:
            continue
        severity, is_lifted = policy.weigh(rule, usual)
        if severity is not Severity.IGNORE:
            asked[rule.scope].append(Asked(place, rule, rule.check, severity, is_lifted))
    return {scope: tuple(rules) for scope, rules in asked.items()}


@dataclass
class Memo:
    """Answers that hold for many moves of one fleet: those that depend on the VM, or on the hosts, alone."""

    # By name and UUID: domains whose XML could not be read may share one of them.
    vms: dict[tuple[str, str, UUID, MigrationMode, Profile], tuple[Found, tuple[Asked, ...]]] = field(
        default_factory=dict
    )
    hosts: dict[tuple[str, str, MigrationMode], Found] = field(default_factory=dict)
    asked: dict[tuple[str, str, MigrationMode], Questions] = field(default_factory=dict)


def check_move(case: Case, policy: Policy = _USUAL, memo: Memo | None = None) -> PreflightReport:
    """Return the findings of all rules, in the order of the table; no rule sees another's finding.

    Pure and total: a rule that raises becomes a blocking finding. `memo` belongs to one fleet and one policy.
    """
    if memo is None:
        return _ask(case, _asked(case.profile, case.mode, policy), None)
    return _ask(case, _asked_with(case, policy, memo), memo)


def _asked_with(case: Case, policy: Policy, memo: Memo) -> Questions:
    key = (case.source.name, case.dest.name, case.mode)  # what gives the profile
    asked = memo.asked.get(key)
    if asked is None:
        asked = memo.asked[key] = _asked(case.profile, case.mode, policy)
    return asked


def is_barred(case: Case, policy: Policy, memo: Memo) -> bool:
    """Whether the VM alone, or the two hosts alone, forbid the move; what else does, only `check_move` tells."""
    asked = _asked_with(case, policy, memo)
    return _blocks(_of_hosts(case, asked, memo)) or _blocks(_of_vm(case, asked, memo)[0])


def _blocks(found: Found) -> bool:
    return any(finding.severity is Severity.BLOCK for _, finding in found) if found else False


@cache
def _asked_after_loss(policy: Policy) -> Questions:
    found = _questions(((rule, rule.after_loss) for rule in (*RULES, *LOSS_RULES)), policy)
    return {scope: tuple(item for item in asked if item.severity is Severity.BLOCK) for scope, asked in found.items()}


def check_loss(case: Case, policy: Policy = _USUAL, memo: Memo | None = None) -> PreflightReport:
    """Return what would keep `case.vm` from being started on `case.dest` if `case.source` were dead. Pure and total.

    Only what blocks is asked: nobody heeds a warning about a host that is dead. The case's mode is a live one: an
    offline move would copy what a dead host cannot give any more. `memo` is for these questions alone.
    """
    return _ask(case, _asked_after_loss(policy), memo)


def _ask(case: Case, asked: Questions, memo: Memo | None) -> PreflightReport:
    """Return what these rules find, in their order; `memo` belongs to one fleet and to rules chosen in one way."""
    of_vm, of_move = _of_vm(case, asked, memo)
    found = (*of_vm, *_of_hosts(case, asked, memo), *_judge(case, of_move))
    if len(found) > 1:
        found = tuple(sorted(found, key=itemgetter(0)))
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
    """Ask the rules, as `Rule.judge` does but without a call per rule: it is done some million times per fleet."""
    found: list[tuple[int, Finding]] = []
    for item in asked:
        try:
            for message in item.check(case):
                found.append((item.place, item.rule.finding(message, item.severity, is_lifted=item.is_lifted)))
        except Exception as error:
            found.append((item.place, item.rule.failed(case, error)))
    return tuple(found)


def _of_vm(case: Case, asked: Questions, memo: Memo | None) -> tuple[Found, tuple[Asked, ...]]:
    """Return what the VM alone gives, and the rules that its moves must be asked besides."""
    if memo is None or case.arriving is not case.vm:  # the operator's own XML: one question, asked once
        return _judge(case, asked[Scope.VM]), asked[Scope.MOVE]
    key = (case.source.name, case.vm.name, case.vm.uuid, case.mode, case.profile)
    if key not in memo.vms:
        concerned = tuple(item for item in asked[Scope.MOVE] if item.rule.may_concern(case.vm))
        memo.vms[key] = _judge(case, asked[Scope.VM]), concerned
    return memo.vms[key]


def _of_hosts(case: Case, asked: Questions, memo: Memo | None) -> Found:
    if memo is None:
        return _judge(case, asked[Scope.HOSTS])
    key = (case.source.name, case.dest.name, case.mode)
    if key not in memo.hosts:
        memo.hosts[key] = _judge(case, asked[Scope.HOSTS])
    return memo.hosts[key]
