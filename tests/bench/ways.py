"""The ways to empty a host that are compared, each as the command that an operator would type."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.lab.lab import Lab
from tests.bench.lab_room import DESTS, SOURCE

_MIGRATE = "virsh -q migrate --live --persistent --p2p --undefinesource"
_LOOP = f"""
dests=("$@") n=0 failed=0
for vm in $(virsh -q list --name); do
  {_MIGRATE} "$vm" "${{dests[n++ % $#]}}" || failed=1
done
exit $failed
"""
_XARGS = f"""
dests=("$@") n=0
for vm in $(virsh -q list --name); do echo "$vm ${{dests[n++ % $#]}}"; done |
  xargs -P 4 -n 2 sh -c '{_MIGRATE} "$0" "$1"'
"""


@dataclass(frozen=True)
class Command:
    """What to run, and in which environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Way:
    """One way by its letter."""

    letter: str
    title: str
    command: Callable[[Lab, Path, int | None], Command]


def _vmferry(lab: Lab, room: Path, limit: int | None) -> Command:
    return vmferry_command(lab, room, limit, "evacuate", SOURCE, "--reason", "benchmark")


def vmferry_command(lab: Lab, room: Path, limit: int | None, *args: str) -> Command:
    """Return the real command line; its state outlives the rounds, as on an operator's machine.

    Python may keep byte code, in the bench's own directory, although `make bench` itself keeps none.
    """
    mine = ("VMFERRY_", "PREFECT_", "PYTHONDONTWRITEBYTECODE")
    env = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    env |= {
        "VMFERRY_INVENTORY": str(_inventory(lab, room, limit)),
        "VMFERRY_STATE_DIR": str(state_dir(room)),
        "PYTHONPYCACHEPREFIX": str(room / "pycache"),
    }
    vmferry = Path(sys.executable).with_name("vmferry")
    return Command((str(vmferry), "--json", *args), env)


def _inventory(lab: Lab, room: Path, limit: int | None) -> Path:
    """Return the lab's inventory, or a copy with other limits."""
    if limit is None:
        return lab.inventory_path
    text, count = re.subn(
        r"limits: \{.*\}", f"limits: {{outgoing: {limit}, incoming: {limit}}}", lab.inventory_path.read_text()
    )
    if not count:
        raise RuntimeError(f"{lab.inventory_path} has no limits to replace")
    copy = room / "inventory.yaml"
    copy.write_text(text)
    return copy


def state_dir(room: Path) -> Path:
    """Return where vmferry keeps journal, reports and Prefect's database during the bench."""
    return room / "state"


def _script(text: str) -> Callable[[Lab, Path, int | None], Command]:
    def command(lab: Lab, _room: Path, _limit: int | None) -> Command:
        """Return a script run on the source host; destinations take turns."""
        dests = [lab.hosts[name].peer_uri for name in DESTS]
        env = {"PATH": os.environ.get("PATH", ""), "HOME": "/root", "LC_ALL": "C"}
        return Command((*lab.hosts[SOURCE].enter, "bash", "-c", text, "evacuate", *dests), env)

    return command


VMFERRY = Way("a", "vmferry evacuate", _vmferry)
LOOP = Way("b", "shell loop of virsh migrate", _script(_LOOP))
XARGS = Way("c", "xargs -P4 of virsh migrate", _script(_XARGS))
WAYS = (VMFERRY, LOOP, XARGS)
