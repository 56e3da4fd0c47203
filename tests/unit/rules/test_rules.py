"""Every rule: cases that it finds and cases that it lets pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.rules.cases import CASES
from vmferry.model.findings import Finding, Severity
from vmferry.model.migration import MigrationMode
from vmferry.rules.case import Case
from vmferry.rules.check import check_move
from vmferry.rules.policy import Policy
from vmferry.rules.table import BY_ID, RULES, render_rules

Maker = Callable[[], Case]


def rows(index: int) -> list[pytest.ParameterSet]:  # type: ignore[name-defined]
    return [
        pytest.param(rule, maker, id=f"{rule}-{n}")
        for rule, makers in CASES.items()
        for n, maker in enumerate(makers[index])
    ]


def test_every_rule_has_a_case_that_it_finds_and_one_that_passes() -> None:
    assert set(CASES) == {rule.id for rule in RULES}
    assert all(found and passing for found, passing in CASES.values())


def judged(rule: str, case: Case) -> list[Finding]:
    """The rule's findings; one that is asked only where the inventory says so is asked."""
    is_asked = any(severity is not Severity.IGNORE for severity in BY_ID[rule].weights.values())
    policy = Policy() if is_asked else Policy.of({rule: Severity.WARN})
    return [finding for finding in check_move(case, policy).findings if finding.rule == rule]


@pytest.mark.parametrize(("rule", "maker"), rows(0))
def test_the_rule_finds(rule: str, maker: Maker) -> None:
    findings = judged(rule, maker())
    assert findings
    for finding in findings:
        assert not finding.message.startswith("rule ")
        assert finding.source
        assert finding.severity in (Severity.BLOCK, Severity.WARN)


@pytest.mark.parametrize(("rule", "maker"), rows(1))
def test_the_rule_lets_pass(rule: str, maker: Maker) -> None:
    assert judged(rule, maker()) == []


@pytest.mark.parametrize("maker", [CASES["ping"][1][0], CASES["copy-space"][1][0]], ids=["live", "offline"])
def test_a_plain_vm_moves_without_any_finding(maker: Maker) -> None:
    assert check_move(maker()).findings == ()


def test_rule_ids_are_unique() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)


def test_no_check_stands_in_two_rows() -> None:
    assert len({rule.check for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_says_what_holds_and_why(rule: object) -> None:
    assert getattr(rule, "source")  # noqa: B009
    assert getattr(rule, "check").__doc__  # noqa: B009


def test_a_rule_that_can_never_be_lifted_blocks() -> None:
    for rule in RULES:
        if rule.is_final:
            assert Severity.BLOCK in rule.weights.values(), rule.id


def test_the_upstream_profile_is_never_stricter() -> None:
    rank = {Severity.IGNORE: 0, Severity.WARN: 1, Severity.BLOCK: 2}
    from vmferry.model.host import Profile

    for rule in RULES:
        for mode in MigrationMode:
            strict, free = rule.severity(Profile.RHEL8, mode), rule.severity(Profile.UPSTREAM, mode)
            assert rank[free] <= rank[strict], rule.id


def test_the_table_is_markdown_with_a_row_per_rule() -> None:
    lines = render_rules().splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert len(rows) == len(BY_ID)
    assert len({line.count(" | ") for line in rows}) == 1
