"""Cases of the rules in vmferry/rules/marks.py."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.unit.builders import build_uuid, build_vm
from tests.unit.rules.cases.making import SOURCE, Makers, make, on
from vmferry.model.mark import SKEW_S, VmMark
from vmferry.rules.case import Case

RUN = "20250101-000000-0000abcd"


def mark(until: datetime) -> VmMark:
    """The mark of another vmferry's run."""
    since = until - timedelta(minutes=20)
    return VmMark(run=RUN, owner="ops@mgmt2:4711:99", source=SOURCE, dest="third-example", since=since, until=until)


def ending(seconds: float, **given: object) -> Case:
    """A VM whose mark ends so long after its host was read."""
    read_at = on().source.facts.read_at
    return on(marks=(mark(read_at + timedelta(seconds=seconds)),), **given)


def ours() -> Case:
    """A VM whose mark is of a run that our own journal knows."""
    vm = build_vm(marks=ending(60).vm.marks)
    return make(vm, open_runs={str(build_uuid(vm.name)): RUN})


# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "vm-marked": (
        (
            lambda: ending(60),
            lambda: ending(-SKEW_S + 1),  # over by our clock, perhaps not by its owner's
            lambda: ending(-86400, has_active_job=True),
        ),
        (on, lambda: ending(-SKEW_S - 1), ours),
    ),
    "stale-mark": (
        (lambda: ending(-SKEW_S - 1),),
        (on, lambda: ending(60), lambda: ending(-86400, has_active_job=True)),
    ),
}
