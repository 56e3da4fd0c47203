"""What a row of the rule table is: id, check, severities, scope, source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from vmferry.model.findings import Finding, Severity
from vmferry.model.host import Profile
from vmferry.model.migration import MigrationMode
from vmferry.model.vm import Vm
from vmferry.rules.case import Case

Check = Callable[[Case], Iterator[str]]
Concern = Callable[[Vm], bool]
Weights = Mapping[tuple[Profile, MigrationMode], Severity]

RUNNING_MODES = (MigrationMode.LIVE, MigrationMode.NON_LIVE)


class Scope(StrEnum):
    """What a rule's answer depends on besides mode and profile: it is asked again only when that changes."""

    VM = "vm"  # the VM and its source: also judged by `vmferry inspect`, from the XML alone
    HOSTS = "hosts"  # the two hosts and what they see of each other
    MOVE = "move"  # all of it


@dataclass(frozen=True)
class Rule:
    """One row: `check` yields a message per problem, `weights` say what such a message does to the move.

    A pair of profile and mode that `weights` lack is never judged; one that they give as IGNORE is judged only where
    the inventory's policy says so. `is_final`: neither policy nor operator may lift it, as it guards against two
    copies or lost data. `after_loss`: what a message does when the source is dead and its VM is to be started on the
    destination; None: it does not matter then (vmferry.rules.loss). `concerns` False: the rule says nothing of such a
    VM, whatever the hosts are, when nothing is changed for the destination; None: it may (vmferry.rules.concerns).
    """

    id: str
    check: Check
    weights: Weights
    source: str
    scope: Scope = Scope.MOVE
    is_final: bool = False
    after_loss: Severity | None = None
    concerns: Concern | None = None

    def severity(self, profile: Profile, mode: MigrationMode) -> Severity:
        """Return what a message of this rule does when no policy says otherwise."""
        return self.weights.get((profile, mode), Severity.IGNORE)

    def may_concern(self, vm: Vm) -> bool:
        """Whether the rule may have something to say of the VM; where that fails it is asked, and tells so itself."""
        try:
            return self.concerns is None or self.concerns(vm)
        except Exception:
            return True

    def judge(self, case: Case, severity: Severity, *, is_lifted: bool = False) -> list[Finding]:
        """Return the rule's findings; a rule that raises is a bug and blocks, it never passes silently."""
        found: list[Finding] = []
        try:
            for message in self.check(case):
                found.append(self.finding(message, severity, is_lifted=is_lifted))
        except Exception as error:
            found.append(self.failed(case, error))
        return found

    def finding(self, message: str, severity: Severity, *, is_lifted: bool = False) -> Finding:
        """Return one finding of this rule."""
        return Finding(rule=self.id, severity=severity, message=message, source=self.source, is_lifted=is_lifted)

    def failed(self, case: Case, error: Exception) -> Finding:
        """Return the finding of a rule that raised; nothing lifts it."""
        message = (
            f"rule {self.id} failed: {error!r} (vm {case.vm.name}, {case.source.name} → {case.dest.name}); "
            "this is a bug in vmferry, report it with the saved plan"
        )
        return self.finding(message, Severity.BLOCK)


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


# What ties a running guest to the source: offline, the definition can move and be adapted on the destination.
DEVICE = running(Severity.BLOCK, offline=Severity.WARN)
