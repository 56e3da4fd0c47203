"""What ends a move whose disk mirror hangs on a dead link: QMP `yank`.

Measured on libvirt 9.0, QEMU 7.2: the migrate call never returns, abortJob is accepted and changes nothing, since the
block job waits for an answer of the NBD server; `yank` closes these connections, and the call ends at once. The
monitor command taints the domain ("custom-monitor"), which only libvirt's log shows.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import libvirt
import libvirt_qemu

from vmferry.adapters.libvirt_calls import bounded, text_of
from vmferry.model.migration import MigrationPlan

logger = logging.getLogger("vmferry.libvirt")

_CALL_S = 15.0


def yank(plan: MigrationPlan, control: libvirt.virConnect) -> str:
    """Close the connections of this migration and of its mirrored disks; return what was done, or why not.

    Never those of the VM's own disks on network storage: only the nodes that libvirt made for the mirror are named.
    """
    try:
        return bounded(lambda: _yank(plan, control), _CALL_S)
    except TimeoutError as error:
        return f"QEMU's monitor did not answer: {error}"
    except (libvirt.libvirtError, ValueError, KeyError) as error:
        return f"not yanked: {text_of(error) if isinstance(error, libvirt.libvirtError) else error}"


def _yank(plan: MigrationPlan, control: libvirt.virConnect) -> str:
    domain = control.lookupByUUID(plan.uuid.bytes)
    ours = _ours(plan, _ask(domain, "query-yank"))
    if not ours:
        return "QEMU has no connection of this move to close"
    logger.warning("vm %s: yank %s", plan.vm, ours)
    _ask(domain, "yank", {"instances": ours})
    return f"QEMU's connections of the move were closed (yank of {', '.join(map(_words, ours))})"


def _ours(plan: MigrationPlan, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the instances of this move (libvirt: qemuMigrationSrcNBDStorageCopyBlockdev, migration-TARGET-storage)."""
    nodes = {f"migration-{disk.target}-{layer}" for disk in plan.disks for layer in ("storage", "format")}
    return [i for i in instances if i.get("type") == "migration" or i.get("node-name") in nodes]


def _words(instance: dict[str, Any]) -> str:
    return str(instance.get("node-name") or instance["type"])


def _ask(domain: libvirt.virDomain, command: str, arguments: dict[str, Any] | None = None) -> Any:
    message = {"execute": command} | ({"arguments": arguments} if arguments else {})
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, json.dumps(message), 0))
    if "error" in answer:
        raise ValueError(answer["error"].get("desc", "QMP error"))
    return answer["return"]
