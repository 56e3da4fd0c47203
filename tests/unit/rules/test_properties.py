"""What must hold of every report, whatever the rules are: properties over all rules of the table."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.builders import build_snapshot
from tests.unit.rules.cases.making import DEST, SOURCE
from tests.unit.rules.mixing import (
    THIRD,
    Voyage,
    known_cases,
    mix,
    one_of_each,
    policies,
    real_vms,
    retargeted,
    rule_ids,
    severities,
    shuffled,
    voyages,
)
from vmferry.model.findings import Finding, Severity
from vmferry.model.host import Profile
from vmferry.model.migration import MigrationMode
from vmferry.rules.case import Case, Fleet
from vmferry.rules.check import Memo, check_loss, check_move
from vmferry.rules.policy import Policy
from vmferry.rules.rule import Rule
from vmferry.rules.table import BY_ID, RULES

chances = st.integers(0, 1 << 32).map(random.Random)
many = examples(80)


def alone(rule: Rule, case: Case) -> list[Finding]:
    """What a rule finds when no other is asked."""
    usual = rule.severity(case.profile, case.mode)
    return [] if usual is Severity.IGNORE else rule.judge(case, usual)


def others(findings: tuple[Finding, ...], rule: str) -> list[Finding]:
    return [finding for finding in findings if finding.rule != rule]


def of(findings: tuple[Finding, ...], rule: str) -> list[Finding]:
    return [finding for finding in findings if finding.rule == rule]


@given(voyages(), chances)
@many
def test_a_rule_finds_in_company_what_it_finds_alone(voyage: Voyage, chance: random.Random) -> None:
    """No finding disappears because another one is there, and the order of asking does not matter."""
    case = voyage.case()
    in_any_order = list(RULES)
    chance.shuffle(in_any_order)
    found = {rule.id: alone(rule, case) for rule in in_any_order}
    assert check_move(case).findings == tuple(finding for rule in RULES for finding in found[rule.id])


@given(voyages(), st.sampled_from(sorted(real_vms())))
@many
def test_more_devices_never_hide_a_finding(voyage: Voyage, file: str) -> None:
    """Disks, cards, devices, pins and problems that are added to a VM take no finding away."""
    more, vm = real_vms()[file], voyage.vm
    grown = retargeted(
        vm.model_copy(
            update={
                "disks": (*vm.disks, *more.disks),
                "nics": (*vm.nics, *more.nics),
                "devices": (*vm.devices, *more.devices),
                "numa_pinned": (*vm.numa_pinned, *more.numa_pinned),
                "problems": (*vm.problems, "no <memory>"),
            }
        )
    )
    before = Counter(finding.rule for finding in check_move(voyage.case()).findings)
    after = Counter(finding.rule for finding in check_move(voyage.with_vm(grown).case()).findings)
    assert before <= after


@given(voyages(), voyages())
@many
def test_more_domains_never_hide_a_finding(voyage: Voyage, other: Voyage) -> None:
    """Domains that are added to the hosts take no finding away."""
    facts = voyage.snapshot.hosts
    grown = [
        here.model_copy(update={"vms": one_of_each((*here.vms, *there.vms), "name", "uuid")})
        for here, there in zip(facts, other.snapshot.hosts, strict=True)
    ]
    fuller = replace(voyage, snapshot=voyage.snapshot.model_copy(update={"hosts": tuple(grown)}))
    before = Counter(finding.rule for finding in check_move(voyage.case()).findings)
    after = Counter(finding.rule for finding in check_move(fuller.case()).findings)
    assert before <= after


def told(findings: tuple[Finding, ...]) -> Counter[tuple[str, Severity, str]]:
    """The findings whatever their order is, and that of the words in which they list things."""
    return Counter((f.rule, f.severity, " ".join(sorted(re.findall(r"[\w./-]+", f.message)))) for f in findings)


@given(voyages(), chances)
@many
def test_the_order_of_hosts_vms_disks_and_devices_does_not_matter(voyage: Voyage, chance: random.Random) -> None:
    usual, other = check_move(voyage.case()), check_move(shuffled(voyage, chance).case())
    assert told(other.findings) == told(usual.findings)


@given(voyages())
@many
def test_the_same_case_gives_the_same_report(voyage: Voyage) -> None:
    again = Voyage(
        type(voyage.snapshot).model_validate_json(voyage.snapshot.model_dump_json()),
        type(voyage.vm).model_validate_json(voyage.vm.model_dump_json()),
        type(voyage.arriving).model_validate_json(voyage.arriving.model_dump_json()),
        voyage.mode,
    )
    assert check_move(voyage.case()) == check_move(voyage.case()) == check_move(again.case())


@given(st.lists(voyages(), min_size=2, max_size=3), policies(), chances)
@many
def test_what_is_remembered_is_what_would_be_found(moves: list[Voyage], policy: Policy, chance: random.Random) -> None:
    """One fleet, all of its VMs to all of its hosts in all modes, in any order, some twice."""
    fleet = joined(moves)
    cases = [
        fleet.case(vm, source, dest, mode)
        for source, side in fleet.sides.items()
        for vm in side.facts.vms
        for dest in fleet.sides
        if dest != source
        for mode in MigrationMode
    ]
    asked = chance.sample(cases, min(len(cases), 12)) * 2
    memo, loss_memo = Memo(), Memo()
    for case in asked:
        assert check_move(case, policy, memo) == check_move(case, policy)
        assert check_loss(case, policy, loss_memo) == check_loss(case, policy)


def joined(moves: list[Voyage]) -> Fleet:
    """One fleet that holds the VMs of all moves."""
    hosts = []
    for place, name in enumerate((SOURCE, DEST, THIRD)):
        entry = moves[0].snapshot.inventory.hosts[place]
        facts = [move.snapshot.hosts[place] for move in moves]
        vms = one_of_each((vm for there in facts for vm in there.vms), "name")
        hosts.append((entry.model_copy(update={"name": name}), facts[0].model_copy(update={"vms": vms})))
    return Fleet(build_snapshot(hosts, pairs=moves[0].snapshot.pairs))


@given(voyages(), rule_ids)
@many
def test_lifting_a_rule_changes_nothing_but_its_own_blocks(voyage: Voyage, rule: str) -> None:
    case = voyage.case()
    usual, lifted = check_move(case).findings, check_move(case, Policy.of({}, [rule])).findings
    assert others(lifted, rule) == others(usual, rule)
    if BY_ID[rule].is_final:
        assert lifted == usual
    for before, after in zip(of(usual, rule), of(lifted, rule), strict=True):
        is_lifted = before.severity is Severity.BLOCK and not BY_ID[rule].is_final
        told_of = {"severity": Severity.WARN, "is_lifted": True} if is_lifted else {}
        assert after == before.model_copy(update=told_of)


@given(voyages(), rule_ids, severities)
@many
def test_a_severity_of_the_inventory_changes_nothing_but_its_own_rule(
    voyage: Voyage, rule: str, severity: Severity
) -> None:
    case = voyage.case()
    usual, weighed = check_move(case).findings, check_move(case, Policy.of({rule: severity})).findings
    assert others(weighed, rule) == others(usual, rule)
    own = of(weighed, rule)
    assert {finding.message for finding in own} <= {f.message for f in BY_ID[rule].judge(case, severity)}
    if not BY_ID[rule].is_final:
        assert {finding.severity for finding in own} <= {severity} - {Severity.IGNORE}
    if (case.profile, case.mode) not in BY_ID[rule].weights:
        assert own == []


@given(voyages(), policies())
@many
def test_no_policy_weakens_a_final_rule(voyage: Voyage, policy: Policy) -> None:
    case = voyage.case()
    final = [f for f in check_move(case).findings if BY_ID[f.rule].is_final]
    kept = Counter((f.rule, f.message) for f in check_move(case, policy).blockers if not f.is_lifted)
    assert Counter((f.rule, f.message) for f in final if f.severity is Severity.BLOCK) <= kept
    assert {f.rule for f in final} <= {f.rule for f in check_move(case, policy).findings}


def test_every_rule_fires_among_the_mixtures() -> None:
    """The properties above are about all rules: each is seen to find something in some mixture."""
    seen: set[str] = set()
    chance = random.Random(1)
    asking = {
        mode: Policy.of({rule.id: Severity.WARN for rule in RULES if not _usual(rule, mode)}) for mode in MigrationMode
    }
    for case in known_cases().values():
        voyage = mix([case], [], chance)
        seen |= {finding.rule for finding in check_move(voyage.case(), asking[voyage.mode]).findings}
    assert seen == {rule.id for rule in RULES}


def _usual(rule: Rule, mode: MigrationMode) -> bool:
    return any(rule.severity(profile, mode) is not Severity.IGNORE for profile in Profile)
