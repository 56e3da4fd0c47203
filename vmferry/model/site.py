"""What one site adds to the deployments that vmferry brings: its schedules, defaults, pager."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from vmferry.model.base import Model

_SLUG = r"^[a-z0-9]+(-[a-z0-9]+)*$"


class SiteSchedule(Model):
    """When a deployment starts by itself, and with which parameters; exactly one of cron, rrule and every_s."""

    slug: str = Field(pattern=_SLUG)
    cron: str | None = None
    day_or: bool = True  # cron only; False: day of month AND day of week
    rrule: str | None = None
    every_s: float | None = Field(default=None, gt=0)
    timezone: str = "UTC"
    active: bool = True
    parameters: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [name for name in ("cron", "rrule", "every_s") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"schedule {self.slug}: write exactly one of cron, rrule and every_s, not {found}")
        return self


class Site(Model):
    """The site file of `vmferry deploy`; deployments/site.example.yaml explains every field."""

    pager: str | None = Field(default=None, pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")  # block type/block name
    fleet_runs: int = Field(default=1, ge=1, le=16)  # runs at once that plan with the room of the whole fleet
    parameters: dict[str, dict[str, Any]] = Field(default_factory=dict)  # deployment → parameter → default
    schedules: dict[str, tuple[SiteSchedule, ...]] = Field(default_factory=dict)  # deployment → its own schedules
    variables: dict[str, Any] = Field(default_factory=dict)
