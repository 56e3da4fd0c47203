"""A vmferry process that is there to be killed: moves one VM as a flow, and waits at a row of its journal.

What it is to do comes as one line on stdin, so that it is ready by then.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from flows.migrate_vm import migrate_vm
from tasks import _wiring
from tests.matrix.gate import Gate
from tests.matrix.stand import open_stand_world


def main(vm: str, inventory: str, peer_scheme: str, dest: str, at: str) -> None:
    world = open_stand_world(inventory, peer_scheme)
    gate = Gate(world.journal, at=at)
    threading.Thread(target=_tell, args=(gate,), daemon=True).start()
    held: Any = gate
    world.journal = held
    with _wiring.use(world):
        migrate_vm(vm=vm, dest=dest)


def _tell(gate: Gate) -> None:
    gate.reached.wait()
    print("reached", flush=True)


if __name__ == "__main__":
    main(*sys.stdin.readline().rstrip("\n").split("\t"))
