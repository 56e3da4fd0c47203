"""Whether moves are worth their cost: what is asked, and the figures of the answer."""

from __future__ import annotations

from pydantic import Field

from vmferry.model.base import Model


class WorthPolicy(Model):
    """What a night's moves must bring. Energy is counted in Wh, everything that a move costs too."""

    hours: float = Field(default=8.0, gt=0, le=24 * 30, description="an emptied host is expected to stay off so long")
    min_gain_wh: float = Field(default=100.0, ge=0, description="all moves together bring at least so much, net, Wh")
    payback: float = Field(default=2.0, ge=1, description="emptying a host saves so many times what its moves cost")
    move_price_wh: float = Field(default=1.0, ge=0, description="what moving a VM at all is worth avoiding, Wh")
    downtime_price_wh_s: float = Field(default=5.0, ge=0, description="what a second of downtime is worth, Wh")
    max_moves: int = Field(default=100, ge=1, le=100_000, description="moves in one run, at most")
    vm_cooldown_h: float = Field(default=12.0, ge=0, description="a VM that moved is left alone so long, hours")
    host_cooldown_h: float = Field(
        default=4.0, ge=0, description="a host that was emptied or filled by moves too, hours"
    )


class MovePrice(Model):
    """What one move costs: predicted seconds, bytes and downtime, and all of it in Wh."""

    vm: str
    seconds: float = Field(default=0.0, ge=0)
    sent_bytes: int = Field(default=0, ge=0)
    downtime_ms: int = Field(default=0, ge=0)
    wh: float = Field(ge=0)


class HostPrice(Model):
    """What a host draws: off, it saves `idle_watts`; what its VMs use, they use elsewhere too."""

    host: str
    idle_watts: float = Field(ge=0)
    max_watts: float = Field(ge=0)
    weight: float = Field(default=1.0, gt=0, description="age and other cost: 2 counts each watt twice")
    is_assumed: bool = False  # the inventory does not tell its watts


class Saving(Model):
    """What emptying one host brings and costs, and whether it is done."""

    host: str
    watts: float
    gain_wh: float  # weighted watts × hours, before the cost
    cost_wh: float
    moves: tuple[MovePrice, ...]
    is_worth: bool
    reason: str

    @property
    def net_wh(self) -> float:
        """What is left of the gain."""
        return self.gain_wh - self.cost_wh


class Worth(Model):
    """The judgement of a whole night: what is done, what is not and why, with the figures."""

    savings: tuple[Saving, ...]
    is_worth: bool
    reason: str

    @property
    def emptied(self) -> tuple[str, ...]:
        """The hosts whose emptying is worth it; none when the whole is not."""
        return tuple(s.host for s in self.savings if s.is_worth) if self.is_worth else ()

    @property
    def net_wh(self) -> float:
        """What all that is done brings."""
        return sum(s.net_wh for s in self.savings if s.is_worth) if self.is_worth else 0.0
