"""Retries: only what promises that nothing changed, and never the pivot."""

from __future__ import annotations

import inspect

import pytest
from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.states import Crashed, Failed

from tasks import disk_copy, evacuation, migrate, placement, preflight, rollback, verify
from tasks._policy import ONCE, READ, REPEATABLE, is_transient
from tests.unit.test_errors import ALL
from vmferry.errors import TransientError, VmferryError

MODULES = (disk_copy, evacuation, migrate, placement, preflight, rollback, verify)
TASKS = {
    task.fn.__name__: task
    for module in MODULES
    for _, task in inspect.getmembers(module, lambda found: isinstance(found, Task))
}


@pytest.mark.parametrize("kind", ALL)
def test_only_a_transient_error_is_tried_again(kind: type[VmferryError]) -> None:
    assert is_transient(None, None, Failed(data=kind("it failed"))) is issubclass(kind, TransientError)


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("x"), None, "text"])
def test_what_is_no_error_of_ours_is_not_tried_again(error: object) -> None:
    assert is_transient(None, None, Failed(data=error)) is False
    assert is_transient(None, None, Crashed(data=error)) is False


@pytest.mark.parametrize("policy", [READ, REPEATABLE, ONCE])
def test_no_answer_is_ever_taken_from_memory(policy: dict[str, object]) -> None:
    assert policy["cache_policy"] is NO_CACHE
    assert policy["persist_result"] is False


def test_what_is_tried_again_asks_whether_it_may() -> None:
    for policy in (READ, REPEATABLE):
        assert policy["retries"] > 0
        assert policy["retry_condition_fn"] is is_transient
    assert ONCE["retries"] == 0


@pytest.mark.parametrize("name", ["open_run", "define_vm", "move_vm", "settle_run", "cordon_host"])
def test_what_changes_the_world_before_the_pivot_the_pivot_and_the_undo_are_done_once(name: str) -> None:
    assert TASKS[name].retries == 0


# A copy that broke off is resumed: what is at the destination already is proved, not sent again.
@pytest.mark.parametrize("name", ["verify_vm", "finish_vm", "reserve_vm", "reread_host", "copy_disks"])
def test_what_only_looks_or_only_goes_forward_may_be_repeated(name: str) -> None:
    assert TASKS[name].retries > 0
    assert TASKS[name].retry_condition_fn is is_transient


def test_every_task_has_one_of_the_policies() -> None:
    assert len(TASKS) >= 10
    for name, task in TASKS.items():
        assert task.cache_policy is NO_CACHE, name
        assert task.persist_result is False, name
        assert task.retries == 0 or task.retry_condition_fn is is_transient, name
