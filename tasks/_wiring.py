"""Build the world from settings: the only importer of vmferry.adapters, and the seam for tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import cast

from vmferry.adapters.heir import Heir
from vmferry.adapters.prefect_server import EmbeddedServer
from vmferry.adapters.world import open_world
from vmferry.errors import InventoryError
from vmferry.inventory import load_inventory
from vmferry.ports import World
from vmferry.ports.power import PowerWorld
from vmferry.ports.sharing import ShareWorld
from vmferry.settings import Settings, read_settings

# One world per process: tasks run on many threads of one flow run and share its connections.
_stack: list[World] = []


def embedded_server(log: Path) -> EmbeddedServer:
    """Return the Prefect server of the command line, not yet started."""
    return EmbeddedServer(log)


def heir(inventory: str | None) -> AbstractContextManager[object]:
    """Return the context in which this process has an heir; without effect where no Prefect runner may kill it."""
    if "PREFECT__FLOW_RUN_ID" not in os.environ:
        return nullcontext()
    return Heir(_file(inventory), read_settings().state_dir / "heir.log")


def settings() -> Settings:
    """Return the environment's settings."""
    return read_settings()


@contextmanager
def wired(inventory: str | None = None) -> Iterator[World]:
    """Open the world of an inventory file for the duration of the block; a world already in use is kept."""
    if _stack:
        yield _stack[-1]
        return
    world = _open(inventory)
    with use(world):
        try:
            yield world
        finally:
            world.close()


@contextmanager
def use(world: World) -> Iterator[World]:
    """Let the tasks of this process use this world: tests give the simulated fleet."""
    _stack.append(world)
    try:
        yield world
    finally:
        _stack.remove(world)


def share_world() -> ShareWorld:
    """Return the world in use, for what configures hosts."""
    return cast(ShareWorld, _stack[-1])


def power_world() -> PowerWorld:
    """Return the world in use, for what switches hosts."""
    return cast(PowerWorld, _stack[-1])


def world() -> World:
    """Return the world in use."""
    return _stack[-1]


def _open(inventory: str | None) -> World:
    current = read_settings()
    path = _file(inventory or current.inventory)
    if path is None:
        raise InventoryError(
            "no inventory given: use `--inventory FILE`, the environment variable VMFERRY_INVENTORY or the flow's "
            "parameter `inventory`; deployments/inventory.example.yaml shows the form"
        )
    return open_world(load_inventory(path), current)


def _file(inventory: str | Path | None) -> str | None:
    """Return the path of an inventory; one that is a block of Prefect's is written to a file first."""
    if inventory is None or not str(inventory).startswith("block/"):
        return None if inventory is None else str(inventory)
    from tasks.blocks import PREFIX, inventory_file  # Prefect is imported late

    return str(inventory_file(str(inventory).removeprefix(PREFIX), read_settings().state_dir))
