"""Hosts that were switched, in words."""

from __future__ import annotations

from vmferry.model.power import PowerEnd, PowerOutcome, PowerReport


def power_headline(report: PowerReport) -> str:
    """Return one line: how many are off, on, kept, failed, and what was saved."""
    words = {PowerEnd.OFF: "switched off", PowerEnd.ON: "on", PowerEnd.KEPT_ON: "kept on", PowerEnd.FAILED: "failed"}
    parts = [
        f"{text}: {', '.join(one.host for one in found)}" for end, text in words.items() if (found := report.of(end))
    ]
    saved = [one.saved_wh for one in report.outcomes if one.saved_wh]
    hours = sum(one.slept_h for one in report.outcomes)
    if hours:
        parts.append(f"{hours:.1f} h slept" + (f", {sum(saved):.0f} Wh saved" if saved else ""))
    return "; ".join(parts) or "no host to switch"


def outcome_words(one: PowerOutcome) -> str:
    """Return one host's end."""
    text = f"{one.host}: {one.end} after {one.seconds:.0f} s" if one.seconds else f"{one.host}: {one.end}"
    text += f", drew {one.watts:.0f} W before" if one.watts is not None else ""
    return f"{text}: {one.reason}" if one.reason else text


def markdown_power(report: PowerReport) -> str:
    """Return what became of each host."""
    lines = [f"# {power_headline(report)}", "", *(f"- {outcome_words(one)}" for one in report.outcomes)]
    return "\n".join(lines) + "\n"
