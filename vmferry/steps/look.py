"""Look at both hosts: the only proof of where a VM is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from vmferry.model.base import Model
from vmferry.model.migration import MigrationPlan
from vmferry.model.sighting import Sighting
from vmferry.ports import World

_APART_S = 1.0
_RETRY_S = 2.0


class Pair(Model):
    """What both hosts show of one VM."""

    source: Sighting
    dest: Sighting

    @property
    def is_known(self) -> bool:
        """Whether both hosts answered."""
        return self.source.is_reachable and self.dest.is_reachable

    def words(self) -> str:
        """One line for messages: `kvm1: running; kvm2: absent`."""
        return f"{self.source.host}: {self.source.words()}; {self.dest.host}: {self.dest.words()}"


def look_once(plan: MigrationPlan, world: World) -> Pair:
    """Ask both hosts at the same time."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="look") as pool:
        dest = pool.submit(world.hypervisor(plan.dest).look, plan.uuid)
        return Pair(source=world.hypervisor(plan.source).look(plan.uuid), dest=dest.result())


def look_until_stable(plan: MigrationPlan, world: World, *, patience_s: float) -> Pair:
    """Look until two looks in a row, some time apart, agree and both hosts answered, or patience ends.

    After a fault the daemons need a moment to notice it: one look may show a state that is just going away.
    """
    waited = 0.0
    last = look_once(plan, world)
    while waited < patience_s:
        pause = _APART_S if last.is_known else _RETRY_S
        world.clock.sleep(pause)
        waited += pause
        seen = look_once(plan, world)
        if seen == last and seen.is_known:
            return seen
        last = seen
    return last
