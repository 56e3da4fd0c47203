"""A share in words: one line, and markdown for the Prefect UI."""

from __future__ import annotations

from vmferry.model.sharing import ShareOutcome, ShareState
from vmferry.reporting.share_plan import plan_lines


def share_headline(outcome: ShareOutcome) -> str:
    """Return one line that says what is so now."""
    request = outcome.plan.request
    place = f"{request.server}:{request.directory} at {request.mount_at} of {request.source} and {request.dest}"
    match outcome.state:
        case ShareState.SHARED:
            did = "" if outcome.changed else "; nothing had to be changed"
            ran = f"; {', '.join(outcome.booted)} booted from it" if outcome.booted else ""
            moved = f"; {outcome.moved} moved live to {request.dest}" if outcome.moved else ""
            return f"shared: {place}{did}{ran}{moved}"
        case ShareState.UNDONE:
            return f"no longer shared: {place}"
        case ShareState.OPEN:
            return f"would be shared: {place}: {len(outcome.plan.steps)} steps"
        case _:
            return f"{outcome.state}: {place}"


def inventory_lines(outcome: ShareOutcome) -> tuple[str, ...]:
    """Return what belongs into the inventory now, for both hosts."""
    request = outcome.plan.request
    group = f"{request.server}{request.directory}".replace("/", "-")
    return (f"- {{path: {request.mount_at}, shared: {group}, locks: false}}",)


def markdown_share(outcome: ShareOutcome) -> str:
    """Return what was done on which host."""
    lines = [f"# {share_headline(outcome)}", ""]
    lines += [f"- {note}" for note in (*outcome.notes, *outcome.problems)]
    if outcome.plan.steps:
        lines += ["", "```", *plan_lines(outcome.plan), "```"]
    return "\n".join(lines) + "\n"
