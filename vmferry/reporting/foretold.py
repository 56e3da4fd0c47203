"""Forecasts in words, alone and beside what was measured."""

from __future__ import annotations

from vmferry.model.forecast import Ending, Forecast
from vmferry.model.migration import MigrationOutcome, OutcomeKind
from vmferry.reporting.units import format_ms, format_seconds


def forecast_words(forecast: Forecast | None) -> str:
    """`12.3 s / 240 ms`, the help that it takes behind it; `will not converge`; `-` where nothing is known."""
    if forecast is None:
        return "-"
    if forecast.ending is Ending.NEVER:
        return str(forecast.ending)
    seconds = forecast.all_seconds
    if seconds is None:
        return "-"
    least = "at least " if forecast.ending is Ending.UNKNOWN else ""
    pause = f" / {format_ms(forecast.downtime_ms)}" if forecast.downtime_ms is not None else ""
    return f"{least}{format_seconds(seconds)}{pause}" + (f", {forecast.help}" if forecast.help else "")


def forecast_line(forecast: Forecast | None) -> str:
    """`forecast: 12.3 s / 240 ms (300 MiB in use, …)`; empty without a forecast."""
    if forecast is None:
        return ""
    return f"forecast: {forecast_words(forecast)}" + (f" ({forecast.basis})" if forecast.basis else "")


def forecast_note(outcome: MigrationOutcome) -> str:
    """`forecast 12.3 s / 240 ms, measured 11.8 s / 262 ms (300 MiB in use, …)`; empty where one of them is missing."""
    forecast = outcome.forecast
    if forecast is None or outcome.kind is not OutcomeKind.MOVED or outcome.move_seconds is None:
        return ""
    measured = format_seconds(outcome.move_seconds + (outcome.copy_seconds or 0.0))
    pause = f" / {format_ms(outcome.downtime_ms)}" if outcome.downtime_ms is not None else ""
    basis = f" ({forecast.basis})" if forecast.basis else ""
    return f"forecast {forecast_words(forecast)}, measured {measured}{pause}{basis}"
