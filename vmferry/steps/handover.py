"""Let the VM run at the destination as soon as its source is proved to be gone: before libvirt's own call returns.

libvirt kills the source's QEMU when the destination has the VM, and notices its end up to 200 ms later; until then it
answers nobody who asks for the domain. The end of the process itself is the stronger proof, and comes at once: what
has no process cannot be resumed, whatever becomes of any message. Where it is not seen in time, nothing is lost:
`steps.switch` looks at both hosts when libvirt's call has returned.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from vmferry.errors import VmferryError
from vmferry.model.migration import MigrationPlan
from vmferry.model.sighting import Sighting
from vmferry.model.transport import Switch
from vmferry.model.vm import DomainState
from vmferry.ports import World

logger = logging.getLogger("vmferry.steps")

# How long one command on the source waits for the end of QEMU, which follows the switch-over within tenths of a second.
_AWAIT_S = 10


def has_arrived(dest: Sighting) -> bool:
    """Whether the copy at the destination is whole and waits for us; it is paused (migrating) before."""
    return dest.state is DomainState.PAUSED and dest.reason == "user" and not dest.has_job


class Handover:
    """A context around the call that moves a VM; `resumed_at_s` is when the VM was let run, by time.monotonic().

    On leaving it, the VM was let run or will not be by this object any more.
    """

    def __init__(self, plan: MigrationPlan, world: World, resume: Callable[[MigrationPlan, World], None]) -> None:
        self._plan = plan
        self._world = world
        self._resume = resume
        self._deciding = threading.Lock()
        self._is_over = False
        self._stopped = threading.Event()
        self._cancel: Callable[[], None] | None = None
        self.resumed_at_s: float | None = None

    def __enter__(self) -> Self:
        if self._plan.switch is Switch.GUARDED and self._plan.must_run_after:
            self._cancel = self._world.hypervisor(self._plan.source).when_stopped(self._plan.uuid, self._stopped.set)
        if self._cancel is not None:
            threading.Thread(target=self._watch, name=f"handover-{self._plan.vm}", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._deciding:
            self._is_over = True
        self._stopped.set()
        if self._cancel is not None:
            self._cancel()

    def _watch(self) -> None:
        try:
            process = self._world.tools(self._plan.source).find_qemu(self._plan.vm, self._plan.uuid)
            self._stopped.wait()
            if process and not self._is_over:
                self.take(process)
        except VmferryError as error:
            logger.warning("run %s vm %s: no early hand-over: %s", self._plan.run, self._plan.vm, error)

    def take(self, process: str) -> None:
        """Wait for the end of the source's process, look at the destination, let the VM run there."""
        if not self._world.tools(self._plan.source).await_end(process, _AWAIT_S):
            return
        with self._deciding:
            if self._is_over or not has_arrived(self._world.hypervisor(self._plan.dest).look(self._plan.uuid)):
                return
            self._resume(self._plan, self._world)
            self.resumed_at_s = time.monotonic()
