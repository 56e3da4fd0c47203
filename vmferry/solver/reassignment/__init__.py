"""General reassignment: re-place a whole fleet jointly, with hard and soft capacity, spread, dependencies, priced
moves.

`solve(Problem(…), Budget(steps=…))` gives an `Assignment`; `audit` judges it without the search. See decision 0024.
"""

from vmferry.solver.reassignment.problem import Problem
from vmferry.solver.reassignment.solve import Assignment, Budget, solve

__all__ = ["Assignment", "Budget", "Problem", "solve"]
