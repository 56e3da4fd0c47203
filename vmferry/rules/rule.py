"""What a row of the rule table is: id, check, severities, source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from vmferry.model.findings import Finding, Severity
from vmferry.model.host import Profile
from vmferry.model.migration import MigrationMode
from vmferry.rules.case import Case

Check = Callable[[Case], Iterator[str]]
Weights = Mapping[tuple[Profile, MigrationMode], Severity]

RUNNING_MODES = (MigrationMode.LIVE, MigrationMode.NON_LIVE)


@dataclass(frozen=True)
class Rule:
    """One row: `check` yields a message per problem, `weights` say what such a message does to the move.

    A pair of profile and mode that `weights` lack is not judged. `is_final`: no option may ever lift it.
    """

    id: str
    check: Check
    weights: Weights
    source: str
    is_final: bool = False

    def severity(self, profile: Profile, mode: MigrationMode) -> Severity:
        """Return what a message of this rule does; IGNORE means that the rule is not asked."""
        return self.weights.get((profile, mode), Severity.IGNORE)

    def judge(self, case: Case, severity: Severity) -> list[Finding]:
        """Return the rule's findings; a rule that raises is a bug and blocks, it never passes silently."""
        try:
            messages = list(self.check(case))
        except Exception as error:
            severity = Severity.BLOCK
            messages = [
                f"rule {self.id} failed: {error!r} (vm {case.vm.name}, {case.source.name} → {case.dest.name}); "
                "this is a bug in vmferry, report it with the saved plan"
            ]
        if not messages:  # the common case, some ten thousand times in a large plan
            return []
        return [Finding(rule=self.id, severity=severity, message=m, source=self.source) for m in messages]


def _grid(modes: tuple[MigrationMode, ...], rhel8: Severity, upstream: Severity) -> Weights:
    severities = {Profile.RHEL8: rhel8, Profile.UPSTREAM: upstream}
    return {(profile, mode): severity for profile, severity in severities.items() for mode in modes}


def always(severity: Severity, *, upstream: Severity | None = None) -> Weights:
    """Weigh the same in every mode; `upstream` where that profile differs."""
    return _grid(tuple(MigrationMode), severity, upstream or severity)


def running(severity: Severity, *, upstream: Severity | None = None, offline: Severity | None = None) -> Weights:
    """Weigh live and non-live moves, and offline ones when `offline` is given."""
    rest = _grid((MigrationMode.OFFLINE,), offline, offline) if offline else {}
    return {**_grid(RUNNING_MODES, severity, upstream or severity), **rest}


def offline_only(severity: Severity) -> Weights:
    """Weigh offline moves only."""
    return _grid((MigrationMode.OFFLINE,), severity, severity)
