"""The QEMU processes of a simulated host, by the ids that libvirt gives its running domains."""

from __future__ import annotations

from uuid import UUID

from vmferry.adapters.simulated.state import SimHost


def qemu_of(host: SimHost, uuid: UUID, name: str | None = None) -> str:
    """Return what tells the domain's QEMU from every other, those of its later starts included; empty without one."""
    domain = host.domains.get(uuid)
    if domain is None or not domain.is_active or name not in (None, domain.name):
        return ""
    return f"{uuid} {domain.id}"


def has_ended(host: SimHost, process: str) -> bool:
    """Whether that QEMU does not run any more."""
    return qemu_of(host, UUID(process.split()[0])) != process
