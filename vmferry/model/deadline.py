"""How long a move may take: what the plan of a run and the rules on the link must agree on."""

from __future__ import annotations

from vmferry.model.convergence import DEFAULT_POLICY, POLICIES


def default_deadline_s(memory_kib: int) -> float:
    """Return after how many seconds the move of that much memory is aborted where no setting says otherwise."""
    return POLICIES[DEFAULT_POLICY].deadline_s(memory_kib)
