"""Who may change what a rule does."""

from __future__ import annotations

import pytest

from vmferry.model.findings import Severity
from vmferry.rules.policy import Policy, check_lifted, check_severities
from vmferry.rules.table import BY_ID, RULES

FINAL = [rule.id for rule in RULES if rule.is_final]
OTHER = [rule.id for rule in RULES if not rule.is_final]


def test_an_unknown_rule_is_told_with_the_one_that_was_meant() -> None:
    assert check_lifted(["snapshot"]) == ("there is no rule 'snapshot'; did you mean snapshots?",)
    assert check_severities({"gest-agent": Severity.BLOCK}) == (
        ("gest-agent", "there is no rule 'gest-agent'; did you mean guest-agent?"),
    )


def test_an_unknown_rule_that_is_like_no_other_points_to_the_list() -> None:
    assert check_lifted(["xyzzy"]) == ("there is no rule 'xyzzy'; see docs/rules.md",)


@pytest.mark.parametrize("rule", FINAL)
def test_a_final_rule_can_neither_be_lifted_nor_weakened(rule: str) -> None:
    (problem,) = check_lifted([rule])
    assert problem.startswith(
        f"{rule} cannot be lifted: it guards against two copies, lost data or a host without room"
    )
    for severity in (Severity.WARN, Severity.IGNORE):
        ((name, text),) = check_severities({rule: severity})
        assert name == rule
        assert text.startswith(f"{rule} cannot be set to {severity}: it guards")
    assert check_severities({rule: Severity.BLOCK}) == ()


@pytest.mark.parametrize("rule", FINAL)
def test_a_policy_that_slipped_through_does_not_weaken_a_final_rule(rule: str) -> None:
    for severity in Severity:
        weighed = Policy.of({rule: severity}, [rule]).weigh(BY_ID[rule], Severity.BLOCK)
        assert weighed == (Severity.BLOCK, False)


def test_a_final_rule_that_warns_may_be_made_to_block() -> None:
    assert Policy.of({"tpm-state": Severity.BLOCK}).weigh(BY_ID["tpm-state"], Severity.WARN) == (Severity.BLOCK, False)
    assert Policy.of({"tpm-state": Severity.IGNORE}).weigh(BY_ID["tpm-state"], Severity.WARN) == (Severity.WARN, False)


@pytest.mark.parametrize("rule", OTHER)
def test_any_other_rule_takes_every_severity_and_may_be_lifted(rule: str) -> None:
    assert check_lifted([rule]) == ()
    for severity in Severity:
        assert check_severities({rule: severity}) == ()
        assert Policy.of({rule: severity}).weigh(BY_ID[rule], Severity.WARN) == (severity, False)


def test_lifting_turns_a_block_into_a_warning_and_leaves_a_warning_alone() -> None:
    rule, lifted = BY_ID["snapshots"], Policy.of({}, ["snapshots"])
    assert lifted.weigh(rule, Severity.BLOCK) == (Severity.WARN, True)
    assert lifted.weigh(rule, Severity.WARN) == (Severity.WARN, False)


def test_lifting_goes_beyond_what_the_inventory_says() -> None:
    policy = Policy.of({"guest-agent": Severity.BLOCK}, ["guest-agent"])
    assert policy.weigh(BY_ID["guest-agent"], Severity.IGNORE) == (Severity.WARN, True)


def test_all_problems_are_told_at_once() -> None:
    assert len(check_lifted(["snapshot", "two-copies", "snapshots"])) == 2
    assert len(check_severities({"snapshot": Severity.WARN, "two-copies": Severity.WARN})) == 2


def test_equal_policies_are_equal_whatever_their_order() -> None:
    one = Policy.of({"ping": Severity.WARN, "memory-total": Severity.BLOCK}, ["ping", "snapshots", "ping"])
    other = Policy.of({"memory-total": Severity.BLOCK, "ping": Severity.WARN}, ["snapshots", "ping"])
    assert one == other
    assert hash(one) == hash(other)
