"""Who may work on a run that another process began: the next one, when that process is dead."""

from __future__ import annotations

from datetime import timedelta

from vmferry.domxml.marks import marks_of
from vmferry.errors import NotFound, VmferryError
from vmferry.model.journal import RunRecord
from vmferry.model.mark import is_over
from vmferry.ports import World
from vmferry.steps.marks import lease_s


def take_over(record: RunRecord, world: World) -> bool:
    """Become the owner of an unsettled run; False when its owner lives, or may live.

    A process of this machine can be asked for. One of another machine is taken for dead when it has written nothing for
    longer than its lease, neither into the journal nor into the VM's mark, and both hosts were read to know that. If
    it lives after all, it finds that it has lost the run before its next act: nothing is done without a row.
    """
    if world.journal.take_over(record.run):
        return True
    return _is_lease_over(record, world) and world.journal.take_over(record.run, lost_owner=record.owner)


def _is_lease_over(record: RunRecord, world: World) -> bool:
    plan, now = record.plan, world.clock.now()
    last_at = max((record.opened_at, *(row.at for row in world.journal.rows(record.run))))
    if not is_over(last_at + timedelta(seconds=lease_s(plan)), now):
        return False
    for host in (plan.source, plan.dest):
        try:
            marks = marks_of(world.hypervisor(host).read_xml(plan.uuid, is_inactive=False))
        except NotFound:
            continue
        except VmferryError:
            return False  # the owner may still reach the host that is silent to us
        if any(mark.run == record.run and not mark.is_stale(now) for mark in marks):
            return False
    return True
