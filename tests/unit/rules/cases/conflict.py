"""Cases of the rules in vmferry/rules/conflict.py."""

from __future__ import annotations

from tests.unit.builders import (
    build_uuid,
    build_vm,
)
from tests.unit.rules.cases.making import OFF_STATE, Makers, double, make, on

# rule → (cases with a finding, cases without)
CASES: dict[str, tuple[Makers, Makers]] = {
    "two-copies": (
        (double, lambda: make(third=(build_vm(),)), lambda: double(name="renamed")),
        (on, lambda: double(**OFF_STATE), lambda: make(third=(build_vm(**OFF_STATE),))),
    ),
    "stale-definition": (
        (lambda: double(**OFF_STATE), lambda: double(has_managed_save=True, **OFF_STATE)),
        (on, double, lambda: double(name="renamed", **OFF_STATE)),
    ),
    "uuid-taken": ((lambda: double(name="renamed", **OFF_STATE),), (on, lambda: double(**OFF_STATE))),
    "name-taken": (
        (lambda: make(dest={"vms": (build_vm("wanderer1", uuid=build_uuid("foreign")),)}),),
        (on, lambda: make(dest={"vms": (build_vm("foreign"),)})),
    ),
}
