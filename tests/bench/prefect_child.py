"""One measured evacuation of a simulated host in its own process: `python -m tests.bench.prefect_child VMS bare|flow`.

`bare` does the same moves by the same functions without Prefect. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import Any

PER_HOST_MIB = 1200  # memory that a VM of 1 GiB takes on its destination, and some


def main() -> None:
    """Measure and print."""
    vms, way = int(sys.argv[1]), sys.argv[2]
    from vmferry.adapters.journal import SqlJournal
    from vmferry.adapters.simulated import SimulatedFleet

    fleet = SimulatedFleet.of("kvm1", "kvm2", "kvm3", memory_mib=16384 + vms * PER_HOST_MIB, cpus=64 + vms)
    for number in range(vms):
        fleet.add_vm("kvm1", f"vm{number:04}")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as room:
        journal = SqlJournal(f"sqlite:///{room}/journal.db", owner="bench", is_alive=lambda _owner: False)
        measured = (_bare if way == "bare" else _flow)(fleet.world(journal=journal))
        left = len(fleet.hosts["kvm1"].domains)
        journal.close()
    print(json.dumps({"vms": vms, "way": way, "left": left, **measured}))


def _flow(world: Any) -> dict[str, Any]:
    from flows.evacuate_host import evacuate_host
    from tasks import _wiring

    with _requests() as requests, _wiring.use(world):
        begun, cpu = time.monotonic(), time.process_time()
        state = evacuate_host("kvm1", max_parallel=8, return_state=True)
        seconds, cpu_s = time.monotonic() - begun, time.process_time() - cpu
    _drain()
    return {"seconds": seconds, "cpu_s": cpu_s, "state": str(state.name), **requests}


def _bare(world: Any) -> dict[str, Any]:
    """Plan and move by the functions that the tasks call."""
    from tasks import _wiring
    from vmferry.model.evacuation import EvacuationRequest
    from vmferry.model.migration import MigrationRequest, OutcomeKind
    from vmferry.planning.placement import destinations, plan_evacuation
    from vmferry.planning.replay import replay
    from vmferry.planning.single import plan_vm
    from vmferry.steps.foresee import with_forecasts
    from vmferry.steps.forward import run_step
    from vmferry.steps.names import StepName
    from vmferry.steps.prepare import make_plan
    from vmferry.steps.read import read_fleet
    from vmferry.steps.read_dirty import read_ways
    from vmferry.steps.recover import close

    with _wiring.use(world):
        begun, cpu = time.monotonic(), time.process_time()
        request = EvacuationRequest(host="kvm1", max_parallel=8)
        snapshot = read_fleet(world)
        facts = snapshot.facts("kvm1")
        assert facts is not None
        snapshot = read_ways(world, snapshot, "kvm1", destinations(snapshot, request), facts.vms)
        plan = plan_evacuation(snapshot, request)
        assert not replay(plan)
        for move in with_forecasts(plan, 8).moves:
            asked = MigrationRequest(vm=move.uuid, source=move.source, dest=move.dest, mode=move.mode)
            made = make_plan(plan_vm(snapshot, asked), asked, snapshot)
            world.journal.open_run(made)
            for step in StepName:
                run_step(made.run, step, world)
            close(world.journal.find(made.run), world, OutcomeKind.MOVED)
        return {"seconds": time.monotonic() - begun, "cpu_s": time.process_time() - cpu}


@contextmanager
def _requests() -> Any:
    """Count requests and what their bodies hold; events travel by a websocket and are counted in the database."""
    import httpx

    count = {"requests": 0, "sent_bytes": 0}
    plain, waiting = httpx.Client.send, httpx.AsyncClient.send

    def note(request: httpx.Request) -> None:
        count["requests"] += 1
        count["sent_bytes"] += int(request.headers.get("content-length", 0))

    def send(self: Any, request: httpx.Request, *args: Any, **given: Any) -> Any:
        note(request)
        return plain(self, request, *args, **given)

    async def send_async(self: Any, request: httpx.Request, *args: Any, **given: Any) -> Any:
        note(request)
        return await waiting(self, request, *args, **given)

    httpx.Client.send, httpx.AsyncClient.send = send, send_async  # type: ignore[method-assign]
    try:
        yield count
    finally:
        httpx.Client.send, httpx.AsyncClient.send = plain, waiting  # type: ignore[method-assign]


def _drain() -> None:
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=120)


if __name__ == "__main__":
    main()
