"""How a live move is helped when it does not converge: named policies, as data.

Numbers: oVirt's migration policies and vdsm's schedule, KubeVirt's completion timeout, and sections 2 and 4 of
`libvirt-measurements.md`.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Self

from pydantic import Field, model_validator

from vmferry.model.base import Model

# QEMU's own limit, with which every move begins (migration.c, DEFAULT_MIGRATE_SET_DOWNTIME).
FIRST_LIMIT_MS = 300


class PolicyName(StrEnum):
    """What an operator picks."""

    MINIMAL_DOWNTIME = "minimal-downtime"
    AUTO_CONVERGE = "auto-converge"
    SUSPEND_IF_NEEDED = "suspend-if-needed"
    VERY_LARGE_VM = "very-large-vm"
    POST_COPY = "post-copy"


class SetDowntime(Model):
    """Let QEMU switch over as soon as the rest can be sent within so many ms."""

    limit_ms: int = Field(ge=1)

    def words(self) -> str:
        """Name the act for reports."""
        return f"downtime limit {self.limit_ms} ms"


class LiftCap(Model):
    """Send as fast as the link carries, whatever cap the plan has: the VM stands still meanwhile."""

    def words(self) -> str:
        """Name the act for reports."""
        return "bandwidth cap lifted"


class Suspend(Model):
    """Stop the VM's CPUs: from here on it is a non-live move."""

    def words(self) -> str:
        """Name the act for reports."""
        return "suspend"


class PostCopy(Model):
    """Let the VM run at the destination at once and fetch the rest of its memory: there is no way back (QEMU)."""

    def words(self) -> str:
        """Name the act for reports."""
        return "post-copy"


class Throttled(Model):
    """QEMU has begun to take more CPU time from the VM: no act of ours, but what the move may end after."""

    percent: int

    def words(self) -> str:
        """Name the act for reports."""
        return f"CPU throttled by {self.percent} %"


class Abort(Model):
    """Cancel the job; libvirt lets the VM run at the source, also when we had suspended it (measured)."""

    def words(self) -> str:
        """Name the act for reports."""
        return "abort"


Action = SetDowntime | LiftCap | Suspend | PostCopy | Throttled | Abort


class Order(Model):
    """One act on a running job, at which iteration, and why; `refusal`: it had no effect, and why."""

    action: Action
    iteration: int
    reason: str
    refusal: str = ""

    def words(self) -> str:
        """One line for journal, log and report."""
        if self.refusal:
            return f"{self.action.words()} at iteration {self.iteration} was refused: {self.refusal}"
        return f"{self.action.words()} at iteration {self.iteration}: {self.reason}"


class Throttle(Model):
    """VIR_MIGRATE_AUTO_CONVERGE: how much of the VM's CPU time is taken, percent; only settable at the start."""

    initial: int = Field(ge=1, le=99)
    increment: int = Field(ge=1, le=99)


class Rung(Model):
    """One help: due after so many stalled iterations, or from a share of the deadline on."""

    action: SetDowntime | Suspend | PostCopy
    after_stalls: int = Field(ge=1)
    from_share: float = Field(gt=0, lt=1)


class AtDeadline(StrEnum):
    """What is done when the time is over; a move that was suspended and still does not end is aborted too."""

    ABORT = "abort"
    SUSPEND = "suspend"  # in time before the deadline, where that ends it
    POST_COPY = "post-copy"  # in time, or at the deadline; a move still in its first pass is aborted


class Policy(Model):
    """What may be done to a VM so that its move ends; `max_pause_s` 0 means: it is never suspended."""

    name: PolicyName
    throttle: Throttle | None = None
    rungs: tuple[Rung, ...]
    max_pause_s: float = Field(default=0.0, ge=0)
    at_deadline: AtDeadline = AtDeadline.ABORT
    base_s: float = Field(default=120.0, gt=0)  # the handshakes of small VMs
    s_per_gib: float = Field(default=150.0, gt=0)  # KubeVirt's completion timeout

    @property
    def may_postcopy(self) -> bool:
        """Whether a move may be switched to post-copy, which has to be asked for when the move begins."""
        is_on_ladder = any(isinstance(rung.action, PostCopy) for rung in self.rungs)
        return is_on_ladder or self.at_deadline is AtDeadline.POST_COPY

    @model_validator(mode="after")
    def _check(self) -> Self:
        suspends = self.at_deadline is AtDeadline.SUSPEND or any(isinstance(r.action, Suspend) for r in self.rungs)
        if suspends != (self.max_pause_s > 0):
            raise ValueError(f"policy {self.name}: a suspend needs max_pause_s, and only a suspend does")
        return self

    def deadline_s(self, memory_kib: int) -> float:
        """Return after how many seconds a move of that much memory has ended, one way or the other."""
        return self.base_s + self.s_per_gib * memory_kib / 2**20


def _limits(*rungs: tuple[int, float, int]) -> tuple[Rung, ...]:
    """Return rungs of (stalled iterations, share of the deadline, downtime limit in ms)."""
    return tuple(Rung(action=SetDowntime(limit_ms=ms), after_stalls=n, from_share=share) for n, share, ms in rungs)


_GENTLE = _limits((2, 0.5, 400), (3, 0.6, 500))
_POLICIES = (
    Policy(name=PolicyName.MINIMAL_DOWNTIME, rungs=_GENTLE),
    # 50 % and then 20 % more ended a hopeless move in 48 s, QEMU's own 20 % and 10 % in 103 s.
    Policy(name=PolicyName.AUTO_CONVERGE, rungs=_GENTLE, throttle=Throttle(initial=50, increment=20)),
    Policy(
        name=PolicyName.SUSPEND_IF_NEEDED,
        rungs=(*_GENTLE, Rung(action=Suspend(), after_stalls=4, from_share=0.7)),
        max_pause_s=60.0,
        at_deadline=AtDeadline.SUSPEND,
    ),
    Policy(
        name=PolicyName.VERY_LARGE_VM,
        rungs=_limits((2, 0.3, 1000), (4, 0.5, 2000), (6, 0.7, 5000)),
        base_s=600.0,
        s_per_gib=300.0,
    ),
    Policy(
        name=PolicyName.POST_COPY,
        rungs=(*_GENTLE, Rung(action=PostCopy(), after_stalls=4, from_share=0.7)),
        at_deadline=AtDeadline.POST_COPY,
    ),
)
POLICIES = MappingProxyType({policy.name: policy for policy in _POLICIES})
# Nothing that an operator has not asked for slows or stops a VM.
DEFAULT_POLICY = PolicyName.MINIMAL_DOWNTIME
