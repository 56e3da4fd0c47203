"""Medians and ranges: every figure is shown with the spread it was taken from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of some values; of none, all are nan."""

    median: float
    least: float
    greatest: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Summarise values; empty gives nan."""
        known = list(values)
        if not known:
            return cls(float("nan"), float("nan"), float("nan"), 0)
        return cls(median(known), min(known), max(known), len(known))

    def show(self, unit: str = "", digits: int = 1, scale: float = 1.0) -> str:
        """Write `median (least–greatest) unit`; `-` without values."""
        if not self.count:
            return "-"
        middle, low, high = (f"{value * scale:.{digits}f}" for value in (self.median, self.least, self.greatest))
        return f"{middle} ({low}–{high}){unit and ' ' + unit}"
