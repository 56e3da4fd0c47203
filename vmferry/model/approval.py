"""What people are asked before VMs move, and what they answered."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from vmferry.model.base import Model


class ApprovalRule(StrEnum):
    """Who must agree to a plan before anything is touched."""

    NONE = "none"
    ONE_PERSON = "one-person"
    TWO_FOR_OVERRIDES = "two-for-overrides"  # one person, and another one where rules are lifted or VMs shut down
    TWO_PEOPLE = "two-people"


class Approval(Model):
    """One person's yes. The name is what was typed: Prefect's own server knows no users."""

    by: str
    at: datetime
    skipped: tuple[str, ...] = ()  # names of VMs that stay
    comment: str = ""

    def words(self) -> str:
        """`alice at 2026-03-07 21:58 UTC, without db1, db2: "after backup"`."""
        without = f", without {', '.join(self.skipped)}" if self.skipped else ""
        comment = f': "{self.comment}"' if self.comment else ""
        return f"{self.by} at {self.at:%Y-%m-%d %H:%M} UTC{without}{comment}"
