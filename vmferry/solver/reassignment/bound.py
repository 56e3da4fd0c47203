"""A lower bound on the cost of any assignment: the machines taken as one.

Per resource, use above the safety capacity of all machines together; per balance, the target on all that is free.
Moves are taken as free. It equals the bound that team J12 published for set A of the challenge.
"""

from __future__ import annotations

from vmferry.solver.reassignment.problem import Problem


def lower_bound(problem: Problem) -> int:
    """Return a cost below which no assignment can be, feasible or not."""
    used = problem.usage.sum(axis=0)
    free = problem.capacity.sum(axis=0) - used
    over = used - problem.safety.sum(axis=0)
    bound = sum(int(weight) * max(0, int(more)) for weight, more in zip(problem.load_weight, over, strict=True))
    for first, second, target, weight in problem.balances.tolist():
        bound += weight * max(0, target * int(free[first]) - int(free[second]))
    return bound
