"""Contract of Hypervisor: marks of runs in a domain's XML."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from lxml import etree

from tests.contract.contract_fleet import DEST, SOURCE, FleetUnderTest, ignore, plan_of
from vmferry.domxml.marks import marks_of
from vmferry.errors import NotFound
from vmferry.model.mark import VmMark
from vmferry.model.vm import DomainState

NOBODY = UUID("00000000-0000-4000-8000-000000000001")
SINCE = datetime(2025, 1, 1, tzinfo=UTC)


def mark(run: str = "contract", minutes: int = 15) -> VmMark:
    until = SINCE + timedelta(minutes=minutes)
    return VmMark(run=run, owner="ops@mgmt1:1:2", source=SOURCE, dest=DEST, since=SINCE, until=until)


def written(fleet: FleetUnderTest, uuid: UUID, host: str = SOURCE) -> tuple[VmMark, ...]:
    """Return the marks in both definitions of a domain, which are the same."""
    hypervisor = fleet.world.hypervisor(host)
    live, persistent = (marks_of(hypervisor.read_xml(uuid, is_inactive=is_inactive)) for is_inactive in (False, True))
    assert live == persistent
    vm = hypervisor.read_host().find_vm(str(uuid))
    assert vm is not None and vm.marks == live
    return live


def same(xml: str) -> str:
    """Return XML in the one form that equal documents have; an empty <metadata/> stays where libvirt made one."""
    return str(etree.canonicalize(xml, strip_text=True)).replace("<metadata></metadata>", "")


@pytest.mark.parametrize(
    ("state", "is_persistent"),
    [
        (DomainState.RUNNING, True),
        (DomainState.RUNNING, False),
        (DomainState.SHUTOFF, True),
        (DomainState.PAUSED, True),
    ],
)
def test_marks_of_several_runs_stand_side_by_side_and_leave_the_rest_of_the_xml_alone(
    fleet: FleetUnderTest, state: DomainState, is_persistent: bool
) -> None:
    uuid = fleet.make_vm("contract", state=state, is_persistent=is_persistent)
    hypervisor = fleet.world.hypervisor(SOURCE)
    before = hypervisor.read_xml(uuid, is_inactive=True)
    hypervisor.mark(uuid, mark())
    assert hypervisor.mark(uuid, mark("other")) == (mark(), mark("other")) == written(fleet, uuid)
    assert hypervisor.mark(uuid, mark(minutes=30)) == (mark(minutes=30), mark("other"))
    for run in ("other", "contract", "contract"):
        hypervisor.unmark(uuid, run)
    assert written(fleet, uuid) == ()
    assert same(hypervisor.read_xml(uuid, is_inactive=True)) == same(before)
    assert hypervisor.look(uuid).state is state


def test_a_mark_travels_with_its_vm(fleet: FleetUnderTest) -> None:
    uuid = fleet.make_vm("contract")
    source, dest = (fleet.world.hypervisor(host) for host in (SOURCE, DEST))
    source.mark(uuid, mark())
    source.migrate(plan_of(fleet, uuid), ignore)
    assert written(fleet, uuid, DEST) == (mark(),)
    dest.unmark(uuid, "contract")
    source.unmark(uuid, "contract")
    assert written(fleet, uuid, DEST) == () == written(fleet, uuid)


def test_a_vm_that_is_not_there_cannot_be_marked_and_has_no_mark_to_lose(fleet: FleetUnderTest) -> None:
    hypervisor = fleet.world.hypervisor(SOURCE)
    with pytest.raises(NotFound):
        hypervisor.mark(NOBODY, mark())
    hypervisor.unmark(NOBODY, "contract")


def test_a_mark_is_put_on_a_host_only_where_the_expected_one_stands(fleet: FleetUnderTest) -> None:
    tools = fleet.world.tools(SOURCE)
    text = '{"owner": "ops\'s $HOME `id` ü"}'
    try:
        assert tools.swap_mark("", text) == text == tools.read_system().mark
        assert tools.swap_mark("", "mine") == text == tools.swap_mark("other", "mine")
        assert tools.swap_mark(text, "mine") == "mine" == tools.read_system().mark
        assert fleet.world.tools(DEST).read_system().mark == ""
    finally:
        assert tools.swap_mark("mine", "") == "" == tools.read_system().mark


def test_of_many_that_mark_a_host_at_once_one_wins(fleet: FleetUnderTest) -> None:
    tools = fleet.world.tools(SOURCE)
    with ThreadPoolExecutor(max_workers=6) as pool:
        seen = set(pool.map(lambda name: tools.swap_mark("", name), "abcdef"))
    assert len(seen) == 1 and tools.swap_mark(seen.pop(), "") == ""
