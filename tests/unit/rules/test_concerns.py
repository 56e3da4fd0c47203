"""What a rule is not asked for is only what it would not have found: in a large fleet and for a single move alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.rules.cases import CASES
from tests.unit.rules.cases.making import on
from vmferry.rules.case import Case
from vmferry.rules.check import Memo, check_loss, check_move
from vmferry.rules.loss import RULES as LOSS_RULES
from vmferry.rules.rule import Rule
from vmferry.rules.table import BY_ID, RULES

Maker = Callable[[], Case]
CHOOSY = [rule for rule in (*RULES, *LOSS_RULES) if rule.concerns is not None]
EVERY = [
    pytest.param(maker, id=f"{rule}-{side}-{n}")
    for rule, makers in CASES.items()
    for side, found in zip(("found", "passing"), makers, strict=True)
    for n, maker in enumerate(found)
]
FOUND = [
    pytest.param(BY_ID[rule], maker, id=f"{rule}-{n}")
    for rule, (makers, _) in CASES.items()
    if rule in BY_ID and BY_ID[rule].concerns is not None
    for n, maker in enumerate(makers)
]


@pytest.mark.parametrize("maker", EVERY)
def test_a_fleet_finds_what_a_single_move_finds(maker: Maker) -> None:
    case = maker()
    memo = Memo()
    assert check_move(case, memo=memo) == check_move(maker())
    assert check_move(case, memo=memo) == check_move(maker())  # from memory
    memo = Memo()
    assert check_loss(case, memo=memo) == check_loss(maker())


@pytest.mark.parametrize(("rule", "maker"), FOUND)
def test_a_rule_concerns_every_vm_that_it_finds_something_of(rule: Rule, maker: Maker) -> None:
    case = maker()
    assert case.arriving is not case.vm or rule.may_concern(case.vm)


@pytest.mark.parametrize("rule", CHOOSY, ids=lambda rule: rule.id)
def test_a_choosy_rule_has_nothing_to_say_of_the_vms_that_it_leaves_out(rule: Rule) -> None:
    cases = [maker() for makers in CASES.values() for side in makers for maker in side]
    assert [c.vm.name for c in cases if c.arriving is c.vm and not rule.may_concern(c.vm) and list(rule.check(c))] == []


def test_a_rule_that_cannot_tell_whom_it_concerns_is_asked() -> None:
    def broken(vm: object) -> bool:
        raise RuntimeError

    assert Rule("x", lambda case: iter(()), {}, "none", concerns=broken).may_concern(on().vm)
