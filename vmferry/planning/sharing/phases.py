"""Which steps of a share may be done at once."""

from __future__ import annotations

from vmferry.model.sharing import SharePlan, StepKind

# Steps of different hosts that do not need one another; those of one host keep their order.
_PREPARING = (StepKind.PACKAGES, StepKind.FIREWALL, StepKind.SERVICE, StepKind.SELINUX)
_TOGETHER = {**dict.fromkeys(_PREPARING, "prepare"), StepKind.MOUNT: "mount", StepKind.POOL: "mount"}


def phases(plan: SharePlan, first: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return what may be done at once: phases in their order, in each a lane of step numbers per host."""
    found: list[tuple[str, dict[str, list[int]]]] = []
    for index, step in enumerate(plan.steps[first:], start=first):
        name = _TOGETHER.get(step.kind, f"alone-{index}")
        if not found or found[-1][0] != name:
            found.append((name, {}))
        found[-1][1].setdefault(step.host, []).append(index)
    return tuple(tuple(tuple(lane) for lane in lanes.values()) for _, lanes in found)
