"""How commands end: every kind of error and result has its exit code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from vmferry import errors
from vmferry.model.evacuation import EvacuationReport, Stranded
from vmferry.model.migration import MigrationMode, MigrationOutcome, OutcomeKind
from vmferry.terminal.exit_codes import (
    HELP,
    ExitCode,
    code_of_error,
    code_of_outcomes,
    code_of_report,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def outcome(kind: OutcomeKind) -> MigrationOutcome:
    return MigrationOutcome(
        run="r", vm="v", source="a", dest="b", mode=MigrationMode.LIVE, kind=kind, started_at=NOW, ended_at=NOW
    )


def report(*kinds: OutcomeKind, **more: Any) -> EvacuationReport:
    outcomes = tuple(outcome(kind) for kind in kinds)
    return EvacuationReport(host="a", run="r", outcomes=outcomes, started_at=NOW, ended_at=NOW, **more)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InventoryError("x"), ExitCode.REFUSED),
        (errors.PreflightBlocked("x"), ExitCode.REFUSED),
        (errors.NotFound("x"), ExitCode.REFUSED),
        (errors.AlreadyMoving("x"), ExitCode.REFUSED),
        (errors.HostUnreachable("x"), ExitCode.REFUSED),
        (errors.CopyFailed("x"), ExitCode.LEFT_BEHIND),
        (errors.LeftBehind("x"), ExitCode.LEFT_BEHIND),
        (errors.Held("x"), ExitCode.HELD),
        (errors.OutcomeUnknown("x"), ExitCode.HELD),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (ValueError("x"), ExitCode.UNEXPECTED),
    ],
)
def test_an_error_ends_by_what_may_be_done_next(error: BaseException, code: ExitCode) -> None:
    assert code_of_error(error) is code


def test_every_error_class_has_a_code_of_its_own_choice() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.VmferryError):
            assert code_of_error(kind("x")) in (ExitCode.REFUSED, ExitCode.LEFT_BEHIND, ExitCode.HELD)


def test_held_goes_before_left_behind_before_done() -> None:
    moved, back, held = OutcomeKind.MOVED, OutcomeKind.ROLLED_BACK, OutcomeKind.HELD
    assert code_of_outcomes([outcome(moved)]) is ExitCode.DONE
    assert code_of_outcomes([outcome(moved), outcome(back)]) is ExitCode.LEFT_BEHIND
    assert code_of_outcomes([outcome(held), outcome(back)]) is ExitCode.HELD


def test_a_recovery_that_rolled_back_has_done_its_work() -> None:
    assert code_of_outcomes([outcome(OutcomeKind.ROLLED_BACK)], is_recovery=True) is ExitCode.DONE


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (report(OutcomeKind.MOVED), ExitCode.DONE),
        (report(OutcomeKind.MOVED, left=("b",)), ExitCode.LEFT_BEHIND),
        (report(stranded=(Stranded(vm="b", uuid="1", reasons={}),)), ExitCode.LEFT_BEHIND),
        (report(not_started=("b",)), ExitCode.LEFT_BEHIND),
        (report(OutcomeKind.HELD, left=("b",)), ExitCode.HELD),
        (report(left=("b",), is_dry_run=True), ExitCode.DONE),
    ],
)
def test_an_evacuation_is_done_only_when_nothing_is_left(ended: EvacuationReport, code: ExitCode) -> None:
    assert code_of_report(ended) is code


def test_the_help_names_every_exit_code() -> None:
    for code in ExitCode:
        assert f"{code:>5}  " in HELP
