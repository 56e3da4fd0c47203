"""The inventory that a lab of whole machines writes for vmferry."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from infra.lab.machine.machine import Machine
from infra.lab.state import LabDir, LabState

_HOST = """\
  {name}:
    uri: {uri}
    peer_uri: {peer_uri}
    ssh: {{address: {name}, user: root}}
    migration_address: {address}
    hypervisors: [qemu]
    encryption: none
    site: lab
    profile: upstream
    convergence: suspend-if-needed
    reserves: {{memory_mib: 64}}
    power: {{driver: command, on: {on}, status: {status}}}
    storage:
      - {{path: /var/lib/libvirt/images}}
"""
_ROOT = Path(__file__).resolve().parents[3]


def inventory_text(directory: LabDir, state: LabState, machines: list[Machine]) -> str:
    """Write the inventory of a lab's machines as YAML; images are on each machine's own disk, until they are shared."""

    def power(act: str, name: str, *more: str) -> str:
        """The lab's own power switch, as an operator would write one."""
        program = ["env", f"PYTHONPATH={_ROOT}", sys.executable, "-m", "infra.lab"]
        return json.dumps([*program, "power", act, name, "--name", directory.name, *more])

    entries = (
        _HOST.format(
            name=one.name,
            uri=one.uri,
            peer_uri=one.peer_uri,
            address=one.address,
            on=power("on", one.name, "--no-wait"),
            status=power("status", one.name),
        )
        for one in machines
    )
    plain = f"plain_networks: [10.77.{state.index}.0/24]"
    # `convergence` above: a guest emulated inside such a kernel may write faster than its network carries.
    # On a busy machine a port that refuses does so after more than the three seconds that a probe waits.
    rules = "rules: {migration-ports: warn}"
    return f"ssh_config: {directory.path}/ssh_config\n{plain}\n{rules}\nhosts:\n" + "".join(entries)
