"""Groups of parameters that several flows take: small, flat, and described for a form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import ConfigDict, Field

from vmferry.errors import InvalidInput
from vmferry.model.approval import ApprovalRule
from vmferry.model.base import Model
from vmferry.model.cancelling import OnCancel
from vmferry.model.operation import RunLimits


class WindowOptions(Model):
    """When moves may start. A move starts only if its forecast end lies before the window's end."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Maintenance window")

    until: datetime | None = Field(
        default=None,
        title="Ends at",
        description="No move starts that would end later; without a time zone it is UTC. Empty: no end.",
        json_schema_extra={"position": 1},
    )
    length_s: float | None = Field(
        default=None,
        gt=0,
        title="Length, s",
        description="Seconds from the start of this run; for schedules. With an end too, the earlier one counts.",
        json_schema_extra={"position": 2},
    )
    at_end: OnCancel = Field(
        default=OnCancel.FINISH,
        title="Running moves at the end",
        description="finish: they go on to their end; abort: they are aborted, and their VMs stay.",
        json_schema_extra={"position": 3},
    )

    def closes_at(self, now: datetime) -> datetime | None:
        """Return the window's end for a run that starts now; raises InvalidInput when that is over already."""
        until = self.until
        if until is not None:
            until = until.replace(tzinfo=UTC) if until.tzinfo is None else until.astimezone(UTC)
        ends = [until] if until is not None else []
        ends += [now + timedelta(seconds=self.length_s)] if self.length_s is not None else []
        if until is not None and until <= now:
            raise InvalidInput(
                f"window: its end {until:%Y-%m-%d %H:%M:%S} UTC is over (now: {now:%Y-%m-%d %H:%M:%S} UTC); nothing "
                "was touched; give an end that lies ahead"
            )
        return min(ends, default=None)


class CautionOptions(Model):
    """What stops a run before it has done everything."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Caution")

    canaries: int = Field(
        default=0,
        ge=0,
        le=100,
        title="Canaries",
        description="So many VMs move first; the rest only when all of them have moved well.",
        json_schema_extra={"position": 1},
    )
    canary_vms: list[str] = Field(
        default=[],
        title="Canary VMs",
        description="Names or UUIDs of the VMs that move first; instead of a number.",
        json_schema_extra={"position": 2},
    )
    max_moves: int | None = Field(
        default=None,
        ge=1,
        title="Moves at most",
        description="The run moves no more VMs than that; the rest is left for the next one.",
        json_schema_extra={"position": 3},
    )
    max_failures: int | None = Field(
        default=5,
        ge=1,
        title="Failures at most",
        description="After so many failed moves no further one starts. Empty: never mind.",
        json_schema_extra={"position": 4},
    )
    max_same_cause: int | None = Field(
        default=3,
        ge=1,
        title="Repeats of one cause at most",
        description="After so many moves that failed for the same cause no further one starts. Empty: never mind.",
        json_schema_extra={"position": 5},
    )
    max_downtime_ms: int | None = Field(
        default=None,
        ge=1,
        title="Downtime at most, ms",
        description="After a VM that stood still for longer while it moved no further one moves. Empty: never mind.",
        json_schema_extra={"position": 6},
    )
    retries: int = Field(
        default=1,
        ge=0,
        le=10,
        title="Other destinations",
        description="So many further destinations are tried for a VM whose move failed.",
        json_schema_extra={"position": 7},
    )
    backoff_s: float = Field(
        default=30.0,
        ge=0,
        le=86400,
        title="Back-off, s",
        description="Before another destination is tried; doubled for each further one.",
        json_schema_extra={"position": 8},
    )


class StopOptions(Model):
    """How a VM that leaves by stop-and-start is shut down."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Stop and start")

    timeout_s: float = Field(
        default=300.0,
        gt=0,
        le=86400,
        title="Time to shut down, s",
        description="A VM that is not off by then stays where it is, and runs.",
        json_schema_extra={"position": 1},
    )
    force: bool = Field(
        default=False,
        title="Force it off",
        description="Switch off a VM that does not shut down in time, as by pulling its plug. Data may be lost.",
        json_schema_extra={"position": 2},
    )


class ApprovalOptions(Model):
    """Who must agree to a plan before anything is touched, and how long is waited for them."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Approval")

    who: ApprovalRule = Field(
        default=ApprovalRule.NONE,
        title="Who must agree",
        description="two-for-overrides: a second person where rules are lifted or VMs are shut down. none: nobody.",
        json_schema_extra={"position": 1},
    )
    minutes: float = Field(
        default=60.0,
        gt=0,
        le=10080,
        title="Waits for, minutes",
        description="Without an answer by then nothing moves, and the run fails.",
        json_schema_extra={"position": 2},
    )


class OnSilence(StrEnum):
    """What is done when a guest that answered before its move does not after it."""

    ALERT = "alert"  # told in the report and counted as a failure; the VM stays where it is
    MOVE_BACK = "move-back"


class ProbeOptions(Model):
    """Whether guests are asked before and after their moves; which probes a VM has, its inventory entry says."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Probes of guests")

    on_silence: OnSilence = Field(
        default=OnSilence.ALERT,
        title="A guest that went silent",
        description="alert: it stays, and counts as a failure; move-back: it is moved back to where it answered.",
        json_schema_extra={"position": 1},
    )
    wait_s: float = Field(
        default=60.0,
        ge=0,
        le=86400,
        title="Time to answer, s",
        description="So long after its move a guest may take until it answers.",
        json_schema_extra={"position": 2},
    )


def limits_from(window: WindowOptions, caution: CautionOptions, now: datetime) -> RunLimits:
    """Return the bounds of a run that starts now; raises InvalidInput for a window that is over."""
    given = caution.model_dump()
    return RunLimits(closes_at=window.closes_at(now), at_end=window.at_end, **given)
