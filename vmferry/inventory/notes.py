"""What an inventory may say, but an operator should know."""

from __future__ import annotations

from urllib.parse import urlsplit

from vmferry.model.host import Host, Inventory
from vmferry.model.transport import Encryption


def inventory_notes(inventory: Inventory) -> tuple[str, ...]:
    """Return one line per remark, in the order of the hosts; none of them forbids anything."""
    notes = [note for host in inventory.hosts for note in _host_notes(host)]
    notes += _group_notes(inventory)
    if len(inventory.hosts) == 1:
        notes.append("the inventory has one host: nothing can move; add another")
    return tuple(notes)


def _host_notes(host: Host) -> list[str]:
    notes = []
    if host.encryption is Encryption.NONE:
        notes.append(
            f"host {host.name}: encryption: none sends the memory of VMs as plain text to "
            f"{host.migration_address}; keep that network private, or use auto"
        )
    is_tunnel = host.encryption in (Encryption.TUNNELLED, Encryption.AUTO)
    if is_tunnel and urlsplit(host.peer_uri).scheme == "qemu+tcp":
        notes.append(
            f"host {host.name}: memory that is tunnelled to it goes through {host.peer_uri}, which is plain text"
        )
    if not host.storage:
        notes.append(
            f"host {host.name}: no storage is listed; disks of VMs that are shut off have no place to be copied to"
        )
    return notes


def _group_notes(inventory: Inventory) -> list[str]:
    members: dict[str, list[tuple[str, str]]] = {}
    for host in inventory.hosts:
        for storage in host.storage:
            if storage.shared is not None:
                members.setdefault(storage.shared, []).append((host.name, storage.path))
    notes = []
    for group, places in members.items():
        if len(places) == 1:
            notes.append(f"shared storage {group}: only {places[0][0]} lists it; is it missing on the others?")
        elif len({path.rstrip("/") for _, path in places}) > 1:
            shown = ", ".join(f"{path} on {name}" for name, path in places)
            notes.append(f"shared storage {group}: {shown}; to move between them a VM needs other disk paths")
    return notes
