"""Rolls as lines and as markdown."""

from __future__ import annotations

from vmferry.model.roll import HostRoll, RollReport
from vmferry.reporting.markdown import escape, table

ROLL_HEAD = ("host", "stage", "moved", "returned", "what is wrong")


def roll_cells(host: HostRoll) -> tuple[str, ...]:
    """Return one table row, in the order of ROLL_HEAD."""
    return (
        host.host,
        str(host.stage),
        str(host.moved),
        str(host.returned),
        "; ".join((host.reason, *host.notes)).strip("; "),
    )


def markdown_roll(report: RollReport) -> str:
    """Return the whole report: headline, hosts, what their work said."""
    parts = [f"# {escape(report.headline)}", table(ROLL_HEAD, (roll_cells(host) for host in report.hosts))]
    for host in report.hosts:
        if host.output:
            parts += [
                f"## What the work on {escape(host.host)} said",
                "```text\n" + host.output.replace("```", "") + "\n```",
            ]
    return "\n\n".join(part for part in parts if part) + "\n"


def roll_commands(report: RollReport) -> tuple[str, ...]:
    """Return what an operator types next."""
    if report.is_done:
        return ()
    commands = ["vmferry recover"] if report.stopped.startswith("HELD") else []
    return (*commands, "vmferry roll --resume   # when the host is well")
