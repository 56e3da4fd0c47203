"""Where cells are tried: two real hosts, the world as vmferry sees it, and moves that can be stopped anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.migrate_vm import migrate_vm
from infra.lab import HostSpec, Lab, LabHost, LabSpec, take_down
from infra.lab.conditions import stoppable_starts
from tasks import _wiring
from tests.matrix.gate import Gate
from tests.prefect_side import PrefectServer
from vmferry.adapters.world import RealWorld, open_world
from vmferry.inventory import load_inventory
from vmferry.settings import read_settings

ROOT = Path(__file__).resolve().parents[2]
SOURCE, DEST = "kvm1", "kvm2"
DEST_IMAGES_MIB = 96
# Short, so that cells do not wait: of libvirt between the hosts, of vmferry towards them.
_KEEPALIVE = (1, 3)
_ENVIRONMENT = {
    "VMFERRY_SETTLE_PATIENCE_S": "8",
    "VMFERRY_CONNECT_TIMEOUT_S": "8",
    "VMFERRY_KEEPALIVE_INTERVAL_S": "1",
    "VMFERRY_KEEPALIVE_COUNT": "3",
    "VMFERRY_COPY_PATIENCE_S": "4",
    "VMFERRY_MOVE_STALL_S": "6",
}


class Missed(Exception):
    """The fault did not strike in its phase: the cell is to be tried again."""


@dataclass
class Stand:
    """Two hosts of a lab, one world."""

    lab: Lab
    prefect: PrefectServer

    @staticmethod
    def environment(state_dir: Path) -> dict[str, str]:
        """Return vmferry's settings for a stand; the journal is in `state_dir`."""
        return _ENVIRONMENT | {"VMFERRY_STATE_DIR": str(state_dir)}

    @property
    def source(self) -> LabHost:
        return self.lab.hosts[SOURCE]

    @property
    def dest(self) -> LabHost:
        return self.lab.hosts[DEST]

    @classmethod
    @contextmanager
    def up(cls, name: str, prefect: PrefectServer) -> Iterator[Stand]:
        """Give a stand; the environment that its moves need is to be set by the caller."""
        hosts = (HostSpec(name=SOURCE), HostSpec(name=DEST, local_size_mib=DEST_IMAGES_MIB))
        try:
            lab = Lab.up(LabSpec(name=name, hosts=hosts, listen_tcp=True, keepalive=_KEEPALIVE))
            with stoppable_starts(lab.hosts[DEST]):
                yield cls(lab, prefect)
        finally:
            take_down(name)

    @contextmanager
    def world(self, peer_scheme: str) -> Iterator[RealWorld]:
        """Let flows of this process use the lab, as a vmferry that has just been started."""
        opened = open_stand_world(str(self.lab.inventory_path), peer_scheme)
        with _wiring.use(opened):
            yield opened
        opened.close()

    def mend(self) -> None:
        """Put the hosts in order again."""
        for host in self.lab.hosts.values():
            host.link_up()
            host.cap_link(None)
            host.start_libvirtd()


def open_stand_world(inventory: str, peer_scheme: str) -> RealWorld:
    """Open the lab; with `qemu+tcp` the hosts' libvirts talk in the clear, so that a firewall can pick answers."""
    world = open_world(load_inventory(Path(inventory)), read_settings())
    if peer_scheme == "qemu+tcp":
        hosts = tuple(
            host.model_copy(update={"peer_uri": f"qemu+tcp://{host.migration_address}/system"})
            for host in world.inventory.hosts
        )
        world.inventory = world.inventory.model_copy(update={"hosts": hosts})
    return world


class OwnMove:
    """A move in this process."""

    def __init__(self, world: RealWorld, at: str) -> None:
        self._gate = Gate(world.journal, at=at)
        held: Any = self._gate
        world.journal = held
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._future: Future[object] = Future()

    def begin(self, vm: str) -> None:
        self._future = self._pool.submit(copy_context().run, lambda: migrate_vm(vm=vm, dest=DEST))

    @property
    def is_held(self) -> bool:
        return self._gate.reached.is_set()

    @property
    def is_over(self) -> bool:
        return self._future.done()

    def release(self) -> None:
        self._gate.open()

    def end(self, timeout_s: float) -> str:
        """Wait for the end; return what the flow returned or raised."""
        self.release()
        error = self._future.exception(timeout=timeout_s)
        return f"{type(error).__name__}: {error}" if error is not None else "moved"

    def close(self) -> None:
        self.release()
        self._pool.shutdown()


class OtherMove:
    """A move in a process of its own, which can be killed; it is started before it is needed: imports take seconds."""

    def __init__(self, stand: Stand, peer_scheme: str, at: str) -> None:
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.matrix.ferry"],
            cwd=ROOT,
            env=stand.prefect.environment() | {k: v for k, v in os.environ.items() if k.startswith("VMFERRY_")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._words = (str(stand.lab.inventory_path), peer_scheme, DEST, at)
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def begin(self, vm: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\t".join((vm, *self._words)) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._lines.extend(self._process.stdout)

    @property
    def is_held(self) -> bool:
        return "reached\n" in self._lines

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def release(self) -> None:
        """It is dead, or about to be."""

    def end(self, timeout_s: float) -> str:
        self.close()
        return "killed"

    def close(self) -> None:
        self.kill()
        self._reader.join()

    @property
    def said(self) -> str:
        return "".join(self._lines)


Move = OwnMove | OtherMove


def wait_until(is_true: Callable[[], bool], what: str, timeout_s: float = 60, pause_s: float = 0.02) -> None:
    """Look until something is so; raises AssertionError."""
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, f"not seen within {timeout_s:.0f} s: {what}"
        time.sleep(pause_s)
