"""The only place where retries are spelled; every task takes one of these three."""

from __future__ import annotations

from typing import Any, TypedDict

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.tasks import exponential_backoff

from vmferry.errors import TransientError


class Policy(TypedDict, total=False):
    """Options for `prefect.task`."""

    retries: int
    retry_delay_seconds: Any
    retry_jitter_factor: float
    retry_condition_fn: Any
    cache_policy: Any
    persist_result: bool


def is_transient(_task: Any, _task_run: Any, state: State[Any]) -> bool:
    """Retry only what promises that nothing changed, or that the step is repeatable."""
    return isinstance(state.data, TransientError)


# A repeated `verify` must look again and never be answered from memory: the default cache policy would do that.
_NEVER_FROM_MEMORY: Policy = {"cache_policy": NO_CACHE, "persist_result": False}

READ: Policy = {
    **_NEVER_FROM_MEMORY,
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(backoff_factor=1),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_transient,
}
REPEATABLE: Policy = {
    **_NEVER_FROM_MEMORY,
    "retries": 2,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_transient,
}
# Pivot and undo: after a lost answer we look, we do not repeat.
ONCE: Policy = {**_NEVER_FROM_MEMORY, "retries": 0}
