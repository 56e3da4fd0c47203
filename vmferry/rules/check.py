"""Judge one move by all rules."""

from __future__ import annotations

from functools import cache

from vmferry.model.findings import Finding, PreflightReport, Severity
from vmferry.model.host import Profile
from vmferry.model.migration import MigrationMode
from vmferry.rules.case import Case
from vmferry.rules.rule import Rule
from vmferry.rules.table import RULES


@cache
def _asked(profile: Profile, mode: MigrationMode) -> tuple[tuple[Rule, Severity], ...]:
    weighed = ((rule, rule.severity(profile, mode)) for rule in RULES)
    return tuple((rule, severity) for rule, severity in weighed if severity is not Severity.IGNORE)


def check_move(case: Case) -> PreflightReport:
    """Return the findings of all rules, in the order of the table; no rule sees another's finding.

    Pure and total: a rule that raises becomes a blocking finding.
    """
    findings: list[Finding] = []
    for rule, severity in _asked(case.profile, case.mode):
        findings.extend(rule.judge(case, severity))
    return PreflightReport(
        vm=case.vm.name,
        source=case.source.name,
        dest=case.dest.name,
        mode=case.mode,
        findings=tuple(findings),
    )
