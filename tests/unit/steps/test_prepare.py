"""What is asked of the destination before a plan is made."""

from __future__ import annotations

import pytest

from tests.unit.builders import IMAGES, build_fleet, build_vm
from vmferry.model.migration import DomainChanges, MigrationRequest
from vmferry.planning.single import plan_vm
from vmferry.steps.prepare import moved_paths

DEBIAN, FEDORA = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/edk2/ovmf/OVMF_CODE.fd"
REQUEST = MigrationRequest(vm="a", dest="dest-1")


def test_a_disk_that_gets_another_path_is_looked_for_there() -> None:
    there = f"{IMAGES}/other.qcow2"
    request = REQUEST.model_copy(update={"changes": DomainChanges(disk_sources={"vda": there})})
    assert moved_paths(plan_vm(build_fleet([build_vm("a")]), request)) == {f"{IMAGES}/a.qcow2": there}


@pytest.mark.parametrize(
    ("here", "there", "moved"),
    [
        (DEBIAN, FEDORA, {DEBIAN: FEDORA}),
        (DEBIAN, DEBIAN, {}),
        (DEBIAN, "efi", {}),
        ("efi", FEDORA, {}),
        (None, None, {}),
    ],
)
def test_a_loader_that_the_operators_xml_names_is_looked_for_there(
    here: str | None, there: str | None, moved: dict[str, str]
) -> None:
    vm = build_vm("a", firmware=here)
    decision = plan_vm(build_fleet([vm]), REQUEST, vm.model_copy(update={"firmware": there}))
    assert moved_paths(decision) == moved
