"""Turning VMs on and off on one host, and asking what runs in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

import libvirt
import libvirt_qemu

T = TypeVar("T")
_AGENT_S = 5
_PING = '{"execute":"guest-ping"}'
# The guest has no agent, or it does not answer: no fault of the host.
_SILENT = (
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
    libvirt.VIR_ERR_AGENT_UNSYNCED,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_OPERATION_INVALID,
)


class PowerOfVms:
    """The part of `vmferry.ports.Hypervisor` that ends and begins a guest's work."""

    def _on_domain(self, what: str, uuid: UUID, act: Callable[[libvirt.virDomain], T], *, is_write: bool) -> T:
        raise NotImplementedError

    def shut_down(self, uuid: UUID) -> None:
        """Ask the guest to shut itself down, by its agent or by ACPI; no-op when it is off."""

        def act(domain: libvirt.virDomain) -> None:
            if domain.isActive():
                domain.shutdown()

        self._on_domain("shut down", uuid, act, is_write=True)

    def start(self, uuid: UUID) -> None:
        """Start a VM that is shut off; no-op when it is active."""

        def act(domain: libvirt.virDomain) -> None:
            if not domain.isActive():
                domain.create()

        self._on_domain("start", uuid, act, is_write=True)

    def ping_agent(self, uuid: UUID) -> bool:
        """Whether the agent in the guest answers."""

        def act(domain: libvirt.virDomain) -> bool:
            try:
                libvirt_qemu.qemuAgentCommand(domain, _PING, _AGENT_S, 0)
            except libvirt.libvirtError as error:
                if error.get_error_code() in _SILENT:
                    return False
                raise
            return True

        return self._on_domain("ping the agent of", uuid, act, is_write=False)
