"""Blocks for teams that keep inventory and keys in Prefect: a worker then needs no file of its own.

`inventory` of any flow takes `block/NAME` instead of a path. Files are made of it on the worker, for this user alone.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from vmferry.errors import InventoryError

PREFIX = "block/"


class VmferryCredentials(Block):
    """How vmferry reaches the hosts: a key of its own, and the host keys that it may trust."""

    _block_type_name = "vmferry credentials"
    _block_type_slug = "vmferry-credentials"

    ssh_private_key: SecretStr = Field(title="ssh private key", description="Text of the key file, without passphrase.")
    known_hosts: str = Field(
        title="Known hosts", description="Lines of ssh-keyscan that you have compared. No other host key is accepted."
    )


class VmferryInventory(Block):
    """The hosts that vmferry may touch, as in the inventory file."""

    _block_type_name = "vmferry inventory"
    _block_type_slug = "vmferry-inventory"

    inventory: str = Field(title="Inventory", description="Text of the inventory file (YAML).")
    credentials: VmferryCredentials | None = Field(
        default=None, title="Credentials", description="Empty: the worker's own ssh keys and known hosts."
    )


BLOCKS: tuple[type[Block], ...] = (VmferryCredentials, VmferryInventory)


def inventory_file(name: str, state_dir: Path) -> Path:
    """Write what the block holds below the state directory, readable for this user alone; return the inventory's path.

    Raises InventoryError when there is no such block.
    """
    try:
        block: Any = VmferryInventory.load(name)
    except ValueError as error:
        raise InventoryError(
            f"inventory {PREFIX}{name}: there is no block vmferry-inventory/{name}; make it in the UI (Blocks), or "
            "give the path of a file"
        ) from error
    return write_files(block, state_dir / "blocks" / name)


def write_files(block: VmferryInventory, place: Path) -> Path:
    """Write inventory, key, known hosts and ssh_config; what another process reads meanwhile is replaced at once."""
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = block.inventory
    if block.credentials is not None:
        key, known, config = place / "id", place / "known_hosts", place / "ssh_config"
        _write(key, block.credentials.ssh_private_key.get_secret_value().rstrip("\n") + "\n")
        _write(known, block.credentials.known_hosts.rstrip("\n") + "\n")
        lines = [f"IdentityFile {key}", "IdentitiesOnly yes", f"UserKnownHostsFile {known}"]
        _write(config, "\n".join(["Host *", *(f"  {line}" for line in lines)]) + "\n")
        text = f"ssh_config: {config}\n{text}"
    return _write(place / "inventory.yaml", text)


def _write(path: Path, text: str) -> Path:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)  # mode 0600
    shutil.move(file.name, path)
    os.chmod(path, 0o600)  # noqa: PTH101
    return path
