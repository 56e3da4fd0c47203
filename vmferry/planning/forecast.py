"""What a move will cost: seconds, downtime, whether it converges under its policy. Pure."""

from __future__ import annotations

from vmferry.model.forecast import Forecast
from vmferry.model.migration import MigrationPlan
from vmferry.rules.case import Case


def forecast_move(case: Case, plan: MigrationPlan) -> Forecast:
    """Return what the plan is expected to cost."""
    return Forecast()
