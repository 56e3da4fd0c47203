"""The inventory's `rules`: what a preflight rule does in this fleet, where it is to differ."""

from __future__ import annotations

from vmferry.inventory.located import Json
from vmferry.inventory.problems import Problem, did_you_mean
from vmferry.model.findings import Severity
from vmferry.rules.policy import check_severities

_PLACE = ("rules",)


def read_severities(value: Json) -> tuple[dict[str, Severity], list[Problem]]:
    """Return rule → severity, or all problems: unknown rule, unknown severity, a final rule that would be weakened."""
    if value is None:
        return {}, []
    if not isinstance(value, dict):
        text = f"{value!r} must be a mapping of rule and severity, for example `rules: {{guest-agent: block}}`"
        return {}, [Problem(path=_PLACE, text=text)]
    severities: dict[str, Severity] = {}
    problems: list[Problem] = []
    for name, word in value.items():
        try:
            severities[name] = Severity(str(word))
        except ValueError:
            problems.append(Problem(path=(*_PLACE, name), text=f"{word!r} is no severity; {_near(word)}"))
    problems += [Problem(path=(*_PLACE, name), text=text) for name, text in check_severities(severities)]
    return severities, problems


def _near(word: Json) -> str:
    return did_you_mean(str(word), [severity.value for severity in Severity])
