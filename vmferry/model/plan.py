"""A plan for several hosts: what is asked, where every VM goes, and why."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from vmferry.model.base import Model
from vmferry.model.constraint import Constraint
from vmferry.model.evacuation import Move, Stranded
from vmferry.model.host import FleetSnapshot


class Purpose(StrEnum):
    """What a plan is for."""

    EVACUATE = "evacuate"  # empty the hosts named
    CONSOLIDATE = "consolidate"  # empty as many hosts as worth it
    BALANCE = "balance"  # lower the load of the fullest hosts
    RETURN = "return"  # bring VMs to the hosts they came from
    RELOCATE = "relocate"  # bring VMs to other hosts, as of another site


class Reserve(StrEnum):
    """N+1: after the plan the VMs of any one host would find room on the others."""

    NONE = "none"
    SOFT = "soft"  # told where it does not hold
    HARD = "hard"  # what would break it is not moved


class PlanLimits(Model):
    """What a plan may take; None: no limit."""

    max_moves: int | None = Field(default=None, ge=0, description="moves of the whole plan")
    max_extra_moves: int | None = Field(default=None, ge=0, description="VMs that move only to make room")
    min_gain: float = Field(default=0.0, ge=0, description="least fall of unevenness by one balancing move")
    reserve: Reserve = Reserve.NONE


class PlanRequest(Model):
    """What an operator asks for; VMs are names or UUIDs."""

    purpose: Purpose
    hosts: tuple[str, ...] = ()  # evacuate: to be emptied; consolidate, balance: only these; empty: all
    vms: tuple[str, ...] = ()  # relocate, return: only these
    dests: tuple[str, ...] = ()  # only to these; empty: every other host
    homes: dict[str, str] = Field(default_factory=dict, description="return: vm → host it came from")
    costs: dict[str, float] = Field(default_factory=dict, description="consolidate: host → cost of an hour; else 1")
    expected: dict[str, tuple[int, int]] = Field(
        default_factory=dict, description="vm uuid → (vCPUs × 1000, MiB) it is expected to use; else what it may take"
    )
    constraints: tuple[Constraint, ...] = ()  # of this run, beside those of the inventory and of the domains
    limits: PlanLimits = PlanLimits()
    lift: tuple[str, ...] = ()
    budget: int = Field(default=1_000_000, ge=0, description="tries of repairs; no clock, so that plans are equal")
    seed: int = 0


class Score(Model):
    """How good a plan is, in the order of what counts; less is better."""

    stranded: int
    broken_soft: int
    moves: int
    extra_moves: int
    memory_kib: int  # of all moves
    copy_bytes: int
    hosts_used: int
    peak_share: float  # of memory, of the fullest host afterwards
    not_survivable: tuple[str, ...] = ()  # hosts whose loss not all VMs would survive; N+1 asked for


class Bounds(Model):
    """What no plan can be better than."""

    hosts_used: int  # by sums, groups and what may not move
    moves: int  # VMs that must move


class FleetPlan(Model):
    """Moves in the order of starting, and VMs that should have moved and cannot; both with reasons.

    It holds its snapshot and its request, so that it can be checked and made again from one file.
    """

    request: PlanRequest
    moves: tuple[Move, ...]
    stranded: tuple[Stranded, ...]
    freed: tuple[str, ...]  # hosts that have VMs now and none after the plan
    score: Score
    bounds: Bounds
    notes: tuple[str, ...] = ()  # soft constraints that do not hold, reserve, nothing worth doing
    constraints: tuple[Constraint, ...] = ()  # all that were respected, wherever they were said
    snapshot: FleetSnapshot

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be moved and nobody is left behind."""
        return not self.moves and not self.stranded
