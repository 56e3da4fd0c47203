"""Events of one host's domains, for whoever waits for them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import libvirt

from vmferry.adapters.libvirt_calls import bounded, text_of

logger = logging.getLogger("vmferry.libvirt")

_CALL_S = 5.0
_STOPPED = (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED)


class StopEvents:
    """Who is to be called when a domain's CPUs are stopped for a switch-over, by UUID.

    One registration for all domains of a connection: libvirt refuses a second one for the same domain and event
    ("event callback already tracked"), and a running migration has its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._acts: dict[UUID, Callable[[], None]] = {}
        self._connection: libvirt.virConnect | None = None

    def when_stopped(
        self, connection: libvirt.virConnect, uuid: UUID, act: Callable[[], None]
    ) -> Callable[[], None] | None:
        """Call `act` in libvirt's event loop; return what ends that, None where the event cannot be had."""
        with self._lock:
            try:
                self._register(connection)
            except (libvirt.libvirtError, TimeoutError) as error:
                logger.debug("no events: %s", text_of(error) if isinstance(error, libvirt.libvirtError) else error)
                return None
            self._acts[uuid] = act
        return lambda: self._forget(uuid)

    def _register(self, connection: libvirt.virConnect) -> None:
        """Listen on this connection; what was registered on one that was lost is gone with it."""
        if self._connection is connection:
            return
        kind = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
        bounded(lambda: connection.domainEventRegisterAny(None, kind, self._on_lifecycle, None), _CALL_S)
        self._connection = connection

    def _on_lifecycle(self, _c: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        if (event, detail) == _STOPPED and (act := self._acts.get(UUID(bytes=domain.UUID()))) is not None:
            act()

    def _forget(self, uuid: UUID) -> None:
        self._acts.pop(uuid, None)
