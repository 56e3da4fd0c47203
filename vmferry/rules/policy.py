"""Who may change what a rule does: the inventory for all runs, the operator for one run, nobody for final rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from vmferry.model.findings import Severity
from vmferry.rules.rule import Rule
from vmferry.rules.table import BY_ID

_ORDER = (Severity.IGNORE, Severity.WARN, Severity.BLOCK)


@dataclass(frozen=True)
class Policy:
    """`severities`: (rule, severity) of the inventory; `lifted`: rules whose blocks only warn in this run."""

    severities: tuple[tuple[str, Severity], ...] = ()
    lifted: tuple[str, ...] = ()

    @classmethod
    def of(cls, severities: Mapping[str, Severity], lifted: Iterable[str] = ()) -> Policy:
        """Return the policy; equal contents give equal, hashable policies."""
        return cls(tuple(sorted(severities.items())), tuple(sorted(set(lifted))))

    def weigh(self, rule: Rule, usual: Severity) -> tuple[Severity, bool]:
        """Return what a finding of `rule` does, and whether that is so because it was lifted.

        A final rule may be made stricter, never laxer, whatever the inventory or the request says: both are refused
        earlier (`check_severities`, `check_lifted`), and this is the second lock.
        """
        severity = dict(self.severities).get(rule.id, usual)
        if rule.is_final:
            return max(severity, usual, key=_ORDER.index), False
        if severity is Severity.BLOCK and rule.id in self.lifted:
            return Severity.WARN, True
        return severity, False


def check_severities(severities: Mapping[str, Severity]) -> tuple[tuple[str, str], ...]:
    """Return (rule, problem) for every entry of an inventory's `rules` that is not possible."""
    found = []
    for name, severity in severities.items():
        rule = BY_ID.get(name)
        if rule is None:
            found.append((name, _unknown(name)))
        elif rule.is_final and severity is not Severity.BLOCK and Severity.BLOCK in rule.weights.values():
            found.append((name, f"{name} cannot be set to {severity}: {_WHY_FINAL}"))
    return tuple(found)


def check_lifted(rules: Iterable[str]) -> tuple[str, ...]:
    """Return a problem for every rule that cannot be lifted: unknown, or final."""
    return tuple(
        _unknown(name) if name not in BY_ID else f"{name} cannot be lifted: {_WHY_FINAL}"
        for name in rules
        if name not in BY_ID or BY_ID[name].is_final
    )


_WHY_FINAL = "it guards against two copies, lost data or a host without room; remove the cause, see docs/rules.md"


def _unknown(name: str) -> str:
    near = get_close_matches(name, BY_ID, n=1)
    return f"there is no rule {name!r}" + (f"; did you mean {near[0]}?" if near else "; see docs/rules.md")
