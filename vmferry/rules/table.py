"""All rules, by subject, in the order of reports; ids are stable: reports and journals outlive the code."""

from __future__ import annotations

from collections.abc import Mapping

from vmferry.model.host import Profile
from vmferry.model.migration import MigrationMode
from vmferry.rules import (
    compat,
    conflict,
    copying,
    cpu,
    devices,
    guest,
    hostbound,
    hosts,
    loss,
    marks,
    mirroring,
    network,
    pace,
    postcopy,
    reach,
    release_rules,
    room,
    state,
    storage,
    transport,
)
from vmferry.rules.rule import Rule

# A new rule is one function and one row in the file of its subject.
SUBJECTS: Mapping[str, tuple[Rule, ...]] = {
    "hosts": hosts.RULES,
    "the way between them": reach.RULES,
    "how memory travels": transport.RULES,
    "the guest": guest.RULES,
    "the VM's state": state.RULES,
    "other vmferrys": marks.RULES,
    "names": conflict.RULES,
    "releases": release_rules.RULES,
    "compatibility": compat.RULES,
    "CPU": cpu.RULES,
    "pace": pace.RULES,
    "post-copy": postcopy.RULES,
    "room": room.RULES,
    "storage": storage.RULES,
    "files to copy": copying.RULES,
    "disks to mirror": mirroring.RULES,
    "network": network.RULES,
    "devices": devices.RULES,
    "other ties to the host": hostbound.RULES,
}
RULES: tuple[Rule, ...] = tuple(rule for rules in SUBJECTS.values() for rule in rules)
# With those that are never asked of a move: the inventory and the operator may name them too.
BY_ID: Mapping[str, Rule] = {rule.id: rule for rule in (*RULES, *loss.RULES)}


def _cell(rule: Rule, profile: Profile) -> str:
    cells = (rule.weights.get((profile, mode)) for mode in MigrationMode)
    return " / ".join("–" if cell is None else str(cell) for cell in cells)


def _first_line(rule: Rule) -> str:
    return (rule.check.__doc__ or "").strip().splitlines()[0]


def render_rules() -> str:
    """Return all rules as markdown tables, one per subject, severities as live / non-live / offline."""
    subjects = {**SUBJECTS, "only when a host is lost": loss.RULES}
    return "\n".join(f"## {name[0].upper()}{name[1:]}\n\n{_render(rules)}" for name, rules in subjects.items())


def _render(rules: tuple[Rule, ...]) -> str:
    columns = ("rule", "what holds", "rhel8", "upstream", "host lost", "may be lifted", "source")
    head = f"| {' | '.join(columns)} |\n" + "|---" * len(columns) + "|\n"
    rows = (
        f"| `{r.id}` | {_first_line(r)} | {_cell(r, Profile.RHEL8)} | {_cell(r, Profile.UPSTREAM)} | "
        f"{r.after_loss or '–'} | {'never' if r.is_final else 'yes'} | {r.source} |\n"
        for r in rules
    )
    return head + "".join(rows)
